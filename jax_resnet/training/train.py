"""From a `Config` and a data set to a run's folder with its result."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import jax

from jax_resnet.classifier import Classifier
from jax_resnet.data import Dataset
from jax_resnet.errors import UserError
from jax_resnet.model import ResNet
from jax_resnet.run.distributed import name_runtime_errors
from jax_resnet.run.environment import environment
from jax_resnet.run.folder import OpenRun, Run
from jax_resnet.run.progress import announce
from jax_resnet.run.signals import raise_signals
from jax_resnet.training.config import Config
from jax_resnet.training.config_file import refuse_changes
from jax_resnet.training.evaluation import Padded, evaluate, to_device
from jax_resnet.training.loop import fit
from jax_resnet.training.optimizer import make_schedule
from jax_resnet.training.programs import (
    device_data,
    init_state,
    make_mesh,
    make_programs,
    replicated,
)
from jax_resnet.training.step import TrainState


def train(
    config: Config,
    dataset: Dataset,
    devices: Sequence[jax.Device] | None = None,
    signals: list[int] | None = None,
) -> dict[str, Any]:
    """Trains the run that `config` describes, or continues it; returns its result.

    Args:
        config: hyper-parameters, and where the run is kept.
        dataset: loaded and split, as by `load_dataset(config)`.
        devices: to split each batch over; by default all, those of other processes too.
        signals: the run stops when a signal's number is appended; by default SIGINT and SIGTERM
            stop it, which takes Python's main thread.

    Raises:
        UserError: for what the caller can put right.
        Interrupted: when stopped; the run is saved.
        ProcessLost: if another process of the run has ended.
    """
    with raise_signals() if signals is None else nullcontext(), name_runtime_errors():
        check_counts(dataset.counts, config.batch_size)
        mesh = make_mesh(devices)
        programs = make_programs(config, len(dataset.train), dataset.flippable, mesh)
        announce(config.run_name, dataset.name, dataset.counts, list(mesh.devices.flat))
        where = environment(mesh.devices.flat) | {"images": dataset.counts}
        with Run(config.folder).open(config.to_json(), where, config.resume) as run:
            refuse_changes(config, run.config_file)
            data = device_data(dataset.train, config.normalization, mesh)
            mean, std = data[2:]
            put = partial(to_device, sharding=replicated(mesh))
            validation = put(dataset.validation) if len(dataset.validation) else None
            shape, names = dataset.image_shape, dataset.class_names
            net = ResNet(config.depth, len(names), config.shortcut)

            def classify(state: TrainState) -> Classifier:
                return Classifier(state.variables, mean, std, net, names, shape[:2])

            def validate(state: TrainState) -> dict[str, Any]:
                return {} if validation is None else evaluate(classify(state), validation)

            state = init_state(config, len(names), shape, mesh)
            peak, steps = config.learning_rate, config.steps
            schedule = make_schedule(config.schedule, peak, steps, config.warmup)
            start = run.resume({"state": state, "totals": programs.zeros()})
            state = fit(config, run, programs, data, start, schedule, validate, signals)
            like = {"state": state, "totals": programs.zeros()}
            return finish(config, run, like, classify, put(dataset.test))


def check_counts(counts: dict[str, int], batch_size: int) -> None:
    """Raises a `UserError` if there are too few images to train with, or none to test with."""
    if batch_size > counts["train"]:
        raise UserError(
            f"`batch_size` {batch_size} is larger than the data set, "
            f"expected at most {counts['train']}, the number of training images"
        )
    if not counts["test"]:
        raise UserError("the data set has no test images, expected at least one")


def finish(
    config: Config,
    run: OpenRun,
    tree: dict[str, Any],
    classify: Callable[[TrainState], Classifier],
    test: Padded,
) -> dict[str, Any]:
    """Draws the curves, evaluates the last and the best state on the test images, and saves the
    one that is better on validation (the last where there is none) as the run's `Classifier`."""
    run.draw_curves(config.run_name)
    classifier = classify(tree["state"])
    last = {"step": config.steps, "split": "test"} | evaluate(classifier, test)
    result, best = {"last": last}, run.best
    if best == config.steps:
        result["best"] = last
    elif best is not None:
        classifier = classify(run.restore(best, tree)["state"])
        result["best"] = {"step": best, "split": "test"} | evaluate(classifier, test)
    run.finish(classifier, result)
    return result
