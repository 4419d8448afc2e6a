"""From a command's words to its flags, and from errors to messages and exit codes."""

import argparse
import contextlib
import dataclasses
import io
import itertools
import logging
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import tyro

from jax_resnet.errors import UserError
from jax_resnet.training.config import Config
from jax_resnet.training.config_file import read_config
from jax_resnet.training.recipes import RECIPES

Flags = TypeVar("Flags")
_LONGEST_MESSAGE = 400


@dataclasses.dataclass(frozen=True)
class _Train(Config):
    """Train a CIFAR-10 ResNet. The defaults are the recipe `article`."""

    config: Path | None = None
    """A JSON object of flags, such as a run's config.json; the command line's replace them."""

    def __post_init__(self) -> None:
        """Nothing is checked before all the flags are known."""


def parse_config(arguments: Sequence[str]) -> Config:
    """The recipe's values, replaced by those of the `--config` file, replaced by the flags'.

    Raises:
        UserError: for anything that is not as it should be.
    """
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--recipe", nargs="?")
    first.add_argument("--model", nargs="?")
    first.add_argument("--config", nargs="?")
    words = first.parse_known_args(arguments)[0]
    values = read_config(words.config) if words.config else {}
    named = words.recipe or values.get("recipe", "article")
    recipe = RECIPES.get(named, Config())  # of an unknown one tyro tells below
    if (words.model or values.get("model")) == "cnn":
        recipe = dataclasses.replace(recipe, shortcut=None)  # a recipe's is for residual nets
    flags = vars(parse(_Train, arguments, _Train(**vars(recipe) | values)))
    try:
        return Config(**{field.name: flags[field.name] for field in dataclasses.fields(Config)})
    except UserError as error:
        raise UserError(f"{error} (with --config {words.config})" if values else error) from None


def parse(kind: type[Flags], arguments: Sequence[str], default: Flags | None = None) -> Flags:
    """The flags of a command, as its dataclass describes them.

    Raises:
        UserError: for words that don't fit, with tyro's own message cut down to one sentence.
        SystemExit: with code 0, after `--help`.
    """
    _refuse_empty(arguments)
    message = io.StringIO()
    try:
        with contextlib.redirect_stderr(message):
            if default is None:
                return tyro.cli(kind, args=arguments)
            return tyro.cli(kind, args=arguments, default=default)
    except SystemExit as stop:
        if stop.code in (None, 0):
            raise
        raise UserError(_shorten(message.getvalue())) from None


def _refuse_empty(arguments: Sequence[str]) -> None:
    """An empty word is a shell's unset variable; a path made of it would be the current folder."""
    for before, word in itertools.pairwise(["", *arguments]):
        flag = before if word == "" else word.removesuffix("=")
        if word == "" or re.fullmatch(r"--[\w-]+=", word):
            raise UserError(f"{flag or 'an argument'} is empty, expected a value")


def _shorten(box: str) -> str:
    """What tyro's box says first, in one line, and the flags that it proposes."""
    box = re.sub(r"\x1b\[[\d;]*m", "", box).partition("│ For full helptext")[0]
    title, *rows = [row.strip("│ ") for row in box.splitlines()] or [""]
    body = itertools.takewhile(lambda row: row and row[0] not in "─╰", rows)
    message = " ".join(body).removeprefix("Error parsing ") or "the flags are not understood"
    if missing := re.findall(r"^│ {5}(\S+)", box, re.MULTILINE) if "Required" in title else []:
        message = f"{' and '.join(missing)} must be given"
    if len(message) > _LONGEST_MESSAGE:
        message = message[:_LONGEST_MESSAGE] + "..."
    near = dict.fromkeys(re.findall(r"^│ +(--[\w-]+)", box, re.MULTILINE))
    if "Unrecognized" in title and near:
        return f"{message}; perhaps {' or '.join(near)}"
    return f"{message.rstrip('.')}; --help shows what is accepted"


def main(command: Callable[[Sequence[str]], None]) -> None:
    """Runs a command; what the user can put right ends it with one message and exit code 2."""
    logging.getLogger("absl").setLevel(logging.ERROR)  # Orbax tells developers, not users
    try:
        command(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except (UserError, OSError) as error:  # an OSError names its file itself
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
