"""The commands: from words to a call, and from errors to messages and exit codes."""

import importlib
import logging
import os
import re
import sys

COMMANDS = {
    "train": "Train a CIFAR-10 ResNet, with one seed or several, or continue a run.",
    "evaluate": "Count a model's correct predictions on a split.",
    "predict": "Predict the classes of image files.",
    "convert": "Turn PyTorch's weights into a Classifier file, or back.",
    "export": "Write a model as a file that runs without this package.",
    "report": "Write one HTML page about a run, or several side by side.",
    "compare": "Train several nets, depths and seeds, and draw them together.",
}
EXTRAS = {"train": "train", "evaluate": "train", "report": "report", "compare": "train"}
REPOSITORY = "https://github.com/jax-resnet-cifar/jax_resnet"


def main(command: str | None = None) -> None:
    """Runs a command on the process's arguments.

    The process ends with exit code 2 and one message for what the user can put right.

    Args:
        command: one of `COMMANDS`; by default the first argument.
    """
    logging.getLogger("absl").setLevel(logging.ERROR)  # Orbax writes there for developers
    program, *arguments = sys.argv
    if command is None:
        command, *arguments = _named(arguments)
        program = f"{'jax-resnet' if program.endswith('jax-resnet') else 'jax_resnet'} {command}"
        sys.argv = [program, *arguments]  # which `--help` shows
    try:
        importlib.import_module(f"jax_resnet.cli.{command}").command(arguments)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader, `head` for example, stopped reading
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("jax_resnet"):
            raise
        extra = EXTRAS.get(command, "report")
        _fail(
            f"{command} needs the package {error.name}, which the extra {extra} installs: "
            f'pip install "jax-resnet-cifar[{extra}] @ git+{REPOSITORY}"'
        )
    except (ValueError, OSError) as error:
        from jax_resnet.errors import UserError

        if isinstance(error, ValueError) and not isinstance(error, UserError):
            raise
        _fail(with_flags(str(error)))  # an OSError names its file


def with_flags(message: str) -> str:
    """A library's message, its arguments named as flags: `` `val_fraction` `` is --val-fraction."""
    return re.sub(r"`(\w+)`", lambda match: "--" + match[1].replace("_", "-"), message)


def _named(arguments: list[str]) -> list[str]:
    """The arguments, of which the first is a command; else prints the commands and exits."""
    if arguments and arguments[0] in COMMANDS:
        return arguments
    asked = arguments in (["-h"], ["--help"])
    lines = [f"  {name:<10}{words}" for name, words in COMMANDS.items()]
    text = "\n".join(["usage: jax-resnet COMMAND ...", "", *lines, "", "COMMAND --help says more."])
    print(text, file=sys.stdout if asked else sys.stderr)
    sys.exit(0 if asked else 2)


def _fail(message: str) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)
