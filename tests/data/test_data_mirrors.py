"""`load` where CIFAR is to be downloaded: what is kept, what is refused, and what is said."""

import dataclasses
import json
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from test_data_cifar import PREPARED, needs_cifar10, write_original
from test_data_download import redirect
from web_server import Server, at_server, whole

from jax_resnet.data import load
from jax_resnet.data.cifar import LAYOUTS
from jax_resnet.errors import UserError


def check_three_ways(message: str, url: str) -> None:
    assert url in message
    assert all(way in message for way in ("`data_dir`", "`mirror`", "`dataset` digits"))


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_three_ways_on_are_named_when_the_mirror_has_nothing(server, tmp_path, name):
    with pytest.raises(UserError, match="404") as caught:
        load(name, tmp_path, mirror=f"{server.url}/")
    archive = {"cifar10": "cifar-10-binary.tar.gz", "cifar100": "cifar-100-binary.tar.gz"}[name]
    check_three_ways(str(caught.value), f"{server.url}/{archive}")
    assert server.asked == [("/test-00000-of-00001.parquet", None), (f"/{archive}", None)]


def test_three_ways_on_are_named_when_no_server_answers(server, tmp_path):
    closed = Server()
    closed.server_close()
    with pytest.raises(UserError) as caught:
        load("cifar10", tmp_path, mirror=f"{closed.url}/file")
    check_three_ways(str(caught.value), f"{closed.url}/file")


def test_wrong_bytes_are_refused_and_removed(server, tmp_path):
    server.answers["/cifar.tar.gz"] = whole
    with pytest.raises(UserError, match="truncated or altered") as caught:
        load("cifar10", tmp_path, mirror=f"{server.url}/cifar.tar.gz")
    check_three_ways(str(caught.value), f"{server.url}/cifar.tar.gz")
    assert list(tmp_path.iterdir()) == []


def test_what_was_downloaded_is_kept_as_tfds_keeps_it(server, small_cifar100, tmp_path):
    import tensorflow_datasets as tfds

    data_dir = tmp_path / "data"
    original, first = load("cifar100", small_cifar100), load("cifar100", data_dir)
    server.answers.clear()
    again = load("cifar100", data_dir)
    assert original.class_names == first.class_names == again.class_names
    for dataset in (first, again):
        np.testing.assert_array_equal(dataset.train.images, original.train.images)
        np.testing.assert_array_equal(dataset.test.labels, original.test.labels)
    assert len(tfds.data_source("cifar100", split="train", data_dir=data_dir)) == 200
    assert [path.name for path in (data_dir / "downloads").rglob("*.*")] == []


def test_an_archive_that_people_keep_in_downloads_is_left_alone(server, small_cifar100, tmp_path):
    own = tmp_path / "data" / "downloads" / LAYOUTS["cifar100"].archive
    own.parent.mkdir()
    own.write_bytes(b"half of it")
    load("cifar100", tmp_path / "data")
    assert own.read_bytes() == b"half of it", (
        "preparing the data touched a file that is not its own"
    )


def test_of_several_at_once_one_downloads(server, small_cifar100, tmp_path):
    with ThreadPoolExecutor(4) as pool:
        datasets = list(pool.map(lambda _: load("cifar100", tmp_path / "data"), range(4)))
    assert [len(dataset.train) for dataset in datasets] == [200] * 4
    assert server.asked == [("/parquet/test-00000-of-00001.parquet", None), ("/small.tar.gz", None)]


def test_an_archive_that_was_altered_is_refused_and_deleted(server, small_cifar100, tmp_path):
    layout = dataclasses.replace(LAYOUTS["cifar100"], sha256="0" * 64)
    LAYOUTS["cifar100"] = layout
    for mirror in (None, f"{server.url}/small.tar.gz"):
        with pytest.raises(UserError, match="SHA-256"):
            load("cifar100", tmp_path / "data", mirror=mirror)
    assert [path.name for path in (tmp_path / "data").rglob("*.*")] == []


def test_what_comes_from_the_original_address_must_have_the_registered_checksum(
    server, tmp_path, monkeypatch
):
    server.answers["/original"] = whole
    layout = LAYOUTS["cifar10"]
    parquet = at_server(layout.parquet, server)
    layout = dataclasses.replace(layout, url=f"{server.url}/original", parquet=parquet)
    monkeypatch.setitem(LAYOUTS, "cifar10", layout)
    with pytest.raises(UserError, match="SHA-256"):
        load("cifar10", tmp_path)


@pytest.mark.slow
@needs_cifar10
def test_cifar10_from_nothing(server, tmp_path):
    """A mirror that redirects and cuts off; the result is what stock TFDS would have written."""
    import tensorflow_datasets as tfds

    genuine = load("cifar10", PREPARED)
    path = tmp_path / "archive.tar.gz"
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        archive.add(write_original(genuine, tmp_path), "cifar-10-batches-bin")
    (tmp_path / "data").mkdir()
    content = path.read_bytes()
    server.answers["/cifar-10-binary.tar.gz"] = redirect
    server.answers["/file"] = lambda handler: handler.wfile.write(
        handler.begin(content)[:60_000_000]
    )
    dataset = load("cifar10", tmp_path / "data", mirror=f"{server.url}/")
    for split in ("train", "test"):
        ours, theirs = getattr(dataset, split), getattr(genuine, split)
        np.testing.assert_array_equal(ours.images, theirs.images)
        np.testing.assert_array_equal(ours.labels, theirs.labels)
    for file in ("features.json", "label.labels.txt"):
        assert read_info(tmp_path / "data", file) == read_info(PREPARED, file)
    ours, theirs = (
        json.loads(read_info(root, "dataset_info.json")) for root in (tmp_path / "data", PREPARED)
    )
    for split in (*ours["splits"], *theirs["splits"]):
        del split["numBytes"]  # of PNG, whose encoders differ
    assert ours == theirs
    source = tfds.data_source("cifar10", split="train", data_dir=tmp_path / "data")
    assert len(source) == 50_000
    assert list((tmp_path / "data" / "downloads").rglob("*.*")) == []


def read_info(root: Path, file: str) -> str:
    return (root / "cifar10" / "3.0.2" / file).read_text()


@pytest.mark.parametrize("mirror", ["http://[::1/x/", "http://host:99999/", "ftp://host/"])
def test_a_mirror_that_is_no_address_is_refused(tmp_path, mirror):
    with pytest.raises(UserError, match=r"failed: .*expected an http:// or https:// address"):
        load("cifar10", tmp_path, mirror=mirror)
