"""The training loop: from a `Config` to a run's folder with its result."""

import sys
import time
from contextlib import closing
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from jax_resnet import batches
from jax_resnet.checkpoints import Checkpoints
from jax_resnet.classifier import Classifier
from jax_resnet.config import Config, make_model
from jax_resnet.data import Dataset, load, split_validation, statistics
from jax_resnet.errors import UserError
from jax_resnet.evaluation import Padded, evaluate, to_device
from jax_resnet.output import writing
from jax_resnet.plots import draw_curves
from jax_resnet.profiling import Profile
from jax_resnet.progress import Progress, announce
from jax_resnet.recipes import make_optimizer, make_schedule
from jax_resnet.runs import Run, write_json
from jax_resnet.signals import Interrupted, raise_signals, stop_signals
from jax_resnet.stepping import Programs, make_mesh, make_programs
from jax_resnet.training import Metrics, TrainState


class Job(NamedTuple):
    """What stays the same through a run; `data` is images, labels, mean, std on the device."""

    config: Config
    run: Run
    programs: Programs
    data: tuple[jax.Array, ...]
    validation: Padded | None
    class_names: tuple[str, ...]
    checkpoints: Checkpoints


def load_dataset(config: Config) -> Dataset:
    """The data set that the flags name, split."""
    dataset = load(
        config.dataset,
        config.data_dir,
        mirror=config.mirror,
        image_size=config.image_size,
        channels=config.channels,
        split_proportions=config.split_proportions,
    )
    return split_validation(dataset, config.val_fraction, config.seed)


def train(config: Config, dataset: Dataset | None = None) -> dict[str, Any]:
    """Trains, or goes on with, the run that `config` describes; returns its result.

    Args:
        config: hyper-parameters, and where the run is kept.
        dataset: by default the one that `config` names, loaded and split.

    Raises:
        UserError: for what the user can put right.
        Interrupted: after SIGINT or SIGTERM; all that the run had come to is saved.
    """
    with raise_signals():
        dataset = dataset or load_dataset(config)
        if config.batch_size > len(dataset.train):
            raise UserError(
                f"--batch-size {config.batch_size} is larger than the data, "
                f"expected at most {len(dataset.train)}, the number of training images"
            )
        mesh = make_mesh()
        programs = make_programs(config, len(dataset.train), dataset.flippable, mesh)
        announce(config, dataset)
        with Run.open(config) as run, closing(Checkpoints(run.folder)) as checkpoints:
            replicated = NamedSharding(mesh, PartitionSpec())
            job = make_job(config, dataset, programs, run, checkpoints, replicated)
            start = initial(config, dataset, replicated), programs.zeros()
            state, totals = restore(job, *start)
            state = fit(job, state, totals)
            return finish(job, state, to_device(dataset.test, sharding=replicated))


def make_job(
    config: Config,
    dataset: Dataset,
    programs: Programs,
    run: Run,
    checkpoints: Checkpoints,
    sharding: Any,
) -> Job:
    """A job with the training and validation images in device memory."""
    data = training_data(config, dataset, sharding)
    validation = to_device(dataset.validation, sharding=sharding) if dataset.validation else None
    return Job(config, run, programs, data, validation, dataset.class_names, checkpoints)


def training_data(config: Config, dataset: Dataset, sharding: Any) -> tuple[jax.Array, ...]:
    """Training images, labels, mean and deviation in device memory."""
    mean, std = statistics(dataset.train.images, config.normalization)
    arrays = (dataset.train.images, dataset.train.labels, np.float32(mean), np.float32(std))
    return jax.device_put(arrays, sharding)


def initial(config: Config, dataset: Dataset, sharding: Any) -> TrainState:
    """A fresh state, on CPU with the convolution that is fast there."""
    fields: dict[str, Any] = {"dtype": jnp.bfloat16} if config.precision == "bf16" else {}
    if jax.default_backend() == "cpu":
        from jax_resnet.conv import conv_general_dilated

        fields["conv_general_dilated"] = partial(conv_general_dilated, shards=jax.device_count())
    state = TrainState.init(
        jax.random.fold_in(jax.random.key(config.seed), 0),
        make_model(config, dataset.num_classes, **fields),
        make_optimizer(config),
        dataset.image_shape,
        config.label_smoothing,
    )
    return jax.device_put(state, sharding)


def restore(job: Job, state: TrainState, totals: Metrics) -> tuple[TrainState, Metrics]:
    """The last good checkpoint if there is one, else what is given; later lines are dropped."""
    step = job.checkpoints.latest
    job.run.put_back(b"" if step is None else job.checkpoints.lines(step))
    if step is None:
        return state, totals
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


def fit(job: Job, state: TrainState, totals: Metrics) -> TrainState:
    """Steps until `config.steps`; a line and a checkpoint at the end of every epoch."""
    config, count = job.config, len(job.data[1])
    step = int(state.step)
    with (
        Progress(config, step) as progress,
        Profile(job.run.folder / "profile", config.profile, step) as profile,
        stop_signals() as signals,
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
            seconds = time.monotonic() - started
            if signals and step < end:
                check_finite(job, totals)
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
    check_finite(job, totals)
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


def check_finite(job: Job, totals: Metrics) -> None:
    """Raises a `UserError` if a loss was NaN or infinite; nothing of that is ever saved."""
    bad_step = int(totals["bad_step"])
    if bad_step < 0:
        return
    last = job.checkpoints.latest
    rate = float(make_schedule(job.config, job.config.learning_rate)(bad_step))
    raise UserError(
        f"the loss is not finite at step {bad_step}, learning rate {rate:g}; "
        f"the last good checkpoint is {'none' if last is None else f'of step {last}'}: "
        "try a lower --learning-rate"
    )


def make_classifier(job: Job, state: TrainState) -> Classifier:
    """What the run has come to: the plain float32 net with the state's variables."""
    _, _, mean, std = job.data
    model = make_model(job.config, len(job.class_names))
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    return Classifier(variables, mean, std, model, job.class_names)


def finish(job: Job, state: TrainState, test: Padded) -> dict[str, Any]:
    """Draws the curves, counts the test set with the last and the best state, saves the better
    one by validation (the last where there is none) as the run's `Classifier`."""
    config, run = job.config, job.run
    drops = (config.steps // 2, 3 * config.steps // 4) if config.schedule == "step" else ()
    with writing(run.curves_file):
        draw_curves(run.records(), run.curves_file, config.run_name, drops)
    classifier = make_classifier(job, state)
    result = {"last": {"step": config.steps, "split": "test"} | evaluate(classifier, test)}
    best = run.best_step(job.checkpoints.steps)
    if best is not None:
        if best != config.steps:
            like = {"state": state, "totals": job.programs.zeros()}
            classifier = make_classifier(job, job.checkpoints.restore(best, like)["state"])
        result["best"] = {"step": best, "split": "test"} | evaluate(classifier, test)
    with writing(run.folder):
        classifier.save(run.classifier_file)
        write_json(run.result_file, result)
    return result
