"""The training loop: from a `Config` to a run's folder with its result."""

import sys
import time
from collections.abc import Sequence
from contextlib import closing, nullcontext
from itertools import count as count_up
from typing import Any

import jax
import jax.numpy as jnp

from jax_resnet.data import Dataset
from jax_resnet.errors import UserError
from jax_resnet.files import writing
from jax_resnet.plots import draw_curves
from jax_resnet.run.checkpoints import Checkpoints
from jax_resnet.run.distributed import is_first, name_runtime_errors, preempted
from jax_resnet.run.folder import Run, write_json
from jax_resnet.run.profiling import Profile
from jax_resnet.run.progress import Progress, announce
from jax_resnet.run.signals import SIGTERM, Interrupted, raise_signals, stop_signals
from jax_resnet.training import batches
from jax_resnet.training.config import Config
from jax_resnet.training.evaluation import evaluate
from jax_resnet.training.job import Job, initial, load_dataset, make_classifier, make_job
from jax_resnet.training.programs import make_mesh, make_programs
from jax_resnet.training.recipes import make_schedule
from jax_resnet.training.step import Metrics, TrainState


def train(
    config: Config,
    dataset: Dataset | None = None,
    devices: Sequence[jax.Device] | None = None,
    signals: list[int] | None = None,
) -> dict[str, Any]:
    """Trains, or goes on with, the run that `config` describes; returns its result.

    Args:
        config: hyper-parameters, and where the run is kept.
        dataset: by default the one that `config` names, loaded and split.
        devices: to split each batch over; by default all, those of other processes too.
        signals: the run stops when a signal's number is put in; by default SIGINT and SIGTERM
            stop it, which takes Python's main thread.

    Raises:
        UserError: for what the user can put right.
        Interrupted: when stopped; all that the run had come to is saved.
        HostLost: if another process of the run is gone.
    """
    with raise_signals() if signals is None else nullcontext(), name_runtime_errors():
        dataset = dataset or load_dataset(config)
        check_counts(config, dataset)
        mesh = make_mesh(devices)
        programs = make_programs(config, len(dataset.train), dataset.flippable, mesh)
        announce(config, dataset, mesh)
        with (
            Run.open(config, dataset, mesh.devices.flat) as run,
            closing(Checkpoints(run.checkpoints, run.folder / "damaged")) as checkpoints,
        ):
            job = make_job(config, dataset, programs, run, checkpoints)
            state, totals = restore(job, initial(config, dataset, mesh), programs.zeros())
            state = fit(job, state, totals, signals)
            return finish(job, state)


def check_counts(config: Config, dataset: Dataset) -> None:
    """Raises a `UserError` if there are too few images to train, or none to test, with."""
    if config.batch_size > len(dataset.train):
        raise UserError(
            f"--batch-size {config.batch_size} is larger than the data, "
            f"expected at most {len(dataset.train)}, the number of training images"
        )
    if not len(dataset.test):
        raise UserError(f"{dataset.name} has no test images, expected at least one")


def restore(job: Job, state: TrainState, totals: Metrics) -> tuple[TrainState, Metrics]:
    """The last good checkpoint if there is one, else what is given; later lines are dropped."""
    step = job.checkpoints.latest
    job.run.put_back(b"" if step is None else job.checkpoints.lines(step))
    if step is None:
        return state, totals
    if is_first():
        print(f"resuming {job.run.folder} at step {step}", file=sys.stderr)
    saved = job.checkpoints.restore(step, {"state": state, "totals": totals})
    return saved["state"], saved["totals"]


def save(job: Job, state: TrainState, totals: Metrics) -> None:
    """A checkpoint of the state, of the epoch's totals so far, and of the run's lines."""
    step, run = int(state.step), job.run
    if step == job.checkpoints.latest:
        return
    best = run.best_step({*job.checkpoints.steps, step})
    lines = run.metrics_file.read_bytes() if run.metrics_file.exists() else b""
    job.checkpoints.save(step, {"state": state, "totals": totals}, lines, best)


