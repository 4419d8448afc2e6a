"""A server on this machine, which answers as a test says."""

import dataclasses
import http.server
import sys
from collections.abc import Callable

import numpy as np

from jax_resnet.data.cifar import Parquet

CONTENT = np.random.default_rng(0).bytes(300_000)


class Server(http.server.ThreadingHTTPServer):
    """Answers each path as its function says, and remembers who asked for what."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, Callable[[Handler], None]] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *request: object) -> None:
        """Says nothing of a client that has left, as tests want some to."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(*request)


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers["Range"]))
        self.server.answers.get(self.path, lambda handler: handler.send_error(404))(self)

    def log_message(self, format: str, *args: object) -> None:
        pass

    def begin(self, content: bytes, ranges: bool = True) -> bytes:
        """Sends the headers; returns what is to follow."""
        start = 0
        if ranges and (asked := self.headers["Range"]):
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                self.send_error(416)
                return b""
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        return content[start:]


def whole(handler: Handler) -> None:
    handler.wfile.write(handler.begin(CONTENT))


def at_server(files: dict[str, Parquet], server: Server) -> dict[str, Parquet]:
    """The same files at addresses of the server's."""
    return {
        split: dataclasses.replace(file, url=f"{server.url}/parquet/{file.name}")
        for split, file in files.items()
    }
