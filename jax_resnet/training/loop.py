"""The training loop: epoch after epoch, a line of metrics and a checkpoint after each."""

import time
from collections.abc import Callable
from itertools import count
from typing import Any

import jax
import jax.numpy as jnp

from jax_resnet.errors import UserError
from jax_resnet.run.distributed import is_first, preempted
from jax_resnet.run.folder import OpenRun
from jax_resnet.run.profiling import Profile
from jax_resnet.run.progress import Progress, say_once
from jax_resnet.run.signals import SIGTERM, check
from jax_resnet.training.config import Config
from jax_resnet.training.programs import Programs
from jax_resnet.training.step import Metrics, TrainState


def fit(
    config: Config,
    run: OpenRun,
    programs: Programs,
    data: tuple[jax.Array, ...],
    start: dict[str, Any],
    schedule: Callable[[int], Any],
    validate: Callable[[TrainState], dict[str, Any]],
    stops: list[int],
    on_epoch: Callable[[dict[str, Any]], object] | None = None,
) -> TrainState:
    """Trains from `start` until `config.steps`; a line and a checkpoint at every epoch's end, then
    `on_epoch` is called with the line's record in the first process.

    Raises:
        Interrupted: when a signal is in `stops`; the step that was reached is saved.
    """
    state, totals = start["state"], start["totals"]
    step, dispatches = int(state.step), count()
    label = f"seed {config.seed}  " if programs.mesh.size < jax.device_count() else ""
    if step < config.steps:
        compile_ahead(programs, state, totals, data, label)
        check(stops)
    with (
        Progress(config.steps, config.batch_size, step, label) as progress,
        Profile(run.folder / "profile", config.profile, step) as profile,
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
                scores = validate(state)
                record |= {f"validation_{k}": scores[k] for k in ("loss", "accuracy") if scores}
                run.append(record)
                totals = programs.zeros()
            run.save(step, {"state": state, "totals": totals})
            if record is not None:
                progress.epoch(record)
                if on_epoch and is_first():
                    on_epoch(record)
            check(stops)
    return state


def compile_ahead(
    programs: Programs, state: TrainState, totals: Metrics, data: tuple[jax.Array, ...], label: str
) -> None:
    """Compiles an epoch's programs, and says how long that took: the times that are shown and
    written afterwards are those of training alone."""
    say_once(f"{label}compiling the training step")
    started = time.monotonic()
    epoch = programs.draw_epoch(jnp.asarray(state.step))
    programs.advance.compile(state, totals, data, epoch)
    say_once(f"{label}compiled in {time.monotonic() - started:.1f} s")


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
    epoch = programs.draw_epoch(jnp.asarray(state.step))
    while step < end:
        before = totals
        state, totals = programs.advance(state, totals, data, epoch)
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
