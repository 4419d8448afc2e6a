"""The named `Config`s, and the optax schedule and optimizer that a `Config` asks for."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import traverse_util
from optax.contrib import MuonDimensionNumbers, scale_by_muon

from jax_resnet.training.config import Config

RECIPES = {
    # The article: Adam-free, augmentation as in the paper, a fifth kept for validation.
    "article": Config(),
    # He et al. (2015), section 4.2: 45,000 / 5,000 images, the mean taken away by pixel.
    "paper": Config(
        recipe="paper",
        shortcut="subsample",
        val_fraction=0.1,
        normalization="pixel",
        pad_mode="mean",
        warmup_steps=400,
    ),
    # Twelve epochs of 45,000 images.
    "fast": Config(
        recipe="fast",
        val_fraction=0.1,
        steps=4_219,
        optimizer="muon",
        learning_rate=0.02,
        muon_momentum=0.7,
        schedule="linear",
        nesterov=True,
        weight_decay=5e-4,
        decay_all=False,
        label_smoothing=0.1,
        pad=2,
        pad_mode="reflect",
        flip="alternating",
    ),
}


def make_schedule(config: Config, peak: float) -> optax.Schedule:
    """The learning rate at each step, `peak` at the highest."""
    steps = config.steps
    if config.schedule == "linear":
        return optax.linear_schedule(peak, 0.0, steps)
    if config.schedule == "triangle":
        return optax.linear_onecycle_schedule(steps, peak, 0.2, 1.0, div_factor=1e3)
    drops = dict.fromkeys((steps // 2, 3 * steps // 4), 0.1)
    schedule = optax.piecewise_constant_schedule(peak, drops)
    if config.depth < 110 or config.warmup_steps == 0:
        return schedule
    return lambda step: jnp.where(step < config.warmup_steps, 0.1 * peak, schedule(step))


def make_optimizer(config: Config) -> optax.GradientTransformation:
    """SGD as PyTorch has it (decay, then momentum, then the rate), and Muon where asked for."""
    sgd = optax.chain(
        optax.add_decayed_weights(config.weight_decay, None if config.decay_all else kernels),
        optax.sgd(
            make_schedule(config, config.learning_rate), config.momentum, nesterov=config.nesterov
        ),
    )
    if config.optimizer == "sgd":
        return sgd
    muon = optax.chain(
        scale_by_muon(
            beta=config.muon_momentum,
            weight_dimension_numbers=lambda grads: jax.tree.map(lambda _: HWIO, grads),
        ),
        optax.scale_by_learning_rate(make_schedule(config, config.muon_learning_rate)),
        fix_norms(),
    )
    return optax.partition({"sgd": sgd, "muon": muon}, optimizer_of_each)


HWIO = MuonDimensionNumbers((0, 1, 2), 3)


def optimizer_of_each(params: Any) -> Any:
    """ "muon" for the kernels of the stages' convolutions, "sgd" for everything else."""
    return traverse_util.path_aware_map(
        lambda path, _: (
            "muon" if str(path[0]).startswith("stage") and path[-1] == "kernel" else "sgd"
        ),
        params,
    )


def kernels(params: Any) -> Any:
    """True for the kernels, False for biases and BatchNorm's parameters."""
    return traverse_util.path_aware_map(lambda path, _: path[-1] == "kernel", params)


def fix_norms() -> optax.GradientTransformation:
    """Steps from kernels rescaled to a norm of sqrt(output channels).

    BatchNorm follows every kernel, so its norm has no effect on the net, only on how far a step
    of a given length turns it; `p + update` becomes `p * sqrt(channels) / |p| + update`.
    """

    def update(updates: Any, params: Any = None) -> Any:
        def rescale(u: jax.Array, p: jax.Array) -> jax.Array:
            return u + p * (p.shape[-1] ** 0.5 / jnp.linalg.norm(p) - 1)

        return jax.tree.map(rescale, updates, params)

    return optax.stateless(update)
