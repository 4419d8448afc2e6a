"""Files that commands write: whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jax_resnet.errors import UserError


def replace_file(path: str | os.PathLike[str], content: bytes) -> None:
    """Writes a file in one piece, on disk when this returns; an old one stays until then."""
    unfinished = Path(f"{os.fspath(path)}.unfinished")
    with unfinished.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(unfinished, path)


@contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turns what goes wrong in the block with files into a message that names `path`.

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
        UserError: if `path` is there already, or can't be written.
    """
    path = Path(path)
    if path.exists():
        raise UserError(f"{path} is there already, and is not overwritten: name a new file")
    if not path.parent.is_dir():
        raise UserError(f"{path} can't be written: there is no folder {path.parent}")
    unfinished = path.with_name(f"{path.name}.part")
    try:
        with writing(path):
            yield unfinished
            os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
