"""The training loop: from a `Config` to a run's folder with its result."""

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from itertools import count
from typing import Any

import jax
import jax.numpy as jnp

from jax_resnet.classifier import Classifier
from jax_resnet.data import Dataset
from jax_resnet.errors import UserError
from jax_resnet.model import ResNet
from jax_resnet.run.distributed import name_runtime_errors, preempted
from jax_resnet.run.environment import environment
from jax_resnet.run.folder import OpenRun, Run
from jax_resnet.run.profiling import Profile
from jax_resnet.run.progress import Progress, announce
from jax_resnet.run.signals import SIGTERM, Interrupted, raise_signals, stop_signals
from jax_resnet.training.config import Config, load_dataset
from jax_resnet.training.config_file import refuse_changes
from jax_resnet.training.evaluation import Padded, evaluate, to_device
from jax_resnet.training.optimizer import drops
from jax_resnet.training.programs import (
    Programs,
    device_data,
    init_state,
    make_mesh,
    make_programs,
    replicated,
)
from jax_resnet.training.recipes import learning_rate
from jax_resnet.training.step import Metrics, TrainState

Classify = Callable[[TrainState], Classifier]


def train(
    config: Config,
    dataset: Dataset | None = None,
    devices: Sequence[jax.Device] | None = None,
    signals: list[int] | None = None,
) -> dict[str, Any]:
    """Trains the run that `config` describes, or continues it; returns its result.

    Args:
        config: hyper-parameters, and where the run is kept.
        dataset: by default the one that `config` names, loaded and split.
        devices: to split each batch over; by default all, those of other processes too.
        signals: the run stops when a signal's number is appended; by default SIGINT and SIGTERM
            stop it, which takes Python's main thread.

    Raises:
        UserError: for what the caller can put right.
        Interrupted: when stopped; the run is saved.
        ProcessLost: if another process of the run has ended.
    """
    with raise_signals() if signals is None else nullcontext(), name_runtime_errors():
        dataset = dataset or load_dataset(config)
        check_counts(dataset.counts, config.batch_size)
        mesh = make_mesh(devices)
        programs = make_programs(config, len(dataset.train), dataset.flippable, mesh)
        announce(config.run_name, dataset.name, dataset.counts, list(mesh.devices.flat))
        with Run(config.folder).open(config.resume) as run:
            begin(run, config, environment(mesh.devices.flat) | {"images": dataset.counts})
            data = device_data(dataset.train, config.normalization, mesh)
            put = partial(to_device, sharding=replicated(mesh))
            validation = put(dataset.validation) if len(dataset.validation) else None
            test = put(dataset.test)
            shape, names = dataset.image_shape, dataset.class_names
            net = ResNet(config.depth, len(names), config.shortcut)

            def classify(state: TrainState) -> Classifier:
                mean, std = data[2:]
                return Classifier(state.variables, mean, std, net, names, shape[:2])

            state = init_state(config, len(names), shape, mesh)
            start = run.resume({"state": state, "totals": programs.zeros()})
            state = fit(config, run, programs, data, start, classify, validation, signals)
            return finish(config, run, {"state": state, "totals": programs.zeros()}, classify, test)


def check_counts(counts: dict[str, int], batch_size: int) -> None:
    """Raises a `UserError` if there are too few images to train with, or none to test with."""
    if batch_size > counts["train"]:
        raise UserError(
            f"`batch_size` {batch_size} is larger than the data set, "
            f"expected at most {counts['train']}, the number of training images"
        )
    if not counts["test"]:
        raise UserError("the data set has no test images, expected at least one")


def begin(run: OpenRun, config: Config, environment: dict[str, Any]) -> None:
    """Writes `config.json`, or refuses one with other hyper-parameters or other data."""
    if run.config_file.exists():
        refuse_changes(config, run.config_file)
        run.refuse_other_data(environment["images"])
    else:
        run.write(run.config_file, config.to_json() | {"environment": environment})


