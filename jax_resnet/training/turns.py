"""Runs in turn: each device takes one after the other, or on a GPU a few together."""

import dataclasses
import itertools
import math
import os
import re
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from threading import Lock
from typing import Any

import jax

from jax_resnet.data import Dataset
from jax_resnet.errors import UserError, say, with_flags
from jax_resnet.run.checkpoints import saved_step
from jax_resnet.run.folder import Run
from jax_resnet.run.records import refuse_other_data
from jax_resnet.run.signals import raise_if_stopped, stop_signals
from jax_resnet.training.begin import load_aloud, result_of
from jax_resnet.training.config import Config, divide
from jax_resnet.training.dispatch import GPUS
from jax_resnet.training.initial import identity, read_init
from jax_resnet.training.train import check_suits, train_together

MAX_RUNS = 4  # in a program: with four, 64 channels fill an H100's tensor cores; eight gain nothing
Turn = dict[int, Config]  # runs by their number
Ends = dict[int, dict[str, Any] | UserError]  # by the run's number, its result or why it has none


def train_on_devices(devices: Sequence[jax.Device], config: Config) -> list[dict[str, Any]]:
    """The result of the run of each seed; a thread for each device takes turn after turn.

    Raises:
        UserError: before any run is trained, of the first one that can't begin or continue with
            these images; after all have ended, of the first one that failed (which is printed when
            it fails).
        Interrupted: when stopped; every run that has begun is saved.
    """
    for run in begun(config):
        result_of(run)
    images = load_aloud(config)
    numbered, one_at_a_time = enumerate(config.each_seed()), Lock()
    size = turn_size(devices, config.seeds)
    ends: Ends = {}

    def work(device: jax.Device) -> None:
        while True:
            with one_at_a_time:
                turn = dict(itertools.islice(numbered, size))
            if not turn:
                return
            raise_if_stopped(signals)
            with jax.default_device(device):
                ends.update(train_turn(turn, images, device, signals))

    with stop_signals() as signals, ThreadPoolExecutor(len(devices)) as pool:
        refuse_other_images(config, images)
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
    return math.ceil(share / math.ceil(share / MAX_RUNS))


def begun(config: Config) -> list[Config]:
    """The runs of several seeds that have a folder: few, however many seeds there are."""
    runs_dir, stem = config.folder.parent, config.of_seed(0).run_name.removesuffix("0")
    names = os.listdir(runs_dir) if runs_dir.is_dir() else []
    numbers = [name.removeprefix(stem) for name in names if name.startswith(stem)]
    seeds = sorted(int(each) for each in numbers if re.fullmatch("0|[1-9][0-9]{0,9}", each))
    return [config.of_seed(seed) for seed in seeds if 0 <= seed - config.seed < config.seeds]


def refuse_other_images(config: Config, images: Dataset) -> None:
    """Raises a `UserError` if a run was begun on other images or from other weights, or if one that
    is new can't be trained on these."""
    new = (run for run in config.each_seed() if not run.folder.exists())
    for run in [*begun(config), *itertools.islice(new, 1)]:
        dataset = divide(images, run)
        check_suits(run, dataset)
        given = read_init(run, dataset)
        if (config_file := Run(run.folder).config_file).exists():
            refuse_other_data(config_file, dataset.identity() | identity(given))


def train_turn(turn: Turn, images: Dataset, device: jax.Device, signals: list[int]) -> Ends:
    """Trains the runs that can be, those that have reached the same step together."""
    ends: Ends = {}
    groups: dict[int, Turn] = defaultdict(dict)
    for number, run in turn.items():
        try:
            if result := result_of(run):
                ends[number] = result
            else:
                groups[saved_step(Run(run.folder).checkpoints)][number] = run
        except UserError as error:
            ends[number] = report_error(run, error)
    for group in groups.values():
        ends |= train_group(group, images, device, signals)
    return ends


def train_group(group: Turn, images: Dataset, device: jax.Device, signals: list[int]) -> Ends:
    """Trains runs together; if one of them fails, each continues alone."""
    try:
        pairs = [(run, divide(images, run)) for run in group.values()]
        results = train_together(pairs, devices=[device], signals=signals)
        return dict(zip(group, results, strict=True))
    except UserError as error:
        if len(group) == 1:
            return {number: report_error(run, error) for number, run in group.items()}
    ends: Ends = {}
    for number, run in group.items():
        alone = {number: dataclasses.replace(run, resume=True)}
        ends |= train_group(alone, images, device, signals)
    return ends


def report_error(run: Config, error: UserError) -> UserError:
    """The error of a run, when the others continue."""
    say(f"seed {run.seed}: {with_flags(str(error))}")
    return error
