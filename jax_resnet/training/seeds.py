"""The same run with several seeds: each on a device of its own, or one after the other.

Seeds need no communication, so eight chips train eight nets in the time of one. On CPUs and TPUs
each run has the bits that its seed alone has on one device. On a GPU, which a small net leaves
mostly idle, one program trains a few of them, and they are equal to those up to rounding.
"""

import statistics
from typing import Any

import jax

from jax_resnet.errors import UserError
from jax_resnet.files import locked, refuse_file, write_json, writing
from jax_resnet.run.folder import Run
from jax_resnet.run.records import chosen
from jax_resnet.training.config import Config
from jax_resnet.training.turns import train_on_devices


def train_seeds(config: Config) -> dict[str, Any]:
    """Trains `config.seeds` runs, each in a folder of its own.

    Returns:
        What is also written to the `result.json` of a common folder:

        - `split`: of the images that were counted, `config.scored_split`;
        - `seeds`, and `runs`, the runs' names;
        - `accuracies`: of each run's state that is best on validation, or of its last state where
          there is no validation;
        - `mean` and `std` of them, the sample standard deviation (n - 1);
        - `lost_steps`, by run: the step of a state that was better and is lost, if there is one.

    Raises:
        UserError: if `config.seeds` is 1; if the common folder holds something else; as
            `train_on_devices`.
        Interrupted: when stopped; every run that has begun is saved.
    """
    if config.seeds == 1:
        raise UserError("`seeds` is 1, expected 2 or more: `train` trains one")
    if jax.process_count() > 1:
        raise UserError(
            f"`seeds` is {config.seeds}, expected 1 where several processes train together"
        )
    refuse_others(config)
    results = train_on_devices(jax.devices(), config)
    runs = list(config.each_seed())
    scores = {run.run_name: chosen(each) for run, each in zip(runs, results, strict=True)}
    accuracies = [each["accuracy"] for each in scores.values()]
    result = {
        "split": config.scored_split,
        "seeds": [run.seed for run in runs],
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
            write_json(Run(config.folder).result_file, result)
    return result


def refuse_others(config: Config) -> None:
    """Raises a `UserError` if the common folder of several seeds is a run's or a file, or,
    without `config.resume`, if it has a result."""
    common = Run(config.folder)
    if any(file.exists() for file in (common.config_file, common.metrics_file, common.checkpoints)):
        raise UserError(f"{common.folder} holds a run: choose another `name`")
    refuse_file(common.folder)
    if common.result_file.exists() and not config.resume:
        raise UserError(
            f"{common.folder} holds the result of several seeds already: add `resume` to continue "
            "them, or choose another `name`"
        )
