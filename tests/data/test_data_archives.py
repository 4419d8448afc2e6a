"""Archives of CIFAR that are not what they say: refused, little read, nothing written."""

import gzip
import io
import os
import tarfile
from pathlib import Path

import pytest

from jax_resnet.data import load
from jax_resnet.data.cifar import LAYOUTS
from jax_resnet.errors import UserError


def archive(path: Path, members: list[tuple[str, bytes, bytes]]) -> Path:
    """A .tar.gz of `(name, type, content)`; the content of a link is where it points to."""
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        for name, kind, content in members:
            member = tarfile.TarInfo(name)
            member.type = kind
            if kind == tarfile.REGTYPE:
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
            else:
                member.linkname = content.decode()
                tar.addfile(member)
    return path


FIRST = "cifar-10-batches-bin/data_batch_1.bin"


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([(FIRST, tarfile.SYMTYPE, b"/etc/passwd")], "it lacks .*data_batch_1"),
        ([(FIRST, tarfile.LNKTYPE, b"/etc/passwd")], "it lacks .*data_batch_1"),
        ([(FIRST, tarfile.FIFOTYPE, b"")], "it lacks .*data_batch_1"),
        ([(FIRST, tarfile.REGTYPE, b"short")], "it lacks .*data_batch_2"),
        ([("../evil", tarfile.REGTYPE, b"x"), ("/evil", tarfile.REGTYPE, b"x")], "it lacks"),
    ],
)
def test_unsafe_archives_are_refused_and_nothing_is_written(tmp_path, members, message):
    place = tmp_path / "data"
    place.mkdir()
    path = archive(place / "cifar-10-binary.tar.gz", members)
    with pytest.raises(UserError, match=f"{path} is .*{message}"):
        load("cifar10", place)
    assert [file.name for file in tmp_path.rglob("*")] == ["data", path.name]


def header(size: int, kind: bytes = tarfile.REGTYPE, name: str = FIRST) -> bytes:
    """The header of a member of any size, up to 2^88 bytes."""
    member = tarfile.TarInfo(name)
    member.type = kind
    block = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    block[124:136] = b"\x80" + size.to_bytes(11, "big")
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@pytest.mark.parametrize(
    "content",
    [
        header(2**28),
        header(2**63 - 1),
        header(2**88 - 1),
        header(2**27) + bytes(2**27) + header(2**27),
        header(3 * 2**30, tarfile.GNUTYPE_LONGNAME) + b"a" * 2**20,
        header(3 * 2**30, tarfile.XHDTYPE) + b"a" * 2**20,
    ],
    ids=["large", "2^63", "2^88", "together", "long name", "long attributes"],
)
def test_no_more_is_read_of_an_archive_than_the_genuine_one_has(tmp_path, content):
    path = tmp_path / "cifar-10-binary.tar.gz"
    path.write_bytes(gzip.compress(content + bytes(1024), 1))
    with pytest.raises(UserError, match=f"{path} is truncated .* more than 268435456 bytes"):
        load("cifar10", path)


def test_an_archive_that_ends_within_a_file_is_refused(tmp_path):
    path = tmp_path / "cifar-10-binary.tar.gz"
    for content in (header(1000), header(1000) + bytes(512), header(0)[:100]):
        path.write_bytes(gzip.compress(content))
        with pytest.raises(UserError, match=f"{path} is truncated"):
            load("cifar10", path)


def test_long_names_and_links_beside_the_files_are_passed_over(tmp_path):
    files = dict.fromkeys((*LAYOUTS["cifar10"].files["train"], "test_batch.bin"), b"content")
    path = tmp_path / "cifar-10-binary.tar.gz"
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as tar:
        for name, content in {"ü" * 200: b"x", **files}.items():
            member = tarfile.TarInfo(f"./cifar-10-batches-bin/{name}")
            member.size, member.mtime = len(content), 0.5  # which needs an extended header
            tar.addfile(member, io.BytesIO(content))
            link = tarfile.TarInfo("link")
            link.type, link.linkname, link.size = tarfile.SYMTYPE, name, 5000
            tar.addfile(link)
    with pytest.raises(UserError, match="153650000 bytes, but 35 are there"):
        load("cifar10", path)


def test_a_folder_with_an_enormous_file_is_refused(tmp_path):
    with (tmp_path / "data_batch_1.bin").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(UserError, match=r"data_batch_1\.bin has more than 268435456 bytes"):
        load("cifar10", tmp_path)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "cifar-10-binary.tar.gz")
    with pytest.raises(UserError, match="not a regular file"):
        load("cifar10", tmp_path)


def test_archives_that_are_none_are_refused(tmp_path):
    path = tmp_path / "cifar-10-binary.tar.gz"
    whole = archive(tmp_path / "a.tar.gz", [("a", tarfile.REGTYPE, bytes(99999))]).read_bytes()
    for content in (b"", b"<html>not found</html>", whole[:100], whole[:-20] + bytes(20)):
        path.write_bytes(content)
        with pytest.raises(UserError, match=f"{path} is (truncated or altered|not cifar)"):
            load("cifar10", path)
    with pytest.raises(UserError, match=r"`data_dir` is .*does not exist"):
        load("cifar10", tmp_path / "elsewhere" / "cifar-10-binary.tar.gz")


def test_an_archive_of_cifar100_must_be_the_original(tmp_path):
    path = archive(tmp_path / "cifar-100-binary.tar.gz", [])
    with pytest.raises(UserError, match=f"{path} is truncated or altered, or not .* SHA-256"):
        load("cifar100", tmp_path)
