"""One file from the web, continued where its transfer was cut off."""

import hashlib
import http.client
import io
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from jax_resnet.data.cifar.binary import MAX_BYTES
from jax_resnet.errors import UserError, say

TIMEOUT_SECONDS = 15  # to connect to an address, and for the next `MIN_BYTES` after that
MIN_BYTES = 2**16
PAUSE_SECONDS = 1.0
MAX_FAILURES = 4


def download(url: str, path: Path, max_bytes: int = MAX_BYTES) -> None:
    """Downloads to `path`, with a progress bar on stderr; the caller checks what arrived.

    An incomplete file lies beside `path`, named after the URL, and the next call continues it. So
    does this one if the server is too slow or cuts it off, until `MAX_FAILURES` in a row bring
    less than `MIN_BYTES` each. From a server that does not answer, that takes 66 seconds for each
    address that its name has.

    Args:
        url: an http or https address.
        path: of the new file.
        max_bytes: the largest size that is accepted.

    Raises:
        UserError: with the last reason; at once, if the file is larger than `max_bytes`.
    """
    if not url.startswith(("http://", "https://")):
        raise UserError("expected an http:// or https:// address")
    part = path.with_name(f"{path.name}.{hashlib.sha256(url.encode()).hexdigest()[:8]}.part")
    part.touch()
    most, failures = 0, 0
    say(f"downloading {url}")
    while True:
        try:
            _continue(url, part, path.name, max_bytes)
            part.replace(path)
            return
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416:  # `part` is longer than the server's file: it is another one
                part.write_bytes(b"")
            elif error.code < 500 and error.code not in (408, 429):
                raise UserError(f"the server answers {error.code} {error.reason}") from None
            reason: Exception = error
        except UserError:
            part.unlink()
            raise
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = error
        have = part.stat().st_size
        failures = 0 if have >= most + MIN_BYTES else failures + 1
        most = max(most, have)
        if failures == MAX_FAILURES:
            kept = f"; {have} bytes are kept to continue from" if have else ""
            raise UserError(f"{reason}{kept}")
        say(f"{reason}; trying again")
        time.sleep(PAUSE_SECONDS * failures)


def _continue(url: str, part: Path, title: str, max_bytes: int) -> None:
    """One request for what `part` still lacks; raises unless `part` is complete after it."""
    from tqdm import tqdm

    have = part.stat().st_size
    headers = {"User-Agent": "jax-resnet-cifar"} | ({"Range": f"bytes={have}-"} if have else {})
    request = urllib.request.Request(url, headers=headers)
    opener = urllib.request.build_opener(_Http, _Https, _NoFtp)
    with opener.open(request, timeout=TIMEOUT_SECONDS) as response:
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
            while (total or have) <= max_bytes and (chunk := response.read1(1 << 16)):
                have += file.write(chunk)
                bar.update(len(chunk))
    if max(total or 0, have) > max_bytes:
        raise UserError(f"the server's file has more than the {max_bytes} bytes of the original")
    if total is not None and have != total:
        raise OSError(f"cut off after {have} of {total} bytes")


class _Paced(io.RawIOBase):
    """What a socket receives, until it is too slow.

    The headers must come within `TIMEOUT_SECONDS`, and `MIN_BYTES` in each such time after that; a
    socket's own timeout starts anew with every byte.
    """

    def __init__(self, raw: Any) -> None:
        self._raw, self._since, self._count, self.has_headers = raw, time.monotonic(), 0, False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        count = self._raw.readinto(buffer)
        self._count += count or 0
        if time.monotonic() - self._since > TIMEOUT_SECONDS:
            if self._count < MIN_BYTES or not self.has_headers:
                what = f"{self._count} bytes" if self.has_headers else "no whole headers"
                raise TimeoutError(f"the server sent {what} in {TIMEOUT_SECONDS} seconds")
            self._since, self._count = time.monotonic(), 0
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._paced = _Paced(self.fp.detach())
        self.fp = io.BufferedReader(self._paced)

    def begin(self) -> None:
        super().begin()
        self._paced.has_headers = True


class _PacedOpener(urllib.request.AbstractHTTPHandler):
    def do_open(self, http_class: Any, req: Any, **options: Any) -> Any:
        def connect(*arguments: Any, **more: Any) -> Any:
            connection = http_class(*arguments, **more)
            connection.response_class = _Response
            return connection

        return super().do_open(connect, req, **options)


class _Http(_PacedOpener, urllib.request.HTTPHandler): ...


class _Https(_PacedOpener, urllib.request.HTTPSHandler): ...


class _NoFtp(urllib.request.FTPHandler):
    def ftp_open(self, req: Any) -> Any:
        raise OSError("the server redirects to an ftp:// address")
