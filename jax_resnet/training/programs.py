"""What a run keeps in device memory, and the jitted programs that take it from step to step."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

from jax_resnet.cpu.conv import conv_general_dilated as conv_on_cpu
from jax_resnet.data import Split, statistics
from jax_resnet.data.dataset import Normalization
from jax_resnet.errors import UserError
from jax_resnet.gpu.conv import conv_general_dilated as conv_on_gpu
from jax_resnet.model import PARTS, ResNet
from jax_resnet.training import batches
from jax_resnet.training.config import Config
from jax_resnet.training.dispatch import GPUS, Dispatch, Jitted, dispatch_on, jit_steps
from jax_resnet.training.optimizer import make_optimizer
from jax_resnet.training.precision import dtype_on, matmul_precision
from jax_resnet.training.step import Metrics, TrainState, train_step

MAX_STEPS = 200  # in one dispatch, so that signals are answered and the progress bar moves
CACHED_PROGRAMS = 16  # of this process, so that another run does not compile them again


@dataclasses.dataclass(frozen=True)
class Programs:
    """What the training loop calls; each leaves its results on the device.

    Attributes:
        mesh: the devices, along one axis.
        draw_epoch: the `batches.Epoch` of a seed and a step.
        advance: `(state, totals, data, epoch)` to the next state and totals; donates the
            state. One step on CPU; elsewhere up to `MAX_STEPS`, but not past the epoch's end.
            `advance.compile` takes the same arguments.
        next_step: the step that `advance` reaches from a step.
        epoch_end: the step at which the epoch of a step ends, or the run does.
        zeros: totals of no steps.
    """

    mesh: Mesh
    draw_epoch: Callable[[Any, Any], batches.Epoch]
    advance: Jitted
    next_step: Callable[[int], int]
    epoch_end: Callable[[int], int]
    zeros: Callable[[], Metrics]


def make_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Devices, by default all, along one axis, over which each batch is split.

    Raises:
        UserError: if there are none.
    """
    devices = jax.devices() if devices is None else devices
    if not len(devices):
        raise UserError("`devices` is empty, expected at least one device")
    return jax.make_mesh((len(devices),), ("data",), (AxisType.Auto,), devices=devices)


def replicated(mesh: Mesh) -> NamedSharding:
    """The same on every device."""
    return NamedSharding(mesh, PartitionSpec())


def device_data(train: Split, normalization: Normalization, mesh: Mesh) -> tuple[jax.Array, ...]:
    """Training images, labels, mean and std in the memory of every device."""
    mean, std = statistics(train.images, normalization)
    arrays = (train.images, train.labels, np.float32(mean), np.float32(std))
    return jax.device_put(arrays, replicated(mesh))


def init_state(
    config: Config, num_classes: int, image_shape: tuple[int, int, int], mesh: Mesh
) -> TrainState:
    """The fresh state of a run, with the convolution of `cpu` or `gpu` on such a device.

    States of configs that differ in their seeds alone share the net and the optimizer, so the
    programs that are compiled for one serve the others.
    """
    dtype = dtype_on(mesh.devices.flat[0].platform, config.precision)
    init = _make_init(config.of_any_seed(), dtype, num_classes, image_shape, mesh)
    return init(batches.keys_of(config.seed).init)


@lru_cache(CACHED_PROGRAMS)
def _make_init(
    config: Config, dtype: Any, num_classes: int, image_shape: tuple[int, int, int], mesh: Mesh
) -> Callable[[Any], TrainState]:
    platform, fields = mesh.devices.flat[0].platform, {"dtype": dtype}
    if platform == "cpu":
        fields["conv_general_dilated"] = partial(conv_on_cpu, shards=mesh.size)
    elif platform in GPUS:
        fields["conv_general_dilated"] = conv_on_gpu
    init = partial(
        TrainState.init,
        model=ResNet(config.depth, num_classes, config.shortcut, **fields),
        tx=make_optimizer(config),
        image_shape=image_shape,
        label_smoothing=config.label_smoothing,
        freeze=config.freeze,
    )
    return jax.jit(init, out_shardings=replicated(mesh))


def make_programs(
    config: Config, count: int, mesh: Mesh, dispatch: Dispatch | None = None
) -> Programs:
    """The programs for `count` training images, shared by configs that differ in their seeds alone.

    Args:
        config: hyper-parameters.
        count: number of training images.
        mesh: from `make_mesh`.
        dispatch: see `Dispatch`; by default what is fast on the mesh's devices. The results are the
            same up to rounding.

    Raises:
        UserError: if the devices don't divide the batch.
    """
    if config.batch_size % mesh.size:
        raise UserError(
            f"`batch_size` {config.batch_size} can't be split over {mesh.size} devices, "
            f"expected a multiple of {mesh.size}"
        )
    dispatch = dispatch or dispatch_on(mesh.devices.flat[0].platform)
    return _make_programs(config.of_any_seed(), count, mesh, dispatch)


@lru_cache(CACHED_PROGRAMS)
def _make_programs(config: Config, count: int, mesh: Mesh, dispatch: Dispatch) -> Programs:
    everywhere, size = replicated(mesh), config.batch_size

    def least(a: Any, b: Any) -> Any:
        return min(a, b) if isinstance(a, int) else jnp.minimum(a, b)

    def epoch_end(step: Any) -> Any:
        return least(batches.epoch_end(step, count, size), config.steps)

    def next_step(step: Any) -> Any:
        return step + 1 if dispatch == "step" else least(epoch_end(step), step + MAX_STEPS)

    draw_epoch = jax.jit(
        partial(batches.draw_epoch, count=count, batch_size=size), out_shardings=everywhere
    )
    return Programs(
        mesh=mesh,
        draw_epoch=lambda seed, step: draw_epoch(jnp.uint32(seed), jnp.int32(step)),
        advance=jit_steps(make_step(config, mesh), next_step, dispatch, everywhere),
        next_step=next_step,
        epoch_end=epoch_end,
        zeros=jax.jit(zero_totals, out_shardings=everywhere),
    )


def make_step(config: Config, mesh: Mesh) -> Any:
    """`Programs.advance` of one step, not yet jitted."""
    split = NamedSharding(mesh, PartitionSpec("data"))

    def one_step(state: TrainState, totals: Metrics, data: Any, epoch: batches.Epoch) -> Any:
        images, labels, mean, std = data
        step = jnp.asarray(state.step)
        drawn = batches.draw_batch(epoch, step, config.batch_size)
        indices, parity = jax.lax.with_sharding_constraint(drawn, split)
        crops, flips, cutouts = (
            jax.random.fold_in(key, step) for key in (epoch.crops, epoch.flips, epoch.cutouts)
        )
        x = batches.augment(
            images[indices],
            parity,
            crops,
            flips,
            cutouts,
            mean,
            std,
            pad=batches.shift_of(config.pad, min(images.shape[1:3])),
            pad_mode=config.pad_mode,
            flip=config.mirroring,
            cutout=config.cutout,
        )
        with jax.default_matmul_precision(matmul_precision(config.precision)):
            new_state, metrics = train_step(state, x, labels[indices])
        return new_state, _add(totals, metrics, step)

    return one_step


def zero_totals() -> Metrics:
    """Totals of no steps."""
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
