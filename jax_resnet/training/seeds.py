"""The same run with several seeds: each on a device of its own, or one after the other.

Seeds need no communication, so eight chips train eight nets in the time of one. Each run is
exactly the one that its seed alone would be: the same program, on one device.
"""

import statistics
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

import jax

from jax_resnet.errors import UserError
from jax_resnet.files import read_json, write_json, writing
from jax_resnet.run.folder import Run, chosen
from jax_resnet.run.signals import Interrupted, stop_signals
from jax_resnet.training.config import Config, load_dataset
from jax_resnet.training.config_file import refuse_changes
from jax_resnet.training.train import train


def train_seeds(config: Config) -> dict[str, Any]:
    """Trains `config.seeds` runs, each in a folder of its own.

    Returns:
        `seeds`, `runs` (their names), `accuracies` on the test images (of the state chosen on
        validation, the last where there is none), their `mean`, and their sample standard
        deviation, `std` (n - 1); the same is written to the `result.json` of a common folder.

    Raises:
        UserError: as `train`, of the first seed that fails, after the others' end.
        Interrupted: when stopped; every begun run is saved.
    """
    runs = list(config.each_seed())
    devices = jax.devices()
    if jax.process_count() > 1:
        raise UserError(
            f"`seeds` is {config.seeds}, expected 1 where several processes train together"
        )
    results = in_turn(runs) if len(devices) == 1 else on_all(devices, runs)
    scores = [chosen(result)["accuracy"] for result in results]
    result = {
        "seeds": [run.seed for run in runs],
        "runs": [run.run_name for run in runs],
        "accuracies": scores,
        "mean": statistics.mean(scores),
        "std": statistics.stdev(scores),
    }
    with writing(config.folder):
        config.folder.mkdir(exist_ok=True)
        write_json(config.folder / "result.json", result)
    return result


def train_once(config: Config, **how: Any) -> dict[str, Any]:
    """The result of a run; with `config.resume`, a finished one is not run again."""
    return (config.resume and finished(config)) or train(config, load_dataset(config), **how)


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
        return read_json(run.result_file)
    except UserError:
        return None


def in_turn(runs: list[Config]) -> list[dict[str, Any]]:
    """One run after the other."""
    results, errors = [], []
    for run in runs:
        try:
            results.append(train_once(run))
        except UserError as error:
            errors.append(error)
    if errors:
        raise errors[0]
    return results


def on_all(devices: list[jax.Device], runs: list[Config]) -> list[dict[str, Any]]:
    """A run on each device at a time, a thread each."""
    free: SimpleQueue[jax.Device] = SimpleQueue()
    for device in devices:
        free.put(device)

    @contextmanager
    def one_device() -> Iterator[jax.Device]:
        device = free.get()
        try:
            with jax.default_device(device):
                yield device
        finally:
            free.put(device)

    with stop_signals() as signals, ThreadPoolExecutor(len(devices)) as pool:

        def run(config: Config) -> dict[str, Any]:
            if signals:
                raise Interrupted(signals[0])
            with one_device() as device:
                return train_once(config, devices=[device], signals=signals)

        ends = [pool.submit(run, config) for config in runs]
        wait(ends)
    return [end.result() for end in ends]