def fit(
    config: Config,
    run: OpenRun,
    programs: Programs,
    data: tuple[jax.Array, ...],
    start: dict[str, Any],
    classify: Classify,
    validation: Padded | None,
    signals: list[int] | None = None,
) -> TrainState:
    """Trains from `start` until `config.steps`; a line and a checkpoint at every epoch's end."""
    state, totals = start["state"], start["totals"]
    step, dispatches = int(state.step), count()
    schedule = learning_rate(config, config.learning_rate)
    label = f"seed {config.seed}  " if programs.mesh.size < jax.device_count() else ""
    with (
        Progress(config.steps, config.batch_size, step, label) as progress,
        Profile(run.folder / "profile", config.profile, step) as profile,
        stop_signals() if signals is None else nullcontext(signals) as stops,
    ):

        def should_stop(step: int, totals: Metrics) -> bool:
            progress.update(step, totals)
            profile.update(step)
            if preempted(next(dispatches)):
                stops.append(SIGTERM)
            return bool(stops)

        while step < config.steps:
            first, end, started = step, programs.epoch_end(step), time.monotonic()
            state, totals = run_epoch(programs, data, state, totals, should_stop)
            step, seconds = int(state.step), time.monotonic() - started
            check_finite(state, totals, schedule, run.latest)
            record = None
            if step == end:
                record = summarize(totals, step, step * config.batch_size / len(data[1]))
                record["learning_rate"] = float(schedule(step - 1))
                record["images_per_second"] = round((step - first) * config.batch_size / seconds, 1)
                if validation is not None:
                    scores = evaluate(classify(state), validation)
                    record |= {f"validation_{k}": scores[k] for k in ("loss", "accuracy")}
                run.append(record)
                totals = programs.zeros()
            run.save(step, {"state": state, "totals": totals})
            if record is not None:
                progress.epoch(record)
            if stops:
                raise Interrupted(stops[0])
    return state


def run_epoch(
    programs: Programs,
    data: tuple[jax.Array, ...],
    state: TrainState,
    totals: Metrics,
    should_stop: Callable[[int, Metrics], bool],
) -> tuple[TrainState, Metrics]:
    """Trains to the end of the epoch, or until `should_stop(step, totals)` after a dispatch."""
    step = int(state.step)
    end = programs.epoch_end(step)
    permutations = programs.permutations(jnp.asarray(state.step))
    while step < end:
        before = totals
        state, totals = programs.advance(state, totals, data, permutations)
        step = programs.steps_until(step)
        jax.block_until_ready(before)  # never more than one dispatch ahead
        if should_stop(step, totals):
            break
    return state, jax.block_until_ready(totals)


def summarize(totals: Metrics, step: int, epoch: float) -> dict[str, Any]:
    """A line of `metrics.jsonl`: means over the steps of `totals`."""
    sums = jax.device_get(totals)
    steps = int(sums["steps"])
    return {
        "step": step,
        "epoch": epoch,
        "train_loss": float(sums["loss"]) / steps,
        "train_accuracy": float(sums["accuracy"]) / steps,
        "gradient_norms": {k: float(v) / steps for k, v in sums["gradient_norms"].items()},
    }


def check_finite(
    state: TrainState, totals: Metrics, schedule: Callable[[int], Any], latest: int | None
) -> None:
    """Raises a `UserError` if a loss or a variable is NaN or infinite, so that none is ever saved.

    A step's loss is computed before its update, so the last update shows in the variables only.
    """
    bad_step, what = int(totals["bad_step"]), "the loss"
    if bad_step < 0:
        if _all_finite(state.variables):
            return
        bad_step, what = int(state.step) - 1, "a variable"
    raise UserError(
        f"{what} is not finite at step {bad_step}, learning rate {float(schedule(bad_step)):g}; "
        f"the last good checkpoint is {'none' if latest is None else f'of step {latest}'}: "
        "try a lower `learning_rate`"
    )


@jax.jit
def _all_finite(tree: Any) -> jax.Array:
    return jnp.all(jnp.stack([jnp.isfinite(x).all() for x in jax.tree.leaves(tree)]))


def finish(
    config: Config, run: OpenRun, tree: dict[str, Any], classify: Classify, test: Padded
) -> dict[str, Any]:
    """Draws the curves, evaluates the last and the best state on the test images, and saves the
    one that is better on validation (the last where there is none) as the run's `Classifier`."""
    run.draw_curves(config.run_name, drops(config.schedule, config.steps))
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
