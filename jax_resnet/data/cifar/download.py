"""One file from the web, continued where its transfer was cut off."""

import hashlib
import http.client
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from jax_resnet.errors import UserError

TIMEOUT_SECONDS = 60
PAUSE_SECONDS = 1.0
MAX_FAILURES = 4


def download(url: str, path: Path) -> None:
    """Downloads to `path`, with a progress bar on stderr; the caller checks what arrived.

    An incomplete file lies beside `path`, named after the URL, and the next call continues it. So
    does this one if the server stalls or cuts it off, until `MAX_FAILURES` in a row bring nothing.

    Raises:
        UserError: with the last reason.
    """
    if not url.startswith(("http://", "https://")):
        raise UserError("expected an http:// or https:// address")
    part = path.with_name(f"{path.name}.{hashlib.sha256(url.encode()).hexdigest()[:8]}.part")
    part.touch()
    most = failures = 0
    while True:
        try:
            _continue(url, part, path.name)
            part.replace(path)
            return
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416:  # `part` is longer than the server's file: it is another one
                part.write_bytes(b"")
            elif error.code < 500 and error.code not in (408, 429):
                raise UserError(f"the server answers {error.code} {error.reason}") from None
            reason: Exception = error
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = error
        have = part.stat().st_size
        failures = 0 if have > most else failures + 1
        most = max(most, have)
        if failures == MAX_FAILURES:
            kept = f"; {have} bytes are kept to continue from" if have else ""
            raise UserError(f"{reason}{kept}")
        time.sleep(PAUSE_SECONDS * failures)


def _continue(url: str, part: Path, title: str) -> None:
    """One request for what `part` still lacks; raises unless `part` is complete after it."""
    from tqdm import tqdm

    have = part.stat().st_size
    headers = {"User-Agent": "jax-resnet-cifar"} | ({"Range": f"bytes={have}-"} if have else {})
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
        if response.status != 206:
            have = 0  # the server sends the file from its beginning
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            part.write_bytes(b"")
            raise OSError("the server sent another range than the one asked for")
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        bar = tqdm(
            desc=title, total=total, initial=have, unit="B", unit_scale=True, file=sys.stderr
        )
        with part.open("ab" if have else "wb") as file, bar:
            # Not `read`, which would drop what came before a stall.
            while chunk := response.read1(1 << 16):
                file.write(chunk)
                bar.update(len(chunk))
    if total is not None and part.stat().st_size != total:
        raise OSError(f"cut off after {part.stat().st_size} of {total} bytes")
