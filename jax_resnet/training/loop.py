"""The training loop: epoch after epoch, a line of metrics and a checkpoint after each."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import jax

from jax_resnet.classifier import Classifier
from jax_resnet.errors import UserError
from jax_resnet.run.distributed import is_first, preempted, say_first
from jax_resnet.run.folder import OpenRun
from jax_resnet.run.profiling import Profile
from jax_resnet.run.progress import Progress
from jax_resnet.run.signals import SIGTERM, raise_if_stopped
from jax_resnet.training.config import Config
from jax_resnet.training.curves import Curves
from jax_resnet.training.dispatch import step_of
from jax_resnet.training.divergence import check_finite, scores_of
from jax_resnet.training.evaluation import Padded
from jax_resnet.training.optimizer import make_schedule
from jax_resnet.training.programs import Programs
from jax_resnet.training.step import Metrics, TrainState
from jax_resnet.training.together import stack, unstack


@dataclass(frozen=True)
class Training:
    """A run that `fit` trains.

    Attributes:
        config: hyper-parameters.
        run: where it is kept.
        curves: its picture.
        data: from `device_data`.
        classify: the `Classifier` of a state.
        validation: from `to_device`; None where there are no validation images.
    """

    config: Config
    run: OpenRun
    curves: Curves
    data: tuple[jax.Array, ...]
    classify: Callable[[TrainState], Classifier]
    validation: Padded | None

    def learning_rate(self, step: int) -> float:
        """SGD's learning rate at a step."""
        return float(make_schedule(self.config, self.config.learning_rate)(step))


def fit(
    trainings: Sequence[Training],
    programs: Programs,
    starts: Sequence[dict[str, Any]],
    stops: list[int],
    on_epoch: Callable[[dict[str, Any]], object] | None = None,
) -> list[TrainState]:
    """Trains from `starts` until `config.steps`; a line and a checkpoint at every epoch's end, then
    `on_epoch` is called with the line's record in the first process.

    Args:
        trainings: one, or several that differ in their seeds alone: one program trains them.
        programs: of their hyper-parameters.
        starts: `state` and `totals` of each, all at the same step.
        stops: the signals that are received.
        on_epoch: as in `train`.

    Raises:
        UserError: if a loss is not finite; the other runs are saved.
        Interrupted: when a signal is in `stops`; the step that was reached is saved.
    """
    config, dispatches = trainings[0].config, count()
    states, totals = ([start[name] for start in starts] for name in ("state", "totals"))
    data, step = stack([each.data for each in trainings]), int(states[0].step)
    label = label_of(trainings, programs)
    if step < config.steps:
        compile_ahead(trainings, programs, label, stack(states), stack(totals), data)
        raise_if_stopped(stops)
    with (
        Progress(config.steps, config.batch_size, step, label) as progress,
        Profile(trainings[0].run.folder / "profile", config.profile, step) as profile,
    ):

        def should_stop(step: int, totals: Metrics) -> bool:
            progress.update(step, totals)
            profile.update(step)
            if preempted(next(dispatches)):
                stops.append(SIGTERM)
            return bool(stops)

        def tell(training: Training, record: dict[str, Any]) -> None:
            seed = f"seed {training.config.seed}  "
            progress.epoch(record, seed if len(trainings) > 1 else label)
            if on_epoch and is_first():
                training.run.wait()
                on_epoch(record)

        while step < config.steps:
            first, started = step, time.monotonic()
            ends = run_epoch(trainings, programs, stack(states), stack(totals), data, should_stop)
            states, totals = (unstack(tree, len(trainings)) for tree in ends)
            step, seconds = int(states[0].step), time.monotonic() - started
            speed = float(f"{(step - first) * config.batch_size / seconds:.6g}")
            ended = speed if step == programs.epoch_end(first) else None
            totals = save_all(trainings, states, totals, programs, ended, tell)
            raise_if_stopped(stops)
    return states


