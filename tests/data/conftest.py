"""A server on this machine, and a small CIFAR-100 that it has."""

import dataclasses
import hashlib
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from web_server import Server, at_server

from jax_resnet.data.cifar import LAYOUTS, paced
from jax_resnet.data.cifar import download as download_module


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    monkeypatch.setattr(download_module, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(paced, "TIMEOUT_SECONDS", 0.5)
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def small_cifar100(server, tmp_path, monkeypatch) -> Path:
    """The folder of a CIFAR-100 with two images of each class, which the server has as an archive.

    The addresses of its parquet files are the server's too, which has none. `tmp_path / "data"` is
    an empty folder.
    """
    (tmp_path / "data").mkdir()
    folder = tmp_path / "original" / "cifar-100-binary"
    folder.mkdir(parents=True)
    counts = {"train": 200, "test": 100}
    for split, count in counts.items():
        records = np.random.default_rng(count).integers(0, 256, (count, 3074), np.uint8)
        records[:, 1] = np.arange(count) % 100
        records[:, 0] = records[:, 1] // 5
        records.tofile(folder / f"{split}.bin")
    path = tmp_path / "archive.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, folder.name)
    content = path.read_bytes()
    server.answers["/small.tar.gz"] = lambda handler: handler.wfile.write(handler.begin(content))
    layout = dataclasses.replace(
        LAYOUTS["cifar100"],
        url=f"{server.url}/small.tar.gz",
        sha256=hashlib.sha256(content).hexdigest(),
        counts=counts,
        parquet=at_server(LAYOUTS["cifar100"].parquet, server),
    )
    monkeypatch.setitem(LAYOUTS, "cifar100", layout)
    return folder
