"""Runs in turn: each device takes one after the other, or on a GPU a few together."""

import dataclasses
import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from threading import Lock
from typing import Any

import jax

from jax_resnet.errors import UserError
from jax_resnet.files import read_json
from jax_resnet.run.checkpoints import saved_step
from jax_resnet.run.folder import Run, chosen
from jax_resnet.run.signals import check, stop_signals
from jax_resnet.training.begin import begin
from jax_resnet.training.config import Config, load_datasets
from jax_resnet.training.config_file import refuse_changes
from jax_resnet.training.dispatch import GPUS
from jax_resnet.training.train import train_together

MOST = 4  # runs in a program: their 64 channels fill an H100's tensor cores, eight are no faster
Turn = dict[int, Config]  # runs by their number
Ends = dict[int, dict[str, Any] | UserError]  # by the run's number, its result or why it has none


def on_all(
    devices: Sequence[jax.Device], runs: Iterable[Config], count: int
) -> list[dict[str, Any]]:
    """The result of each run, of `count`; a thread for each device takes turn after turn.

    Raises:
        UserError: of the first run that fails, after the others' end.
        Interrupted: when stopped; every begun run is saved.
    """
    numbered, one_at_a_time = enumerate(runs), Lock()
    size = turn_size(devices, count)
    ends: Ends = {}

    def work(device: jax.Device) -> None:
        while True:
            with one_at_a_time:
                turn = dict(itertools.islice(numbered, size))
            if not turn:
                return
            check(signals)
            with jax.default_device(device):
                ends.update(train_turn(turn, device, signals))

    with stop_signals() as signals, ThreadPoolExecutor(len(devices)) as pool:
        works = [pool.submit(work, device) for device in devices]
        while wait(works, timeout=1).not_done:
            pass  # Python runs handlers of signals in this thread, which a long wait can miss
    for each in works:
        each.result()
    results = []
    for _, end in sorted(ends.items()):
        if isinstance(end, UserError):
            raise end
        results.append(end)
    return results


def turn_size(devices: Sequence[jax.Device], count: int) -> int:
    """How many runs a device takes at a time, so that its turns are of about one size."""
    if devices[0].platform not in GPUS:
        return 1
    share = math.ceil(count / len(devices))
    return math.ceil(share / math.ceil(share / MOST))


def train_turn(turn: Turn, device: jax.Device, signals: list[int]) -> Ends:
    """Trains the runs that can be, those that have reached the same step together. With `resume`,
    finished ones are not run again."""
    ends: Ends = {}
    groups: dict[int, Turn] = defaultdict(dict)
    for number, run in turn.items():
        try:
            if run.resume and (result := finished(run)):
                if chosen(result).get("split", "test") != run.scored_split:
                    raise UserError(
                        f"{run.folder} has test scores, expected those of validation without "
                        "`test`: choose another `name`"
                    )
                ends[number] = result
                continue
            begin(run)
            groups[saved_step(Run(run.folder).checkpoints)][number] = run
        except UserError as error:
            ends[number] = error
    for group in groups.values():
        ends |= train_group(group, device, signals)
    return ends


def train_group(group: Turn, device: jax.Device, signals: list[int]) -> Ends:
    """Trains runs together; if one of them fails, each goes on alone."""
    try:
        runs = list(group.values())
        pairs = list(zip(runs, load_datasets(runs), strict=True))
        results = train_together(pairs, devices=[device], signals=signals)
        return dict(zip(group, results, strict=True))
    except UserError as error:
        if len(group) == 1:
            return dict.fromkeys(group, error)
    ends: Ends = {}
    for number, run in group.items():
        alone = {number: dataclasses.replace(run, resume=True)}
        ends |= train_group(alone, device, signals)
    return ends


def finished(config: Config) -> dict[str, Any] | None:
    """The result of the run that `config` describes, if it has one that can be read.

    Raises:
        UserError: if that run had other hyper-parameters.
    """
    run = Run(config.folder)
    if not run.result_file.exists():
        return None
    refuse_changes(config, run.config_file)
    try:
        result = read_json(run.result_file, dict)
        scores = chosen(result)
        is_wanted = scores.get("split", "test") == "test" or not config.test
        return result if isinstance(scores["accuracy"], float) and is_wanted else None
    except (UserError, KeyError, TypeError):
        return None
