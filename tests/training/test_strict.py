"""The project's own functions promote neither ranks nor dtypes implicitly, so that they work where
JAX is told to refuse both."""

from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jax_resnet import ResNet, pretrained
from jax_resnet.data import load
from jax_resnet.model import SHORTCUTS
from jax_resnet.training import TrainState, train_step
from jax_resnet.training.batches import Flip, PadMode, augment, draw_batch, draw_epoch, keys_of
from jax_resnet.training.evaluation import evaluate, to_device


@pytest.fixture(autouse=True)
def strict():
    with jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict"):
        yield


def test_a_classifier_and_its_evaluation():
    classifier = pretrained("cnn20").replace(mean=jnp.zeros((8, 8, 3)), std=jnp.ones(3))
    digits = load("digits").test
    split = type(digits)(np.repeat(digits.images[:7], 3, -1), digits.labels[:7])
    assert evaluate(classifier, to_device(split))["count"] == 7


@pytest.mark.parametrize("shortcut", SHORTCUTS)
def test_a_step(shortcut):
    tx = optax.scale(-0.1)
    model = ResNet(8, shortcut=shortcut)
    state = TrainState.init(jax.random.key(0), model, tx, (8, 8, 1), label_smoothing=0.1)
    arguments = (jnp.zeros((4, 8, 8, 1)), jnp.zeros(4, jnp.int32))
    _, metrics = jax.eval_shape(train_step, state, *arguments)
    assert metrics["loss"].shape == ()


@pytest.mark.parametrize("pad_mode", get_args(get_args(PadMode)[0]))
@pytest.mark.parametrize("flip", get_args(Flip))
def test_a_batch(pad_mode, flip):
    keys, step = keys_of(0), jnp.int32(3)
    indices, parity = draw_batch(draw_epoch(0, step, 9, 4), step, 4)
    images = jnp.zeros((9, 8, 8, 1), jnp.uint8)[indices]
    mean = std = jnp.ones(1)
    x = augment(
        images,
        parity,
        keys.crops,
        keys.flips,
        keys.cutouts,
        mean,
        std,
        pad=2,
        pad_mode=pad_mode,
        flip=flip,
        cutout="none",
    )
    assert (x.shape, x.dtype) == ((4, 8, 8, 1), jnp.float32)
