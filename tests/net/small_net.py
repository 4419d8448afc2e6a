"""A net of depth 8, a batch for it, and how trees are compared."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np

from jax_resnet import ResNet

IMAGES = jax.random.normal(jax.random.key(1), (8, 8, 8, 1))
LABELS = jnp.arange(8) % 3


@cache
def small_net():
    """A model of ten classes and its variables."""
    model = ResNet(8)
    return model, jax.jit(model.init)(jax.random.key(0), IMAGES)


def assert_trees_close(ours, theirs, **tolerance):
    jax.tree.map(partial(np.testing.assert_allclose, **tolerance), ours, theirs)
