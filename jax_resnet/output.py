"""Files that commands write: whole or not at all, and never in another's place."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jax_resnet.errors import UserError


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
        yield unfinished
        os.replace(unfinished, path)
    except OSError as error:
        raise UserError(f"{path} can't be written: {error}") from error
    finally:
        unfinished.unlink(missing_ok=True)
