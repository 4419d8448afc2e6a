"""The exception for what a caller can put right, and how lines of text are worded and printed."""

import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, get_args

# C0 and C1 controls, marks that change the direction of text, line separators, lone surrogates.
_CONTROLS = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


class UserError(ValueError):
    """Something that the caller can put right: an argument, a file, a folder.

    The message says what was found and what would be accepted. An argument stands in it by its
    name, in backquotes (`` `class_names` has 3 names, expected 10 ``); a command prints its flag
    there, and ends with exit code 2.
    """


def some(names: Sequence[str], shown: int = 3) -> str:
    """The first names of many, and how many more there are."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def as_words(value: object) -> str:
    """A value as a command line has it: several with spaces between them."""
    return " ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def check_choice(name: str, value: object, choices: Any) -> None:
    """Raises a `UserError` unless a value is one of those of an annotated `Literal`."""
    names = get_args(get_args(choices)[0])
    if value not in names:
        raise UserError(f"`{name}` is {value!r}, expected one of {', '.join(map(repr, names))}")


def refuse_given(options: Mapping[str, object], where: str) -> None:
    """Raises a `UserError` for the first option that is not None, of which `where` wants none."""
    for name, value in options.items():
        if value is not None:
            raise UserError(f"`{name}` is {as_words(value)}, expected none {where}")


def with_flags(message: str) -> str:
    """A message, its arguments named as flags: `` `val_fraction` `` is --val-fraction."""
    return re.sub(r"`(\w+)`", lambda match: "--" + match[1].replace("_", "-"), message)


def printable(text: object) -> str:
    """Text on one line for a terminal: control characters, of a file name for example, escaped."""
    return _CONTROLS.sub(lambda match: match[0].encode("unicode_escape").decode(), str(text))


def say(*lines: str) -> None:
    """Prints `printable` lines on stderr; a stderr that is closed ends no run."""
    if sys.stderr is not None:
        with suppress(OSError):
            print(*map(printable, lines), sep="\n", file=sys.stderr, flush=True)
