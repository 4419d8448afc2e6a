"""Downloading, from a server on this machine that behaves badly, and preparing what came."""

import dataclasses
import json
import socket
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from test_data_cifar import PREPARED, needs_cifar10, write_original
from web_server import CONTENT, Handler, Server, at_server, whole

from jax_resnet.data import load
from jax_resnet.data.cifar import LAYOUTS
from jax_resnet.data.cifar import download as download_module
from jax_resnet.data.cifar.download import download
from jax_resnet.errors import UserError


def cut_off(handler: Handler) -> None:
    handler.wfile.write(handler.begin(CONTENT)[:100_000])


def cut_off_and_rangeless(handler: Handler) -> None:
    handler.wfile.write(handler.begin(CONTENT, ranges=False)[:100_000])


def slow(handler: Handler) -> None:
    content = handler.begin(CONTENT)
    for start in range(0, len(content), 30_000):
        handler.wfile.write(content[start : start + 30_000])
        time.sleep(0.05)


def stalled(handler: Handler) -> None:
    handler.wfile.write(handler.begin(CONTENT)[:100_000])
    time.sleep(2)


def redirect(handler: Handler) -> None:
    handler.send_response(302)
    handler.send_header("Location", "/file")
    handler.end_headers()


@pytest.mark.parametrize("answer", [whole, slow, cut_off, stalled])
def test_what_arrives_is_whole(server, tmp_path, answer, capsys):
    server.answers["/file"] = answer
    download(f"{server.url}/file", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "file" in captured.err
    ranges = [asked for _, asked in server.asked]
    if answer in (cut_off, stalled):
        assert ranges == [None, "bytes=100000-", "bytes=200000-"]
    else:
        assert ranges == [None]


def test_a_redirect_is_followed_and_resumed(server, tmp_path):
    server.answers |= {"/moved": redirect, "/file": cut_off}
    download(f"{server.url}/moved", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert ("/file", "bytes=200000-") in server.asked


def test_a_later_call_goes_on_where_the_first_was_cut_off(server, tmp_path):
    server.answers["/file"] = cut_off_and_rangeless
    with pytest.raises(UserError, match="cut off after 100000 of 300000 bytes; 100000 bytes are"):
        download(f"{server.url}/file", tmp_path / "file")
    assert not (tmp_path / "file").exists()
    server.answers["/file"] = whole
    server.asked.clear()
    download(f"{server.url}/file", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert server.asked == [("/file", "bytes=100000-")]


def test_a_server_without_ranges_starts_afresh(server, tmp_path):
    answers = iter([cut_off, cut_off_and_rangeless])
    server.answers["/file"] = lambda handler: next(
        answers, lambda handler: handler.wfile.write(handler.begin(CONTENT, ranges=False))
    )(handler)
    download(f"{server.url}/file", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_file_that_became_shorter_is_started_afresh(server, tmp_path):
    server.answers["/file"] = cut_off_and_rangeless
    with pytest.raises(UserError):
        download(f"{server.url}/file", tmp_path / "file")
    shorter = CONTENT[:50_000]
    server.answers["/file"] = lambda handler: handler.wfile.write(handler.begin(shorter))
    download(f"{server.url}/file", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == shorter


def test_a_missing_file_is_not_asked_for_twice(server, tmp_path):
    with pytest.raises(UserError, match="404"):
        download(f"{server.url}/file", tmp_path / "file")
    assert len(server.asked) == 1


def test_a_failing_server_is_given_up(server, tmp_path):
    server.answers["/file"] = lambda handler: handler.send_error(503)
    with pytest.raises(UserError, match="503"):
        download(f"{server.url}/file", tmp_path / "file")
    assert len(server.asked) == 4


def drip_content(handler: Handler) -> None:
    for byte in handler.begin(CONTENT):
        handler.wfile.write(bytes([byte]))
        time.sleep(0.02)


def drip_headers(handler: Handler) -> None:
    for byte in b"HTTP/1.1 200 OK\r\nServer: " + b"a" * 60_000:
        handler.wfile.write(bytes([byte]))
        time.sleep(0.02)


def continue_for_ever(handler: Handler) -> None:
    while True:
        handler.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)


@pytest.mark.parametrize("answer", [drip_content, drip_headers, continue_for_ever])
def test_a_server_that_is_too_slow_is_given_up(server, tmp_path, answer):
    server.answers["/file"] = answer
    start = time.monotonic()
    with pytest.raises(UserError, match=r"the server sent .* in 0\.5 seconds"):
        download(f"{server.url}/file", tmp_path / "file")
    assert time.monotonic() - start < 4 * (0.5 + 0.2)
    assert len(server.asked) == 4


def accept_and_say_nothing(handler: Handler) -> None:
    time.sleep(2)


def test_a_server_that_says_nothing_is_left_soon(server, tmp_path, monkeypatch):
    assert download_module.MAX_SILENCE_SECONDS == 30
    monkeypatch.setattr(download_module, "MAX_SILENCE_SECONDS", 1.2)
    server.answers["/file"] = accept_and_say_nothing
    start = time.monotonic()
    with pytest.raises(UserError, match="timed out"):
        download(f"{server.url}/file", tmp_path / "file")
    assert time.monotonic() - start < 1.2 + 0.2
    assert len(server.asked) == 2


def test_every_address_of_a_name_is_tried(server, tmp_path, monkeypatch):
    real, port = socket.getaddrinfo, server.server_address[1]
    with socket.create_server(("127.0.0.1", 0)) as closed:
        dead = closed.getsockname()[1]

    def getaddrinfo(host, *arguments, **options):
        if host != "two.test":
            return real(host, *arguments, **options)
        return [entry for each in (dead, port) for entry in real("127.0.0.1", each, type=1)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    server.answers["/file"] = whole
    download("http://two.test/file", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert len(server.asked) == 1


def test_where_from_and_how_much_is_said_first_and_once_that_it_is_slow(
    server, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(download_module, "SLOW_SECONDS", 0.1)
    monkeypatch.setattr(download_module, "SLOW_BYTES", 1_000_000)
    for answer, count in ((whole, 0), (slow, 1)):
        server.answers["/file"] = answer
        download(f"{server.url}/file", tmp_path / "file", expected_bytes=2_900_000)
        said = capsys.readouterr().err.splitlines()
        assert said[0] == f"downloading {server.url}/file (3 MB)"
        lines = [line for line in said if "--mirror" in line and "--data-dir" in line]
        assert len(lines) == count


def without_a_length(handler: Handler) -> None:
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(CONTENT)


@pytest.mark.parametrize("answer", [whole, without_a_length])
def test_a_file_that_is_too_large_is_refused_at_once_and_not_kept(server, tmp_path, answer):
    server.answers["/file"] = answer
    with pytest.raises(UserError, match="more than the 299999 bytes"):
        download(f"{server.url}/file", tmp_path / "file", 299_999)
    assert (len(server.asked), list(tmp_path.iterdir())) == (1, [])


def test_a_mirror_of_anything_else_is_refused_by_its_size(server, tmp_path):
    def endless(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(2**40))
        handler.end_headers()

    server.answers["/file"] = endless
    for name, size in (("cifar10", 2**28), ("cifar100", 168_513_733)):
        with pytest.raises(UserError, match=f"more than the {size} bytes"):
            load(name, tmp_path, mirror=f"{server.url}/file")


def test_what_happens_is_said_before_the_first_byte(server, tmp_path, capsys):
    server.answers["/file"] = lambda handler: handler.send_error(503, "busy \x1b[31m")
    with pytest.raises(UserError):
        download(f"{server.url}/file", tmp_path / "file")
    first, *failures = capsys.readouterr().err.splitlines()
    assert first == f"downloading {server.url}/file"
    assert failures == ["HTTP Error 503: busy \\x1b[31m; trying again"] * 3


def test_a_redirect_elsewhere_than_the_web_is_not_followed(server, tmp_path):
    def to_ftp(handler: Handler) -> None:
        handler.send_response(302)
        handler.send_header("Location", server.url.replace("http", "ftp"))
        handler.end_headers()

    server.answers["/file"] = to_ftp
    with pytest.raises(UserError, match="ftp"):
        download(f"{server.url}/file", tmp_path / "file")


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/file", "file:///etc/passwd", "somewhere"])
def test_other_addresses_are_refused(tmp_path, url):
    with pytest.raises(UserError, match="http"):
        download(url, tmp_path / "file")


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
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["lock"]


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
    assert list((tmp_path / "data" / "downloads").glob("*.*")) == []


def read_info(root: Path, file: str) -> str:
    return (root / "cifar10" / "3.0.2" / file).read_text()
