"""Files and folders that survive: written whole or not at all, locked, under checksums."""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jax_resnet.errors import UserError

CHECKSUMS = "sha256.json"  # written last into a folder; what is under it counts from then on


def replace_file(path: str | os.PathLike[str], content: bytes) -> None:
    """Writes a file in one piece, on disk when this returns; an old one stays until then."""
    unfinished = Path(f"{os.fspath(path)}.unfinished")
    with unfinished.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(unfinished, path)


def write_json(path: Path, value: Any) -> None:
    """Writes a value as JSON, in one piece."""
    replace_file(path, (json.dumps(value, indent=1) + "\n").encode())


def read_json(path: Path) -> Any:
    """The value in a JSON file.

    Raises:
        UserError: if the file can't be read.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
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
    if path.exists():
        raise UserError(f"{path} exists already and is not overwritten: name a new file")
    if not path.parent.is_dir():
        raise UserError(f"{path} can't be written: there is no folder {path.parent}")
    unfinished = path.with_name(f"{path.name}.part")
    try:
        with writing(path):
            yield unfinished
            os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


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

    lock = filelock.FileLock(folder / "lock", timeout=-1 if wait else 0)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise UserError(
            f"{folder} is in use by another process: wait for it, or give this run "
            "a `name` of its own"
        ) from None
    except OSError as error:
        raise UserError(f"{folder} can't be written: {error}") from error
    except NotImplementedError:  # a network folder without locks
        pass
    try:
        yield
    finally:
        lock.release()


def checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of every file under a folder but `CHECKSUMS`, by its relative path."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != CHECKSUMS
    }


def find_damage(folder: Path) -> str | None:
    """What is wrong with a folder under checksums, or None."""
    try:
        expected = json.loads((folder / CHECKSUMS).read_text())
        found = checksums(folder)
    except FileNotFoundError:
        return f"{folder} is not complete"
    except (OSError, ValueError) as error:
        return f"{folder} can't be read: {error}"
    if not isinstance(expected, dict):
        return f"{folder / CHECKSUMS} is damaged"
    for name in sorted(expected):  # other files there are a file manager's
        if expected.get(name) != found.get(name):
            return f"{folder / name} is damaged"
    return None
