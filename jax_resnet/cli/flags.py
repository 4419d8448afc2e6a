"""A command's arguments as its dataclass describes them, by tyro."""

import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tyro

from jax_resnet.errors import UserError
from jax_resnet.pretrained import names

Flags = TypeVar("Flags")
Model = Annotated[
    tyro.conf.Positional[Path],
    tyro.conf.arg(
        metavar="MODEL",
        help="A run's folder, a Classifier file, or the name of a net in the package: "
        f"{', '.join(names())}. A run that has not finished is taken at its best or else last "
        "checkpoint.",
    ),
]
Json = Annotated[bool, tyro.conf.arg(name="json"), tyro.conf.FlagCreatePairsOff]


def hyphened(arguments: Sequence[str]) -> list[str]:
    """The arguments, with hyphens instead of underscores in names of flags: tyro takes both."""
    return [re.sub(r"^--[^=]*", lambda name: name[0].replace("_", "-"), word) for word in arguments]


def parse(kind: type[Flags], arguments: Sequence[str], default: Flags | None = None) -> Flags:
    """The arguments as a `kind`.

    Raises:
        UserError: for an empty argument.
        SystemExit: with tyro's message and exit code 2 for others that don't fit; with exit code
            0 after `--help`.
    """
    for before, word in itertools.pairwise(["", *arguments]):
        # A shell's unset variable; a path made of it would be the current folder.
        flag, equals, value = word.partition("=")
        if flag.startswith("--") and equals and not value:
            raise UserError(f"{flag} is empty")
        if word == "":
            is_flag = before.startswith("--") and "=" not in before
            raise UserError(f"{before if is_flag else 'an argument'} is empty")
    given: dict[str, Any] = {} if default is None else {"default": default}
    return tyro.cli(kind, args=arguments, **given)
