"""One file from the web, continued where its transfer was cut off."""

import hashlib
import http.client
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from jax_resnet.data.cifar import paced
from jax_resnet.data.cifar.archive import MAX_BYTES
from jax_resnet.errors import UserError, say

PAUSE_SECONDS = 1.0
MAX_FAILURES = 4
MAX_SILENCE_SECONDS = 30
SLOW_SECONDS = 20
SLOW_BYTES = 200_000  # a second, on average over `SLOW_SECONDS`


def download(
    url: str, path: Path, max_bytes: int = MAX_BYTES, expected_bytes: int | None = None
) -> None:
    """Downloads to `path`, with a progress bar on stderr; the caller checks what arrived.

    A line says from where, before anything is asked for. Another one names the other sources of
    the data, once, when the transfer is slower than `SLOW_BYTES` a second.

    An incomplete file lies beside `path`, named after the URL, and the next call continues it. So
    does this one if the server is too slow or cuts it off, until `MAX_FAILURES` in a row bring
    less than `paced.MIN_BYTES` each, which takes less than a minute. A server that has sent nothing
    yet is given up within `MAX_SILENCE_SECONDS`.

    Args:
        url: an http or https address.
        path: of the new file.
        max_bytes: the largest size that is accepted.
        expected_bytes: the size to announce, where one is known.

    Raises:
        UserError: with the last reason; at once, if the file is larger than `max_bytes`.
    """
    check_address(url)
    part = path.with_name(f"{path.name}.{hashlib.sha256(url.encode()).hexdigest()[:8]}.part")
    start, first = time.monotonic(), _size(part)
    most, failures, pace = 0, 0, _Pace()
    say(f"downloading {url}" + (f" ({expected_bytes / 1e6:.0f} MB)" if expected_bytes else ""))
    while True:
        try:
            _continue(url, part, path.name, max_bytes, pace)
            part.replace(path)
            return
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416:  # `part` is longer than the server's file: it is another one
                part.unlink(missing_ok=True)
            elif error.code < 500 and error.code not in (408, 429):
                raise UserError(f"the server answers {error.code} {error.reason}") from None
            reason: Exception = error
        except UserError:
            part.unlink(missing_ok=True)
            raise
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = error
        have = _size(part)
        failures = 0 if have >= most + paced.MIN_BYTES else failures + 1
        most = max(most, have)
        next_end = time.monotonic() - start + PAUSE_SECONDS * failures + paced.TIMEOUT_SECONDS
        is_silent = have <= first and next_end > MAX_SILENCE_SECONDS
        if failures == MAX_FAILURES or is_silent:
            kept = f"; {have} bytes are kept to continue from" if have else ""
            raise UserError(f"{reason}{kept}")
        say(f"{reason}; trying again")
        time.sleep(PAUSE_SECONDS * failures)


def check_address(url: str) -> None:
    """Raises a `UserError` for an address that no server can be asked for."""
    wanted = "expected an http:// or https:// address, in ASCII and without spaces"
    if not re.fullmatch(r"https?://[!-~]+", url, re.IGNORECASE):
        raise UserError(wanted)
    try:
        _ = urllib.parse.urlsplit(url).port
    except ValueError as error:
        raise UserError(f"{error}: {wanted}") from None


def _continue(url: str, part: Path, title: str, max_bytes: int, pace: "_Pace") -> None:
    """One request for what `part` still lacks; raises unless `part` is complete after it."""
    from tqdm import tqdm

    have = _size(part)
    headers = {"User-Agent": "jax-resnet-cifar"} | ({"Range": f"bytes={have}-"} if have else {})
    with paced.open_paced(urllib.request.Request(url, headers=headers)) as response:
        if response.status != 206:
            have = 0  # the server sends the file from its beginning
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            part.unlink(missing_ok=True)
            raise OSError("the server sent another range than the one asked for")
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        bar = tqdm(
            desc=title, total=total, initial=have, unit="B", unit_scale=True, file=sys.stderr
        )
        pace.begin()
        with part.open("ab" if have else "wb") as file, bar:
            # Not `read`, which would drop what came before a stall.
            while (total or have) <= max_bytes and (chunk := response.read1(1 << 16)):
                have += file.write(chunk)
                bar.update(len(chunk))
                pace.update(len(chunk), bar)
    if max(total or 0, have) > max_bytes:
        raise UserError(f"the server's file has more than the {max_bytes} bytes that are accepted")
    if total is not None and have != total:
        raise OSError(f"cut off after {have} of {total} bytes")


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


class _Pace:
    """Says once that a download is slow."""

    def __init__(self) -> None:
        self._has_said = False

    def begin(self) -> None:
        self._since, self._count = time.monotonic(), 0

    def update(self, count: int, bar: Any) -> None:
        self._count += count
        seconds = time.monotonic() - self._since
        if self._has_said or seconds < SLOW_SECONDS:
            return
        if self._count < SLOW_BYTES * seconds:
            self._has_said = True
            bar.clear()
            say(
                f"the server is slow, {self._count / seconds / 1e3:.0f} kB/s: --mirror URL names "
                "another one, and --data-dir a copy of the data; downloaded bytes are kept"
            )
        self.begin()
