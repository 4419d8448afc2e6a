"""Learning rate schedules and optimizers, in optax."""

import re
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any, Literal, assert_never

import jax
import jax.numpy as jnp
import optax
from flax import traverse_util
from optax.contrib import MuonDimensionNumbers, scale_by_muon
from typing_extensions import Doc

if TYPE_CHECKING:
    from jax_resnet.training.config import Config

Schedule = Annotated[
    Literal["step", "linear", "cosine"],
    Doc(
        "Divide the learning rate by 10 at 1/2 and 3/4 of the steps (step), or lower it to 0, "
        "linearly or as a cosine does."
    ),
]
Optimizer = Annotated[
    Literal["sgd", "muon"],
    Doc("SGD; or Muon for the kernels of the stages' convolutions and SGD for the other weights."),
]


def make_optimizer(config: "Config") -> optax.GradientTransformation:
    """The optimizer with its schedule."""
    rest = sgd(
        make_schedule(config, config.learning_rate),
        config.momentum,
        config.nesterov,
        config.weight_decay,
        config.decay_all,
    )
    match config.optimizer:
        case "sgd":
            return rest
        case "muon":
            schedule = make_schedule(config, config.muon_learning_rate)
            return muon(schedule, config.muon_momentum, rest)
        case _:
            assert_never(config.optimizer)


def make_schedule(config: "Config", peak: float) -> optax.Schedule:
    """The learning rate of each step; `peak`, one of the config's, is the highest."""
    steps, warmup = config.steps, config.warmup
    match config.schedule:
        case "step":
            drops = Counter([steps // 2, 3 * steps // 4])  # of 1 or 2 steps, both are one
            scales = {step: 0.1**times for step, times in drops.items()}
            schedule = optax.piecewise_constant_schedule(peak, scales)
            if warmup == 0:
                return schedule
            return lambda step: jnp.where(step < warmup, 0.1 * peak, schedule(step))
        case "linear":
            return optax.linear_schedule(peak, 0.0, steps)
        case "cosine":
            return optax.cosine_decay_schedule(peak, steps)
        case _:
            assert_never(config.schedule)


def sgd(
    schedule: optax.Schedule, momentum: float, nesterov: bool, weight_decay: float, decay_all: bool
) -> optax.GradientTransformation:
    """SGD as in PyTorch: weight decay is added to the gradient, before momentum and rate."""
    return optax.chain(
        optax.add_decayed_weights(weight_decay, None if decay_all else _is_kernel),
        optax.sgd(schedule, momentum, nesterov=nesterov),
    )


def muon(
    schedule: optax.Schedule, momentum: float, rest: optax.GradientTransformation
) -> optax.GradientTransformation:
    """Muon (Jordan et al., 2024) for the kernels of the stages' convolutions.

    Args:
        schedule: learning rate of the kernels.
        momentum: of the kernels.
        rest: optimizer of all other parameters.
    """
    kernels = optax.chain(
        orthogonalize(momentum),
        optax.scale_by_learning_rate(schedule),
        fix_norms(),
    )
    return optax.partition({"muon": kernels, "sgd": rest}, muon_or_sgd)


NHWIO = MuonDimensionNumbers((1, 2, 3), 4)  # of stacked kernels, each a matrix of its own


def orthogonalize(momentum: float) -> optax.GradientTransformation:
    """Muon's direction of each kernel. Kernels of one shape are stacked, so that the products are
    fewer and larger; the state keeps them apart."""
    muon = scale_by_muon(
        beta=momentum, weight_dimension_numbers=lambda tree: jax.tree.map(lambda _: NHWIO, tree)
    )

    def init(params: Any) -> Any:
        return muon.init(_stack(params))._replace(mu=optax.tree.zeros_like(params))

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        del params
        stacks, new = muon.update(_stack(updates), state._replace(mu=_stack(state.mu)))
        return _unstack(stacks, updates), new._replace(mu=_unstack(new.mu, updates))

    return optax.GradientTransformation(init, update)


def _stack(tree: Any) -> dict[tuple[int, ...], jax.Array]:
    """The arrays of each shape along a new first axis."""
    groups: dict[tuple[int, ...], list[jax.Array]] = {}
    for leaf in jax.tree.leaves(tree):
        groups.setdefault(leaf.shape, []).append(leaf)
    return {shape: jnp.stack(leaves) for shape, leaves in groups.items()}


def _unstack(stacks: dict[tuple[int, ...], jax.Array], like: Any) -> Any:
    layers = {shape: iter(stack) for shape, stack in stacks.items()}
    return jax.tree.map(lambda leaf: next(layers[leaf.shape]), like)


def fix_norms() -> optax.GradientTransformation:
    """Steps from kernels that are rescaled to a norm of sqrt(output channels), as Jordan's airbench
    does with Muon (2024).

    BatchNorm follows every kernel, so the kernel's norm has no effect on the net, only on the
    angle that a step of a given length turns it by; `p + update` becomes
    `p * sqrt(channels) / |p| + update`.
    """

    def update(updates: Any, params: Any = None) -> Any:
        def rescale(u: jax.Array, p: jax.Array) -> jax.Array:
            return u + p * (p.shape[-1] ** 0.5 / jnp.linalg.norm(p) - 1)

        return jax.tree.map(rescale, updates, params)

    return optax.stateless(update)


def muon_or_sgd(params: Any) -> Any:
    """Which optimizer trains each parameter."""
    return traverse_util.path_aware_map(
        lambda path, _: "muon" if path[-1] == "kernel" and any(map(_is_stage, path)) else "sgd",
        params,
    )


def _is_stage(part: Any) -> bool:
    """Whether a part of a parameter's path is a stage's name, wherever the net is in the tree."""
    return re.fullmatch(r"stage\d+", str(part)) is not None


def _is_kernel(params: Any) -> Any:
    """True for kernels, False for biases and BatchNorm's parameters."""
    return traverse_util.path_aware_map(lambda path, _: path[-1] == "kernel", params)
