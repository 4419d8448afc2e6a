"""The nets and their training against PyTorch's results in float64, from `tests/parity`.

Float32's rounding hides a wrong rule that is small; in float64 both agree to about 1e-11.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import traverse_util
from parity.cases import (
    BATCH,
    CASES,
    CLASSES,
    FILE,
    SCHEDULE_STEPS,
    draw_batches,
    draw_tensor,
    summarize,
)
from support import enable_x64, with_unbiased_variances

from jax_resnet import ResNet
from jax_resnet.cpu.conv import conv_general_dilated
from jax_resnet.pytorch.names import FAMILIES, tensors
from jax_resnet.pytorch.weights import to_torch
from jax_resnet.training import TrainState, train_step
from jax_resnet.training.config import Config
from jax_resnet.training.optimizer import make_optimizer

MOMENTUM = 0.9  # of BatchNorm's running statistics


def is_slow(case):
    """Depth 8 has every shortcut, and one case says that nothing is lost at depth 20."""
    return case.depth > 20 or (case.depth == 20 and case.shortcut != "zeropad")


@pytest.fixture(autouse=True)
def float64():
    with enable_x64(True):
        yield


@pytest.fixture(scope="module")
def recordings():
    with np.load(FILE) as file:
        return dict(file)


def draw_variables(model):
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 4, 4, 3)))
    shapes = traverse_util.flatten_dict(shapes)
    drawn = {}
    for name, (path, axes) in tensors(FAMILIES["article"], model, shapes).items():
        shape = tuple(shapes[path].shape[i] for i in np.argsort(axes))
        drawn[path] = draw_tensor(name, shape).transpose(axes)
    return traverse_util.unflatten_dict(drawn)


def summarize_ours(model, variables, left_out="num_batches"):
    if model.shortcut == "subsample":  # recorded with the article's names, as zeropad's variables
        model = model.clone(shortcut="zeropad")
    state = to_torch(variables, model)
    return summarize({k: v for k, v in state.items() if left_out not in k and v.ndim})


def assert_close(ours, theirs, bound):
    """By the largest number of each row."""
    assert ours.dtype == theirs.dtype == np.float64
    gaps = np.abs(ours - theirs) / np.abs(theirs).max(-1, keepdims=True)
    np.testing.assert_array_less(gaps, bound)


@pytest.mark.long
@pytest.mark.parametrize(
    "case",
    [pytest.param(c, marks=pytest.mark.slow if is_slow(c) else ()) for c in CASES],
    ids=str,
)
def test_training_is_pytorchs(case, recordings):
    theirs = {k.rpartition("/")[2]: v for k, v in recordings.items() if k.startswith(f"{case}/")}
    fields = {"dtype": jnp.float64, "param_dtype": jnp.float64}
    model = ResNet(case.depth, CLASSES, case.shortcut, **fields)
    config = Config(
        steps=SCHEDULE_STEPS, batch_size=BATCH, nesterov=case.nesterov, decay_all=case.decay_all
    )
    # Training on CPU takes its own convolution; the nets of more depth compile faster without.
    trained = model.clone(conv_general_dilated=conv_general_dilated) if case.depth == 8 else model
    state = TrainState.create(
        apply_fn=trained.apply,
        tx=make_optimizer(config),
        **draw_variables(model),
    )
    images, labels = draw_batches(case)
    step, losses = jax.jit(train_step), []
    for x, y in zip(images, labels, strict=True):
        state, metrics = step(state, x, y)
        if not losses:
            momenta = state.replace(params=optax.tree.get(state.opt_state, "trace")).variables
            assert_close(summarize_ours(model, momenta, "running"), theirs["momenta"], 1e-10)
        losses.append(float(metrics["loss"]))
    np.testing.assert_allclose(losses, theirs["losses"], rtol=1e-10)
    kept = MOMENTUM**case.steps
    variables = with_unbiased_variances(state.variables, kept, BATCH, case.size)
    assert_close(summarize_ours(model, variables), theirs["tensors"], 1e-10)
    logits = jax.jit(model.apply)(variables, images[0])
    assert_close(np.asarray(logits), theirs["eval_logits"], 1e-8)
