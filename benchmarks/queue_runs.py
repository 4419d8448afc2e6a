"""Train the runs that the published tables still need, the most important first.

    python benchmarks/queue_runs.py --at-once 2 --runs-dir runs --data-dir DIR
    python benchmarks/queue_runs.py --list

Each command is a `train.py` with `--seeds` and `--resume`: finished runs are left out, begun ones
are continued, and Ctrl-C, SIGTERM or a closed terminal saves those that are running. On a GPU two
commands at a time, under NVIDIA's MPS, hide the compilation of one behind the steps of the other;
on a CPU, one at a time is best. No seed took part in choosing a recipe's value.
"""

import argparse
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType

from jax_resnet.cli import discard_stdout
from jax_resnet.cli.train import parse_config
from jax_resnet.errors import UserError, with_flags
from jax_resnet.files import read_json
from jax_resnet.run.folder import Run
from jax_resnet.run.signals import SIGHUP
from jax_resnet.training.begin import finished
from jax_resnet.training.config import Config

TRAIN = Path(__file__).parents[1] / "scripts" / "train.py"
NETS = ("--shortcut zeropad", "--shortcut conv1x1", "--model cnn")
STOPPED = 128 + signal.SIGTERM  # the exit code of a run that was stopped and saved


def queue() -> Iterator[str]:
    """The flags of each command, by priority."""
    five, three = "--seed 10 --seeds 5", "--seed 10 --seeds 3 --precision bf16"
    yield from (f"--recipe fast {net} {five}" for net in NETS)
    yield f"--recipe long --shortcut conv1x1 {three}"
    all_images = "--val-fraction 0 --steps 4688"  # twelve epochs of 50,000
    yield f"--recipe fast --shortcut zeropad {all_images} --name zeropad-50000-images {five}"
    yield f"--recipe long --shortcut conv1x1 --cutout none --name conv1x1-no-cutout {three}"
    yield f"--recipe paper {three}"
    yield from (f"--recipe article {net} {three}" for net in NETS)
    yield f"--recipe long --shortcut conv1x1 --steps 140626 --name conv1x1-400-epochs {three}"
    yield from (f"--recipe paper --depth {depth} {three}" for depth in (32, 44, 56, 110))
    yield from (f"--recipe paper --model cnn --depth {depth} {three}" for depth in (32, 44, 56))
    yield f"--recipe long --shortcut zeropad {three}"


def train_all(runs: list[list[str]], at_once: int) -> int:
    """Trains the runs, given by their flags; returns the exit code: 1 if one failed, `STOPPED` if
    this process was told to stop."""
    running: set[subprocess.Popen[bytes]] = set()
    stopping = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True
        for process in list(running):
            process.send_signal(signal.SIGTERM)

    def train(flags: list[str]) -> int:
        if stopping:
            return STOPPED
        # In a session of its own, so that a terminal's Ctrl-C reaches it once, from `stop`.
        process = subprocess.Popen([sys.executable, TRAIN, *flags], start_new_session=True)
        running.add(process)
        if stopping:
            process.send_signal(signal.SIGTERM)
        code = process.wait()
        running.discard(process)
        if code not in (0, STOPPED):
            print(f"exit code {code}: {shlex.join(flags)}", file=sys.stderr, flush=True)
        return code

    for number in (signal.SIGINT, signal.SIGTERM, SIGHUP):
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:  # by nohup
            signal.signal(number, stop)
    with ThreadPoolExecutor(at_once) as pool:
        codes = list(pool.map(train, runs))
    if stopping:
        return STOPPED
    return int(any(code not in (0, STOPPED) for code in codes))


def has_mean(config: Config) -> bool:
    """Whether the mean of the seeds is there, of the images that `config` counts."""
    try:
        return read_json(Run(config.folder).result_file).get("split") == config.scored_split
    except UserError:
        return False


def command() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--at-once", type=int, default=1, metavar="N", help="commands at a time")
    parser.add_argument("--list", action="store_true", help="only say which are left")
    own, common = parser.parse_known_args()
    if own.at_once < 1:
        parser.error(f"--at-once is {own.at_once}, expected 1 or more")
    runs = [[*flags.split(), "--resume", *common] for flags in queue()]
    try:
        configs = [parse_config(flags) for flags in runs]
        ends = [
            all(map(finished, config.each_seed())) and (config.seeds == 1 or has_mean(config))
            for config in configs
        ]
    except UserError as error:
        parser.error(with_flags(str(error)))
    left = [flags for flags, is_finished in zip(runs, ends, strict=True) if not is_finished]
    try:
        for flags in left:
            print(shlex.join(flags), flush=True)
    except BrokenPipeError:  # the reader, `head` for example, stopped reading
        discard_stdout()
    if not own.list:
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
        sys.exit(train_all(left, own.at_once))


if __name__ == "__main__":
    command()
