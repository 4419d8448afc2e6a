"""From a command's words to a `Config`, and from errors to messages and exit codes."""

import argparse
import sys
from collections.abc import Callable, Sequence

import tyro

from jax_resnet.config import Config
from jax_resnet.errors import UserError
from jax_resnet.recipes import RECIPES


def parse_config(arguments: Sequence[str]) -> Config:
    """The recipe that `--recipe` names, then the other flags."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--recipe", default="article")
    recipe = first.parse_known_args(arguments)[0].recipe
    return tyro.cli(Config, args=arguments, default=RECIPES.get(recipe, Config()))


def main(command: Callable[[Sequence[str]], None]) -> None:
    """Runs a command; what the user can put right ends it with one message and exit code 2."""
    try:
        command(sys.argv[1:])
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