def label_of(trainings: Sequence[Training], programs: Programs) -> str:
    """The seeds, where the devices train others too."""
    seeds = [each.config.seed for each in trainings]
    if len(seeds) == 1 and programs.mesh.size == jax.device_count():
        return ""
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}  "


def draw_epochs(trainings: Sequence[Training], programs: Programs, step: int) -> Any:
    """The epoch of a step, of each run."""
    return stack([programs.draw_epoch(each.config.seed, step) for each in trainings])


def compile_ahead(
    trainings: Sequence[Training], programs: Programs, label: str, state: TrainState, *others: Any
) -> None:
    """Compiles an epoch's programs, and says how long that took: the times that are shown and
    written afterwards are those of training alone."""
    say_first(f"{label}compiling the training step")
    started = time.monotonic()
    programs.advance.compile(state, *others, draw_epochs(trainings, programs, int(step_of(state))))
    say_first(f"{label}compiled in {time.monotonic() - started:.1f} s")


def run_epoch(
    trainings: Sequence[Training],
    programs: Programs,
    state: TrainState,
    totals: Metrics,
    data: tuple[jax.Array, ...],
    should_stop: Callable[[int, Metrics], bool],
) -> tuple[TrainState, Metrics]:
    """Trains to the end of the epoch, or until `should_stop(step, totals)` after a dispatch."""
    step = int(step_of(state))
    end = programs.epoch_end(step)
    epoch = draw_epochs(trainings, programs, step)
    while step < end:
        before = totals
        state, totals = programs.advance(state, totals, data, epoch)
        step = programs.next_step(step)
        jax.block_until_ready(before)  # never more than one dispatch ahead
        if should_stop(step, totals):
            break
    return state, jax.block_until_ready(totals)


def summarize(
    training: Training, state: TrainState, totals: Metrics, images_per_second: float
) -> dict[str, Any]:
    """A line of `metrics.jsonl`: means over the steps of `totals`, SGD's learning rate at the last
    of them, and the validation's scores."""
    sums, step = jax.device_get(totals), int(state.step)
    steps = int(sums["steps"])
    scores = {}
    if training.validation is not None:
        classifier = training.classify(state)
        scores = scores_of(training, classifier, training.validation, "validation", step)
    return {
        "step": step,
        "epoch": step * training.config.batch_size / len(training.data[1]),
        "train_loss": float(sums["loss"]) / steps,
        "train_accuracy": float(sums["accuracy"]) / steps,
        "gradient_norms": {k: float(v) / steps for k, v in sums["gradient_norms"].items()},
        "learning_rate": training.learning_rate(step - 1),
        "images_per_second": images_per_second,
        **{f"validation_{k}": scores[k] for k in ("loss", "accuracy") if scores},
    }


def save_all(
    trainings: Sequence[Training],
    states: Sequence[TrainState],
    totals: Sequence[Metrics],
    programs: Programs,
    speed: float | None,
    tell: Callable[[Training, dict[str, Any]], None],
) -> list[Metrics]:
    """Saves each run as `save` does, those after one that fails too, and calls `tell` with each
    record; then raises the first error. The totals to continue with."""
    kept, errors = list(totals), []
    for i, training in enumerate(trainings):
        try:
            kept[i], record = save(training, states[i], totals[i], programs, speed)
        except UserError as error:
            errors.append(error)
            continue
        if record:
            tell(training, record)
    if errors:
        raise errors[0]
    return kept


def save(
    training: Training, state: TrainState, totals: Metrics, programs: Programs, speed: float | None
) -> tuple[Metrics, dict[str, Any] | None]:
    """Checks the state and writes its checkpoint; at an epoch's end, which alone has a speed, the
    line of metrics before it, and the curves after it. The totals to continue with, and the line's
    record."""
    check_finite(training, state, totals)
    record = None
    if speed is not None:
        record = summarize(training, state, totals, speed)
        training.run.append(record)
        totals = programs.zeros()
    training.run.save(int(state.step), {"state": state, "totals": totals})
    if record:
        training.curves.draw_if_due()
    return totals, record
