"""One file from the web, resumed where it was cut off."""

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
_ATTEMPTS = 4


def download(url: str, path: Path) -> None:
    """Downloads to `path`, with a progress bar on stderr.

    What has arrived lies beside it, named after the URL, until all has; the next call goes on from
    there. Transfers that are cut off or stall are taken up again, until `_ATTEMPTS` in a row bring
    nothing more. What arrived is for the caller to check.

    Raises:
        UserError: with the last reason; the caller says what was to be had from where.
    """
    if not url.startswith(("http://", "https://")):
        raise UserError("expected an http:// or https:// address")
    part = path.with_name(f"{path.name}.{hashlib.sha256(url.encode()).hexdigest()[:8]}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    most, failures = _size(part), 0
    while True:
        try:
            _continue(url, part, path.name)
            break
        except (OSError, http.client.HTTPException, ValueError) as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()
                if error.code < 500 and error.code not in (408, 416, 429):
                    raise UserError(f"the server answers {error.code} {error.reason}") from None
            reason = error
        failures = 0 if _size(part) > most else failures + 1
        most = max(most, _size(part))
        if failures == _ATTEMPTS:
            kept = f"; {_size(part)} bytes are kept to go on from" if _size(part) else ""
            raise UserError(f"{reason}{kept}")
        time.sleep(PAUSE_SECONDS * failures)
    part.replace(path)


def _continue(url: str, part: Path, title: str) -> None:
    """One request for what `part` still lacks; raises unless the whole file is there after it."""
    from tqdm import tqdm

    have = _size(part)
    headers = {"User-Agent": "jax-resnet-cifar"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(
            urllib.request.Request(url, headers=headers), timeout=TIMEOUT_SECONDS
        )
    except urllib.error.HTTPError as error:
        if error.code == 416:
            # More is here than the server has: these are not the beginnings of that file.
            part.unlink(missing_ok=True)
        raise
    with response:
        if response.status == 206:
            if not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
                part.unlink()
                raise OSError("the server sent another range than the one asked for")
        else:
            have = 0
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
    if total is not None and _size(part) != total:
        raise OSError(f"cut off after {_size(part)} of {total} bytes")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
