"""A training command that kills itself: `killed_run.py PHASE LOG flags...`.

`LOG` gets a line when the phase is entered, and another if it is left alive, which must not be.
Only the libraries' and the standard library's calls are wrapped; the project's code is as it is.
"""

import os
import shutil
import signal
import sys
import threading
from pathlib import Path

import orbax.checkpoint as ocp
from matplotlib.figure import Figure

from jax_resnet import files
from jax_resnet.checksums import CHECKSUMS
from jax_resnet.cli.train import parse_config
from jax_resnet.run import folder as runs
from jax_resnet.training import divergence, loop
from jax_resnet.training import train as training
from jax_resnet.training.config import load_dataset

phase, log, *flags = sys.argv[1:]


def say(word):
    with Path(log).open("a") as file:
        file.write(f"{word}\n")


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def wrap(owner, name, when=lambda *_: True, before=None):
    """Kills inside the call: after `before`, or some milliseconds into it."""
    real = getattr(owner, name)

    def call(*arguments, **keywords):
        if not when(*arguments):
            return real(*arguments, **keywords)
        say("entered")
        if before is not None:
            before(*arguments)
            die()
        timer = threading.Timer(float(os.environ["KILL_AFTER"]), die)
        timer.start()
        done = real(*arguments, **keywords)
        say("left")
        die()
        return done

    setattr(owner, name, call)


def half_deleted(_manager, step):
    folder = next(Path(flags[flags.index("--runs-dir") + 1]).glob(f"*/checkpoints/{step}"))
    shutil.rmtree(next(path for path in folder.iterdir() if path.is_dir()))


def half_line(descriptor):
    """What a machine that dies has on disk: the line without its end."""
    os.truncate(descriptor, os.fstat(descriptor).st_size - 20)


def half_written(path, content):
    Path(f"{path}.unfinished").write_bytes(content[: len(content) // 2])


def is_metrics(descriptor):
    return os.readlink(f"/proc/self/fd/{descriptor}").endswith("metrics.jsonl")


match phase:
    case "step":
        wrap(loop.Progress, "update", before=lambda *_: None)
    case "write":
        wrap(ocp.CheckpointManager, "save")
    case "commit":
        wrap(
            files,
            "replace_file",
            when=lambda path, _: path.name == CHECKSUMS,
            before=half_written,
        )
    case "deletion":
        wrap(ocp.CheckpointManager, "delete", before=half_deleted)
    case "append":
        wrap(runs.os, "fsync", when=is_metrics, before=half_line)
    case "plot":
        wrap(Figure, "savefig")
    case "evaluation":
        wrap(divergence, "evaluate", when=lambda _, split: int(split.count) == 360)

    case _:
        sys.exit(f"there is no phase {phase}")

config = parse_config(flags)
training.train(config, load_dataset(config))
