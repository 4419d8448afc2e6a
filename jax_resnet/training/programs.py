"""The jitted programs that take a run from step to step, with all they need in device memory."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

from jax_resnet.errors import UserError
from jax_resnet.training import batches
from jax_resnet.training.config import Config
from jax_resnet.training.step import Metrics, TrainState, train_step

PRECISIONS = {"tf32": "default", "float32": "float32", "bf16": "default"}
MAX_STEPS = 200  # in one dispatch, so that a signal is answered and the bar moves


@dataclasses.dataclass(frozen=True)
class Programs:
    """What the training loop calls; each leaves its results on the device.

    Attributes:
        mesh: the devices, along one axis.
        orders: the order of the images in the epoch of a step.
        advance: `(state, totals, data, orders)` to the next state and totals; the state given is
            donated. One step on CPU; elsewhere up to `MAX_STEPS`, but not past the epoch's end.
        steps_until: the step that `advance` reaches from a step.
        zeros: totals of no steps.
    """

    mesh: Mesh
    orders: Callable[[Array], Array]
    advance: Callable[..., tuple[TrainState, Metrics]]
    steps_until: Callable[[int], int]
    zeros: Callable[[], Metrics]


def make_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Devices, by default all, along one axis, over which each batch is split."""
    devices = jax.devices() if devices is None else devices
    return jax.make_mesh((len(devices),), ("data",), (AxisType.Auto,), devices=devices)


def replicated(mesh: Mesh) -> NamedSharding:
    """The same on every device."""
    return NamedSharding(mesh, PartitionSpec())


def make_programs(
    config: Config, count: int, flippable: bool, mesh: Mesh, single_steps: bool | None = None
) -> Programs:
    """The programs for `count` training images.

    Args:
        config: hyper-parameters.
        count: number of training images.
        flippable: whether images may be mirrored.
        mesh: from `make_mesh`.
        single_steps: one step in a dispatch, or many; by default one on CPU, where XLA runs a
            convolution inside a loop several times slower. The results are the same.
    """
    if config.batch_size % mesh.size:
        raise UserError(
            f"--batch-size {config.batch_size} can't be split over {mesh.size} devices, "
            f"expected a multiple of {mesh.size}"
        )
    if single_steps is None:
        single_steps = jax.default_backend() == "cpu"
    everywhere, size = replicated(mesh), config.batch_size
    key = jax.random.fold_in(jax.random.key(config.seed), 1)  # 0 is initialisation's
    one_step = make_step(config, count, flippable, mesh, key)

    def many_steps(state: TrainState, totals: Metrics, data: Any, orders: Array) -> Any:
        stop = steps_until(state.step)
        return jax.lax.while_loop(
            lambda carry: carry[0].step < stop,
            lambda carry: one_step(*carry, data, orders),
            (state, totals),
        )

    def steps_until(step: Any) -> Any:
        least = min if isinstance(step, int) else jnp.minimum
        if single_steps:
            return step + 1
        epoch = batches.epoch_of(step, count, size)
        end = least(batches.epoch_start(epoch + 1, count, size), config.steps)
        return least(end, step + MAX_STEPS)

    return Programs(
        mesh=mesh,
        orders=jax.jit(
            partial(batches.epoch_orders, key, count=count, batch_size=size),
            out_shardings=everywhere,
        ),
        advance=jax.jit(
            one_step if single_steps else many_steps, donate_argnums=0, out_shardings=everywhere
        ),
        steps_until=steps_until,
        zeros=jax.jit(_zeros, out_shardings=everywhere),
    )


def make_step(config: Config, count: int, flippable: bool, mesh: Mesh, key: Array) -> Any:
    """`Programs.advance` of one step, not yet jitted; `key` is of the run's batches."""
    split = NamedSharding(mesh, PartitionSpec("data"))

    def one_step(state: TrainState, totals: Metrics, data: Any, orders: Array) -> Any:
        images, labels, mean, std = data
        now = jnp.asarray(state.step)
        indices = batches.batch_indices(orders, now, config.batch_size)
        indices = jax.lax.with_sharding_constraint(indices, split)
        x = batches.augment(
            images[indices],
            batches.flip_parity(key, indices, now, count),
            jax.random.fold_in(key, now),
            mean,
            std,
            pad=round(config.pad * min(images.shape[1:3]) / 32),
            pad_mode=config.pad_mode,
            flip=config.flip if flippable else "none",
        )
        with jax.default_matmul_precision(PRECISIONS[config.precision]):
            new_state, metrics = train_step(state, x, labels[indices])
        return new_state, _add(totals, metrics, now)

    return one_step


PARTS = ("stem_conv", "stem_norm", "stage1", "stage2", "stage3", "head")


def _zeros() -> Metrics:
    return {
        "steps": jnp.int32(0),
        "loss": jnp.float32(0),
        "accuracy": jnp.float32(0),
        "gradient_norms": {part: jnp.float32(0) for part in PARTS},
        "bad_step": jnp.int32(-1),
    }


def _add(totals: Metrics, metrics: Metrics, step: Array) -> Metrics:
    """Sums over steps, and the first step whose loss was not finite."""
    is_first_bad = ~jnp.isfinite(metrics["loss"]) & (totals["bad_step"] < 0)
    sums = {name: totals[name] for name in metrics}
    return {
        "steps": totals["steps"] + 1,
        "bad_step": jnp.where(is_first_bad, step, totals["bad_step"]),
        **jax.tree.map(lambda total, x: total + x.astype(total.dtype), sums, metrics),
    }
