"""The same run with several seeds: each on a device of its own, or one after the other.

Seeds need no communication, so eight chips train eight nets in the time of one. Each run is
exactly the one that its seed alone would be: the same program, on one device.
"""

import statistics
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any

import jax

from jax_resnet.errors import UserError
from jax_resnet.files import locked, read_json, write_json, writing
from jax_resnet.run.folder import Run, chosen
from jax_resnet.run.signals import check, stop_signals
from jax_resnet.training.begin import begin
from jax_resnet.training.config import Config, load_dataset
from jax_resnet.training.config_file import refuse_changes
from jax_resnet.training.train import train


def train_seeds(config: Config) -> dict[str, Any]:
    """Trains `config.seeds` runs, each in a folder of its own.

    Returns:
        `split`, `seeds`, `runs` (their names), `accuracies` on the test images, or with
        `config.test` off on those of validation (of the state chosen on validation, the last where
        there is none), their `mean`, and their sample standard
        deviation, `std` (n - 1); `lost_steps` by run, if a better state of some was lost. The same
        is written to the `result.json` of a common folder.

    Raises:
        UserError: if the common folder holds something else; as `train`, of the first seed that
            fails, after the others' end.
        Interrupted: when stopped; every begun run is saved.
    """
    if jax.process_count() > 1:
        raise UserError(
            f"`seeds` is {config.seeds}, expected 1 where several processes train together"
        )
    refuse_others(config)
    ends = on_all(jax.devices(), config.each_seed())
    scores = {run.run_name: chosen(result) for run, result in ends}
    accuracies = [each["accuracy"] for each in scores.values()]
    result = {
        "split": next(iter(scores.values())).get("split", "test"),
        "seeds": [run.seed for run, _ in ends],
        "runs": list(scores),
        "accuracies": accuracies,
        "mean": statistics.mean(accuracies),
        "std": statistics.stdev(accuracies),
    }
    lost = {name: each["lost_step"] for name, each in scores.items() if "lost_step" in each}
    if lost:
        result["lost_steps"] = lost
    with writing(config.folder):
        config.folder.mkdir(exist_ok=True)
        with locked(config.folder):
            refuse_others(config)
            write_json(config.folder / "result.json", result)
    return result


def refuse_others(config: Config) -> None:
    """Raises a `UserError` if the common folder of several seeds is a run's, or, without
    `config.resume`, if it has a result."""
    common = Run(config.folder)
    if any(file.exists() for file in (common.config_file, common.metrics_file, common.checkpoints)):
        raise UserError(f"{common.folder} holds a run: choose another `name`")
    if common.result_file.exists() and not config.resume:
        raise UserError(
            f"{common.folder} holds the result of several seeds already: add `resume` to continue "
            "them, or choose another `name`"
        )


def train_once(config: Config, **how: Any) -> dict[str, Any]:
    """The result of a run; with `config.resume`, a finished one is not run again."""
    if config.resume and (result := finished(config)):
        return result
    begin(config)
    return train(config, load_dataset(config), **how)


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


def on_all(
    devices: Sequence[jax.Device], runs: Iterable[Config]
) -> list[tuple[Config, dict[str, Any]]]:
    """Each run and its result; a thread for each device takes one run after the other."""
    turns, one_at_a_time = enumerate(runs), Lock()
    results: dict[int, tuple[Config, dict[str, Any]]] = {}
    errors: dict[int, UserError] = {}

    def work(device: jax.Device) -> None:
        while True:
            with one_at_a_time:
                number, run = next(turns, (-1, None))
            if run is None:
                return
            check(signals)
            try:
                with jax.default_device(device):
                    results[number] = run, train_once(run, devices=[device], signals=signals)
            except UserError as error:
                errors[number] = error

    with stop_signals() as signals, ThreadPoolExecutor(len(devices)) as pool:
        ends = [pool.submit(work, device) for device in devices]
    for end in ends:
        end.result()
    if errors:
        raise errors[min(errors)]
    return [results[number] for number in sorted(results)]
