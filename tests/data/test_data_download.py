"""Downloading, from a server on this machine that behaves badly, and preparing what came."""

import socket
import time

import pytest
from web_server import CONTENT, Handler, whole

from jax_resnet.data import load
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


@pytest.mark.long
@pytest.mark.parametrize("answer", [drip_content, drip_headers, continue_for_ever])
def test_a_server_that_is_too_slow_is_given_up(server, tmp_path, answer):
    server.answers["/file"] = answer
    start = time.monotonic()
    with pytest.raises(UserError, match=r"the server sent .* in 0\.5 seconds"):
        download(f"{server.url}/file", tmp_path / "file")
    assert time.monotonic() - start < 4 * (0.5 + 2), "hours, if the server were waited for"
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
    assert time.monotonic() - start < 1.2 + 2
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


def unasked_part(handler: Handler) -> None:
    handler.send_response(206)
    handler.end_headers()


def test_a_part_that_was_not_asked_for_is_named(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download_module, "PAUSE_SECONDS", 0.0)
    server.answers["/file"] = unasked_part
    with pytest.raises(UserError, match="another range than the one asked for"):
        download(f"{server.url}/file", tmp_path / "file")
    server.answers["/file"] = whole
    download(server.url.replace("http:", "HTTP:") + "/file", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT


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


@pytest.mark.parametrize(
    "url",
    ["ftp://127.0.0.1/file", "file:///etc/passwd", "somewhere", "http://[::1/x", "http://a:b/x",
     "http://127.0.0.1/my file", "http://127.0.0.1/caf\xe9"],
)  # fmt: skip
def test_other_addresses_are_refused(tmp_path, url):
    with pytest.raises(UserError, match="expected an http:// or https:// address"):
        download(url, tmp_path / "file")
