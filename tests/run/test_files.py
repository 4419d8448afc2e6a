"""Files are replaced whole, and nothing else is touched; what is read is of the shape expected."""

import os

import pytest

from jax_resnet.checksums import CHECKSUMS, find_damage
from jax_resnet.errors import UserError
from jax_resnet.files import locked, new_file, read_json, read_text, replace_file


@pytest.fixture
def precious(tmp_path):
    file = tmp_path / "precious"
    file.write_text("mine")
    return file


@pytest.mark.parametrize("suffix", ["part", "unfinished"])
@pytest.mark.parametrize("is_link", [False, True])
def test_files_of_the_user_beside_a_new_one_stay(tmp_path, precious, suffix, is_link):
    beside = tmp_path / f"out.{suffix}"
    beside.symlink_to(precious) if is_link else beside.write_text("mine")
    with new_file(tmp_path / "out") as unfinished:
        unfinished.write_text("new")
    replace_file(tmp_path / "out", b"newer")
    assert (tmp_path / "out").read_text() == "newer"
    assert (beside.read_text(), beside.is_symlink(), precious.read_text()) == (
        "mine",
        is_link,
        "mine",
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["out", "precious", beside.name]
    )


def test_a_file_that_appears_meanwhile_is_not_overwritten(tmp_path):
    def write():
        with new_file(tmp_path / "out") as unfinished:
            unfinished.write_text("new")
            (tmp_path / "out").write_text("mine")

    with pytest.raises(UserError, match="out exists already and is not overwritten"):
        write()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out").read_text() == "mine"


def test_nothing_is_left_of_a_file_that_could_not_be_written(tmp_path):
    def write_half():
        with new_file(tmp_path / "out") as unfinished:
            unfinished.write_text("half")
            raise OSError("full")

    with pytest.raises(UserError, match="out can't be written: full"):
        write_half()
    assert not list(tmp_path.iterdir())


def test_a_link_to_nowhere_is_no_new_file(tmp_path):
    (tmp_path / "out").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="exists already"), new_file(tmp_path / "out"):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_a_new_file_has_the_users_permissions(tmp_path):
    replace_file(tmp_path / "ours", b"")
    (tmp_path / "theirs").touch()
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "theirs").stat().st_mode


def test_a_file_and_its_folder_are_on_disk(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.readlink(f"/proc/self/fd/{fd}")))
    replace_file(tmp_path / "out", b"new")
    assert [path.endswith(".unfinished") for path in synced] == [True, False]
    assert synced[-1] == str(tmp_path)


def make(kind, path, precious):
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "device":
            path.symlink_to("/dev/zero")
        case "link to nowhere":
            path.symlink_to(path.with_name("elsewhere"))
        case "link":
            path.symlink_to(precious)


@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "link to nowhere", "link"])
def test_a_lock_that_is_no_file_is_refused(tmp_path, precious, kind):
    make(kind, tmp_path / "lock", precious)
    with pytest.raises(UserError, match=r"lock is .*regular file"), locked(tmp_path):
        pass
    assert precious.read_text() == "mine"
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "link to nowhere"])
def test_what_is_no_file_is_not_read(tmp_path, precious, kind):
    make(kind, tmp_path / "text", precious)
    with pytest.raises(UserError, match=r"text (is not a regular file|can't be read)"):
        read_text(tmp_path / "text")


BAD_JSON = [
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b"",
    b"[]",
    b'"text"',
    b"null",
    b'{"a": "\xff"}',
    b'{"a": ' + b"9" * 5000 + b"}",
]


@pytest.mark.parametrize("content", BAD_JSON)
def test_json_of_another_shape_is_damaged(tmp_path, content):
    (tmp_path / CHECKSUMS).write_bytes(content)
    with pytest.raises(UserError, match=f"{CHECKSUMS} is damaged"):
        read_json(tmp_path / CHECKSUMS)
    assert f"{CHECKSUMS} is damaged" in find_damage(tmp_path)


def test_text_is_utf_8_with_or_without_a_mark(tmp_path):
    (tmp_path / "text").write_bytes("\ufeffü".encode())
    assert read_text(tmp_path / "text") == "ü"


def test_a_text_file_has_a_limit(tmp_path, monkeypatch):
    monkeypatch.setattr("jax_resnet.files.MAX_TEXT", 10)
    (tmp_path / "text").write_text("a" * 11)
    with pytest.raises(UserError, match="more than 10 bytes"):
        read_text(tmp_path / "text")
