"""HTTP with time limits: to connect, for the headers, and for servers that send too slowly."""

import http.client
import io
import socket
import time
import urllib.request
from contextlib import suppress
from typing import Any

TIMEOUT_SECONDS = 12  # to connect, and for the next `MIN_BYTES` after that
MIN_BYTES = 2**16


def open_paced(request: urllib.request.Request) -> Any:
    """The response to a request, as of `urllib.request.urlopen`; redirects to other
    schemes than http and https are refused."""
    opener = urllib.request.build_opener(_Http, _Https, _NoFtp)
    return opener.open(request, timeout=TIMEOUT_SECONDS)


def _connect(address: tuple[str, int], timeout: float, source: Any = None) -> socket.socket:
    """Like `socket.create_connection`, whose timeout would be that of each address of a name."""
    found = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)
    start = time.monotonic()
    for number, (*_, each) in enumerate(found):
        left = start + timeout - time.monotonic()
        is_last = number == len(found) - 1
        share = max(left / (len(found) - number), 0.1)
        with suppress(*() if is_last else (OSError,)):
            connection = socket.create_connection((str(each[0]), int(each[1])), share, source)
            connection.settimeout(timeout)
            return connection
    raise OSError(f"{address[0]} has no address")


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
            connection._create_connection = _connect
            return connection

        return super().do_open(connect, req, **options)


class _Http(_PacedOpener, urllib.request.HTTPHandler): ...


class _Https(_PacedOpener, urllib.request.HTTPSHandler): ...


class _NoFtp(urllib.request.FTPHandler):
    def ftp_open(self, req: Any) -> Any:
        raise OSError("the server redirects to an ftp:// address")
