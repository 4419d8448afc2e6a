"""Files and folders: written whole or not at all, and locked."""

import json
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from jax_resnet.errors import UserError

MAX_TEXT = 1 << 28  # bytes; the metrics of a run of 10,000 epochs have 5 MB


def replace_file(path: str | os.PathLike[str], content: bytes) -> None:
    """Writes a file in one piece, on disk when this returns; an old one stays until then."""
    with _unfinished(Path(path)) as unfinished, unfinished.open("wb") as file:
        file.write(content)


@contextmanager
def _unfinished(path: Path) -> Iterator[Path]:
    """A new file in the same folder, which replaces `path` when the block ends without error."""
    unfinished = path.with_name(f".{uuid.uuid4().hex[:12]}.unfinished")
    with naming(path):
        unfinished.open("xb").close()  # never a file that exists, nor where a link points
    try:
        yield unfinished
        with unfinished.open("rb+") as file:
            os.fsync(file.fileno())
        with naming(path):
            os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    with suppress(OSError):  # some systems can't sync a folder, and some users can't open it
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)  # so that the new name is on disk too
        finally:
            os.close(descriptor)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """An `OSError` in the block names `path`, and not the unfinished file."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def write_json(path: Path, value: Any) -> None:
    """Writes a value as JSON, in one piece."""
    replace_file(path, (json.dumps(value, indent=1) + "\n").encode())


def expand_home(path: str | os.PathLike[str], name: str) -> Path:
    """The path of a folder, with the home directory for `~`.

    Raises:
        UserError: which names the path's argument, for a URL, or for the home of nobody.
    """
    # Of a bucket's name a folder would be made here.
    if re.match("(?i)[a-z][a-z0-9+.-]+:/", str(path)):
        raise UserError(f"{name} is {str(path)!r}, expected a folder on this machine, not a URL")
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UserError(
            f"{name} is {str(path)!r}, expected a folder in a home directory that exists"
        ) from None


def refuse_special(path: str | os.PathLike[str]) -> None:
    """Raises a `UserError` for what is neither a file nor missing: a pipe, a device, a folder."""
    if os.path.exists(path) and not os.path.isfile(path):
        raise UserError(f"{path} is not a regular file")


def refuse_lost_link(path: str | os.PathLike[str]) -> None:
    """Raises a `UserError` for a link to what is not there, for example on a disk that is away."""
    if os.path.islink(path):
        try:
            os.stat(path)
        except FileNotFoundError:
            raise UserError(
                f"{path} is a link to nothing: put back what it leads to, or remove it"
            ) from None
        except OSError as error:
            raise UserError(f"{path} can't be read: {error}") from error


def check_readable(path: str | os.PathLike[str]) -> None:
    """Raises a `UserError` unless `path` is a regular file that can be opened; libraries say
    less well what is in the way."""
    refuse_special(path)
    with reading(path):
        open(path, "rb").close()


def read_text(path: str | os.PathLike[str]) -> str:
    """The text, which is UTF-8, of a regular file of at most `MAX_TEXT` bytes.

    Raises:
        UserError: if it can't be read.
    """
    refuse_special(path)
    with reading(path), open(path, "rb") as file:
        content = file.read(MAX_TEXT + 1)
    if len(content) > MAX_TEXT:
        raise UserError(f"{path} has more than {MAX_TEXT} bytes, expected a text file")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is damaged: {error}") from error


def parse_json(text: str, path: object) -> dict[str, Any]:
    """The JSON object that a text holds.

    Raises:
        UserError: which says that `path` is damaged, if it holds none.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged: {error}") from error
    if not isinstance(value, dict):
        raise UserError(f"{path} is damaged: it holds a {type(value).__name__}, expected a dict")
    return value


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        UserError: if the file can't be read, or holds something else.
    """
    return parse_json(read_text(path), path)


def refuse_file(folder: Path, way: str = "") -> None:
    """Raises a `UserError`, whose message also offers `way`, if something else is in the place of a
    run's folder: a file, or a link to nothing."""
    if os.path.lexists(folder) and not folder.is_dir():
        raise UserError(f"{folder} is not a folder: {way}choose another `name`")


@contextmanager
def reading(path: str | os.PathLike[str]) -> Iterator[None]:
    """As `writing`, for what is read."""
    try:
        yield
    except (OSError, ValueError) as error:  # a ValueError for a name with a null character
        raise UserError(f"{path} can't be read: {error}") from error


@contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turns what goes wrong with files in the block into a message that names `path`.

    Raises:
        UserError: instead of an `OSError`.
    """
    try:
        yield
    except OSError as error:
        raise UserError(f"{path} can't be written: {error}") from error


@contextmanager
def new_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Where to write; it becomes `path` when the block ends, and nothing stays if it fails.

    Raises:
        UserError: if `path` exists already, or can't be written.
    """
    path = Path(path)
    refuse_existing(path)
    with writing(path), _unfinished(path) as unfinished:
        yield unfinished
        refuse_existing(path)  # which somebody may have written meanwhile


def refuse_existing(path: str | os.PathLike[str], way: str = "name a new file") -> None:
    """Raises a `UserError`, which ends with a way out, if there is a file, a folder or a link of
    this name; or one if there is no folder for it."""
    if os.path.lexists(path):
        raise UserError(f"{path} exists already and is not overwritten: {way}")
    if not (folder := Path(path).absolute().parent).is_dir():
        raise UserError(f"{path} can't be written: there is no folder {folder}")


@contextmanager
def locked(folder: Path, wait: bool = False) -> Iterator[None]:
    """Holds `folder/lock`; the system releases it when the process ends, however it ends.

    Args:
        folder: must exist.
        wait: for the holder, perhaps another thread, to release it; by default that is an error.

    Raises:
        UserError: if another process holds it, or it can't be written.
    """
    import filelock

    path = folder / "lock"
    refuse_special(path)
    if path.is_symlink():  # it would be followed, and what it leads to emptied
        raise UserError(f"{path} is a link, expected a regular file")
    lock = filelock.FileLock(path, timeout=-1 if wait else 0)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise UserError(
            f"{folder} is in use by another process: wait for it, or choose another `name`"
        ) from None
    except OSError as error:
        raise UserError(f"{folder} can't be written: {error}") from error
    except NotImplementedError:  # a network folder without locks
        pass
    try:
        yield
    finally:
        lock.release()