def fit(
    job: Job, state: TrainState, totals: Metrics, stop_by: list[int] | None = None
) -> TrainState:
    """Steps until `config.steps`; a line and a checkpoint at the end of every epoch."""
    config, count = job.config, len(job.data[1])
    step, dispatches = int(state.step), count_up()
    label = f"seed {config.seed}  " if job.programs.mesh.size < jax.device_count() else ""
    with (
        Progress(config, step, label) as progress,
        Profile(job.run.folder / "profile", config.profile, step) as profile,
        stop_signals() if stop_by is None else nullcontext(stop_by) as signals,
    ):
        while step < config.steps:
            orders = job.programs.orders(jnp.asarray(state.step))
            epoch = batches.epoch_of(step, count, config.batch_size)
            end = batches.epoch_start(epoch + 1, count, config.batch_size)
            end, started, first = min(int(end), config.steps), time.monotonic(), step
            while step < end and not signals:
                before = totals
                state, totals = job.programs.advance(state, totals, job.data, orders)
                step = job.programs.steps_until(step)
                jax.block_until_ready(before)  # never more than one dispatch ahead
                progress.update(step, totals)
                profile.update(step)
                if preempted(next(dispatches)):
                    signals.append(SIGTERM)
            jax.block_until_ready(totals)
            seconds = time.monotonic() - started
            if signals and step < end:
                check_finite(job, state, totals)
                save(job, state, totals)
                raise Interrupted(signals[0])
            speed = (step - first) * config.batch_size / seconds
            record = make_record(job, state, totals, speed)
            job.run.append(record)
            totals = job.programs.zeros()
            save(job, state, totals)
            progress.epoch(record)
            if signals:
                raise Interrupted(signals[0])
    return state


def make_record(job: Job, state: TrainState, totals: Metrics, speed: float) -> dict[str, Any]:
    """A line of `metrics.jsonl`: means over the epoch's steps, and validation."""
    check_finite(job, state, totals)
    sums = jax.device_get(totals)
    step, steps = int(state.step), int(sums["steps"])
    record = {
        "step": step,
        "epoch": step * job.config.batch_size / len(job.data[1]),
        "learning_rate": float(make_schedule(job.config, job.config.learning_rate)(step - 1)),
        "train_loss": float(sums["loss"]) / steps,
        "train_accuracy": float(sums["accuracy"]) / steps,
        "gradient_norms": {k: float(v) / steps for k, v in sums["gradient_norms"].items()},
        "images_per_second": round(speed, 1),
    }
    if job.validation is not None:
        scores = evaluate(make_classifier(job, state), job.validation)
        record["validation_loss"] = scores["loss"]
        record["validation_accuracy"] = scores["accuracy"]
    return record


def check_finite(job: Job, state: TrainState, totals: Metrics) -> None:
    """Raises a `UserError` if a loss or a variable is NaN or infinite; nothing of that is ever
    saved. A step's loss is of before its update, so the last update shows in the variables only."""
    bad_step, what = int(totals["bad_step"]), "the loss"
    if bad_step < 0:
        if all_finite((state.params, state.batch_stats)):
            return
        bad_step, what = int(state.step) - 1, "a variable"
    last = job.checkpoints.latest
    rate = float(make_schedule(job.config, job.config.learning_rate)(bad_step))
    raise UserError(
        f"{what} is not finite at step {bad_step}, learning rate {rate:g}; "
        f"the last good checkpoint is {'none' if last is None else f'of step {last}'}: "
        "try a lower --learning-rate"
    )


@jax.jit
def all_finite(tree: Any) -> jax.Array:
    return jnp.all(jnp.stack([jnp.isfinite(x).all() for x in jax.tree.leaves(tree)]))


def finish(job: Job, state: TrainState) -> dict[str, Any]:
    """Draws the curves, counts the test set with the last and the best state, saves the better
    one by validation (the last where there is none) as the run's `Classifier`."""
    config, run = job.config, job.run
    drops = (config.steps // 2, 3 * config.steps // 4) if config.schedule == "step" else ()
    if is_first():
        with writing(run.curves_file):
            draw_curves(run.records(), run.curves_file, config.run_name, drops)
    classifier = make_classifier(job, state)
    result = {"last": {"step": config.steps, "split": "test"} | evaluate(classifier, job.test)}
    best = run.best_step(job.checkpoints.steps)
    if best == config.steps:
        result["best"] = result["last"]
    elif best is not None:
        like = {"state": state, "totals": job.programs.zeros()}
        classifier = make_classifier(job, job.checkpoints.restore(best, like)["state"])
        result["best"] = {"step": best, "split": "test"} | evaluate(classifier, job.test)
    if is_first():
        with writing(run.folder):
            classifier.save(run.classifier_file)
            write_json(run.result_file, result)
    return result
