"""A net of depth 8, a batch for it, a classifier, and how trees are compared."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np

from jax_resnet import Classifier, ResNet

IMAGES = jax.random.normal(jax.random.key(1), (8, 8, 8, 1))
LABELS = jnp.arange(8) % 3


@cache
def small_net():
    """A model of ten classes and its variables."""
    model = ResNet(8)
    return model, jax.jit(model.init)(jax.random.key(0), IMAGES)


def small_classifier(mean_shape):
    """A classifier of three classes with a mean of this shape."""
    model = ResNet(8, 3, "conv1x1")
    variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
    mean = jnp.full(mean_shape, 0.4)
    std = jnp.full((3,), 0.2)
    return Classifier(variables, mean, std, model, ("a", "b", "ü"), image_size=(8, 8))


def assert_trees_close(ours, theirs, **tolerance):
    jax.tree.map(partial(np.testing.assert_allclose, **tolerance), ours, theirs)
