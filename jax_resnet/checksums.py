"""A folder under checksums: what is complete, what is damaged, and what can't be read now."""

import hashlib
import os
import stat
from pathlib import Path

from jax_resnet.errors import UserError
from jax_resnet.files import naming, read_json, write_json

CHECKSUMS = "sha256.json"  # written last into a folder; what is under it counts from then on


def checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of every file under a folder but `CHECKSUMS`, by its relative path.

    Raises:
        OSError: if the folder or a file can't be read.
    """

    def refuse(error: OSError) -> None:  # which `os.walk`, and `Path.rglob`, would pass over
        raise error

    found = {}
    for place, _, names in os.walk(folder, onerror=refuse):
        for path in (Path(place, name) for name in names if name != CHECKSUMS):
            with naming(path):
                if not _is_regular(path):
                    continue
                with path.open("rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
            found[str(path.relative_to(folder))] = digest
    return dict(sorted(found.items()))


def _is_regular(path: Path) -> bool:
    """`Path.is_file`, which from Python 3.14 on takes a file that it may not look at for none."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        return False


def seal(folder: Path) -> None:
    """Puts what is in a folder under checksums: it counts from then on."""
    write_json(folder / CHECKSUMS, checksums(folder))


def find_damage(folder: Path) -> str | None:
    """What is wrong with a folder under checksums, or None.

    Raises:
        UserError: if it can't be read, which may be so for a while only, and is no damage.
    """
    missing = FileNotFoundError, NotADirectoryError  # or another process deletes it meanwhile
    try:
        expected = read_json(folder / CHECKSUMS)
    except UserError as error:
        if isinstance(error.__cause__, missing):
            return f"{folder} is not complete"
        if isinstance(error.__cause__, OSError):
            raise
        return str(error)
    try:
        found = checksums(folder)
    except missing:
        return f"{folder} is not complete"
    except OSError as error:
        raise UserError(f"{folder} can't be read: {error}") from error
    for name in sorted(expected):  # other files there are a file manager's
        if expected.get(name) != found.get(name):
            return f"{folder / name} is damaged"
    return None
