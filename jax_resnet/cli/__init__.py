"""The commands: from words to a call, and from errors to messages and exit codes."""

import errno
import importlib
import io
import logging
import os
import re
import signal
import sys
import warnings
from typing import Any

from jax_resnet.errors import UserError, say, with_flags
from jax_resnet.run.signals import Interrupted

COMMANDS = {
    "train": "Train a CIFAR-10 ResNet, with one seed or several, or continue a run.",
    "evaluate": "Evaluate a model on a split, or on images in a file.",
    "predict": "Predict the classes of image files.",
    "convert": "Turn PyTorch's weights into a Classifier file, or back.",
    "export": "Write a model as a file that runs without this package.",
    "report": "Write one HTML page about a run, or several side by side.",
    "compare": "Train several nets, depths and seeds, and draw them together.",
}
REPOSITORY = "https://github.com/jax-resnet-cifar/jax_resnet"


def main(command: str | None = None) -> None:
    """Runs a command on the process's arguments.

    The process ends with exit code 2 and one message for what the user can put right.

    Args:
        command: one of `COMMANDS`; by default the first argument.
    """
    for name in ("absl", "asyncio"):  # Orbax writes there for developers
        logging.getLogger(name).setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module=r"PIL\.")  # of files that are then refused by name
    if sys.unraisablehook is sys.__unraisablehook__:
        sys.unraisablehook = _unraisable
    _prepare_streams()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # Python's handler raises, and an exception within XLA's compiler is a segmentation fault.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    arguments = sys.argv[1:]
    try:
        if command is None:
            command, *arguments = _named(arguments)
            sys.argv = [f"jax-resnet {command}", *arguments]  # which `--help` shows
        module = importlib.import_module(f"jax_resnet.cli.{command}")
        import jax

        with jax.transfer_guard("allow"):  # a command reads from the host and prints there
            module.command(arguments)
    except BrokenPipeError:  # the reader, `head` for example, stopped reading
        discard_stdout()
        sys.exit(141)
    except Exception as error:
        if (reason := reason_of(error, command or "")) is None:
            raise
        show_error(reason)
        sys.exit(2)


def reason_of(error: Exception, command: str) -> str | None:
    """The message for an error that the user can correct; None for a bug in this package."""
    match error:
        case OSError(filename=None, errno=errno.ENOENT):
            return "the current folder does not exist any more"
        case OSError(filename=None, errno=errno.ENOSPC | errno.EIO | errno.EFBIG):
            discard_stdout()
            return f"stdout can't be written: {error.strerror}"
        case UserError() | OSError():
            return str(error)
        case ModuleNotFoundError(name=str(name)) if not name.startswith("jax_resnet"):
            extra = "report" if command == "report" else "train"
            return (
                f"{command} needs the package {name}, which the extra {extra} installs: "
                f'pip install "jax-resnet-cifar[{extra}] @ git+{REPOSITORY}"'
            )
        case RuntimeError() | AssertionError():
            return _missing_device()
    return None


def discard_stdout() -> None:
    """What is still printed goes nowhere, also what Python writes at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _prepare_streams() -> None:
    """A stream that is closed is written nowhere, and what another can't show is escaped."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass  # it takes the place of a closed one, or else a file that is opened later would
    os.close(descriptor)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _unraisable(what: Any) -> None:
    # TensorStore has one for each write that is under way when another fails, on a full disk; and a
    # signal may come within a destructor.
    known = str(what.exc_value) == "Event loop is closed" or isinstance(what.exc_value, Interrupted)
    if not known:
        sys.__unraisablehook__(what)


def _missing_device() -> str | None:
    """Why JAX has no devices, which it says in many ways, or None where it has some."""
    import jax

    try:
        jax.devices()
        jax.device_put(0)
    except (RuntimeError, AssertionError) as error:
        names = ("JAX_PLATFORMS", "JAX_PLATFORM_NAME", "JAX_NUM_CPU_DEVICES", "JAX_DEFAULT_DEVICE")
        given = [f"{name}={os.environ[name]}" for name in names if name in os.environ]
        reason = f": {error}" if str(error) else ""
        return (
            f"JAX finds no device with {' '.join(given) or 'these drivers'}{reason} (a GPU needs "
            "jax[cuda13], a TPU jax[tpu]; without JAX_PLATFORMS JAX takes what there is)"
        )
    return None


def _named(arguments: list[str]) -> list[str]:
    """The arguments, of which the first is a command; else prints the commands and exits."""
    if arguments and arguments[0] in COMMANDS:
        return arguments
    asked = arguments in (["-h"], ["--help"])
    lines = [f"  {name:<10}{words}" for name, words in COMMANDS.items()]
    text = "\n".join(["usage: jax-resnet COMMAND ...", "", *lines, "", "COMMAND --help says more."])
    print(text, file=sys.stdout if asked else sys.stderr)
    sys.exit(0 if asked else 2)


def show_error(message: str) -> None:
    """Prints an error's message, its arguments named as flags."""
    # It continues in lines that are indented; any other line break is part of a name.
    say(*re.split(r"\n(?=  )", f"error: {with_flags(message)}"))
