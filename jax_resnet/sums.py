"""Checksums of a folder's files, in a file of their own there."""

import hashlib
import json
from pathlib import Path

SUMS = "sha256.json"  # written last; what is under it counts from then on


def checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of every file under a folder but `SUMS`, by its relative path."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != SUMS
    }


def find_damage(folder: Path) -> str | None:
    """What is wrong with a folder with checksums, or None."""
    try:
        expected = json.loads((folder / SUMS).read_text())
        found = checksums(folder)
    except FileNotFoundError:
        return f"{folder} is not complete"
    except (OSError, ValueError) as error:
        return f"{folder} can't be read: {error}"
    if not isinstance(expected, dict):
        return f"{folder / SUMS} is damaged"
    for name in sorted(expected):  # what else is there, a file manager left
        if expected.get(name) != found.get(name):
            return f"{folder / name} is damaged"
    return None
