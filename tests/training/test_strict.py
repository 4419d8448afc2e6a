"""The project's own functions promote neither ranks nor dtypes implicitly, so that they work where
JAX is told to refuse both."""

from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support import enable_x64

from jax_resnet import ResNet, pretrained
from jax_resnet.data import load
from jax_resnet.model import SHORTCUTS
from jax_resnet.training import TrainState, train_step
from jax_resnet.training.batches import Flip, PadMode, augment, draw_batch, draw_epoch, keys_of
from jax_resnet.training.evaluation import evaluate, to_device


@pytest.fixture(autouse=True, params=[32, 64])
def strict(request):
    with (
        jax.numpy_rank_promotion("raise"),
        jax.numpy_dtype_promotion("strict"),
        enable_x64(request.param == 64),
    ):
        yield


def test_a_classifier_and_its_evaluation():
    classifier = pretrained("cnn20").replace(mean=jnp.zeros((8, 8, 3)), std=jnp.ones(3))
    digits = load("digits").test
    split = type(digits)(np.repeat(digits.images[:7], 3, -1), digits.labels[:7])
    for dtype in (jnp.float32, jnp.bfloat16):
        net = classifier.replace(model=classifier.model.clone(dtype=dtype))
        assert evaluate(net, to_device(split))["count"] == 7


@pytest.mark.parametrize(
    ("shortcut", "dtype", "param_dtype"),
    [
        *((shortcut, jnp.float32, jnp.float32) for shortcut in SHORTCUTS),
        ("zeropad", jnp.float16, jnp.float32),
        ("conv1x1", jnp.bfloat16, jnp.float32),
        ("conv1x1", jnp.float32, jnp.bfloat16),
        ("subsample", jnp.bfloat16, jnp.bfloat16),
        (None, jnp.float16, jnp.bfloat16),
    ],
)
def test_a_step(shortcut, dtype, param_dtype):
    tx = optax.scale(-0.1)
    model = ResNet(8, shortcut=shortcut, dtype=dtype, param_dtype=param_dtype)
    images, labels = jnp.zeros((4, 8, 8, 1)), jnp.zeros(4, jnp.int8)

    def step_and_logits(key):
        state = TrainState.init(key, model, tx, (8, 8, 1), label_smoothing=0.1)
        state, metrics = train_step(state, images, labels)
        return state, metrics, state.apply_fn(state.variables, images)

    state, metrics, logits = jax.eval_shape(step_and_logits, jax.random.key(0))
    assert metrics["loss"].shape == ()
    assert logits.dtype == jnp.float32
    assert {x.dtype for x in jax.tree.leaves(state.batch_stats)} == {jnp.dtype("float32")}


@pytest.mark.parametrize("pad_mode", get_args(get_args(PadMode)[0]))
@pytest.mark.parametrize("flip", get_args(Flip))
def test_a_batch(pad_mode, flip):
    keys, step = keys_of(0), jnp.int32(3)
    indices, parity = draw_batch(draw_epoch(0, step, 9, 4), step, 4)
    images = jnp.zeros((9, 8, 8, 1), jnp.uint8)[indices]
    mean = std = jnp.ones(1, jnp.float32)
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
        cutout="dual",
    )
    assert (x.shape, x.dtype) == ((8, 8, 8, 1), jnp.float32)
