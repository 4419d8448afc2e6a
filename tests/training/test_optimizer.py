"""Muon against its definition, in NumPy and float64, and the schedules at their corners."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support import enable_x64

from jax_resnet.training.config import Config
from jax_resnet.training.optimizer import make_schedule, muon, sgd

MOMENTUM, RATE, REST_RATE = 0.7, 0.05, 0.02
SHAPES = {"conv1": (3, 3, 4, 6), "conv2": (3, 3, 4, 6), "conv3": (3, 3, 2, 40)}


def newton_schulz(matrix):
    """The five iterations of Jordan et al. (2024) towards the nearest orthogonal matrix."""
    x = matrix / (np.linalg.norm(matrix) + 1e-8)
    for _ in range(5):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x


def muon_by_hand(kernel, grads):
    """A kernel after a step down each gradient: Nesterov's average, orthogonalised, from the kernel
    of norm sqrt(output channels)."""
    channels, average = kernel.shape[-1], np.zeros_like(kernel)
    for step, grad in enumerate(grads, 1):
        average = MOMENTUM * average + (1 - MOMENTUM) * grad
        ahead = MOMENTUM * average / (1 - MOMENTUM ** (step + 1))
        ahead += (1 - MOMENTUM) * grad / (1 - MOMENTUM**step)
        matrix = ahead.reshape(-1, channels)
        tall = matrix.shape[0] > matrix.shape[1]
        direction = newton_schulz(matrix.T if tall else matrix)
        direction = (direction.T if tall else direction).reshape(kernel.shape)
        kernel = kernel * channels**0.5 / np.linalg.norm(kernel) - RATE * direction
    return kernel


def test_muon_is_its_definition():
    rng = np.random.default_rng(0)
    draw = {"stage1": {"block1": {k: {"kernel": s} for k, s in SHAPES.items()}}}
    draw |= {"head": {"kernel": (5, 2), "bias": (2,)}}
    params, *grads = [
        jax.tree.map(rng.standard_normal, draw, is_leaf=lambda x: isinstance(x, tuple))
        for _ in range(4)
    ]
    with enable_x64(True):
        tx = muon(lambda _: RATE, MOMENTUM, sgd(lambda _: REST_RATE, 0.0, False, 0.0, True))
        ours = jax.tree.map(jnp.asarray, params)
        state = tx.init(ours)
        for grad in grads:
            updates, state = jax.jit(tx.update)(grad, state, ours)
            ours = optax.apply_updates(ours, updates)
    for name in SHAPES:
        kernel, *each = (t["stage1"]["block1"][name]["kernel"] for t in (params, *grads))
        got = ours["stage1"]["block1"][name]["kernel"]
        np.testing.assert_allclose(got, muon_by_hand(kernel, each), rtol=1e-9, err_msg=name)
    for name in ("kernel", "bias"):
        wanted = params["head"][name] - REST_RATE * sum(grad["head"][name] for grad in grads)
        np.testing.assert_allclose(ours["head"][name], wanted, rtol=1e-9, err_msg=name)


@pytest.mark.parametrize(
    ("kind", "warmup", "corners"),
    [
        ("step", 0, {0: 0.1, 49: 0.1, 50: 0.01, 74: 0.01, 75: 0.001, 99: 0.001}),
        ("step", 7, {0: 0.01, 6: 0.01, 7: 0.1, 49: 0.1, 50: 0.01, 75: 0.001}),
        ("linear", 0, {0: 0.1, 50: 0.05, 99: 0.001, 100: 0.0}),
        ("cosine", 0, {0: 0.1, 25: 0.1 * (0.5 + 0.125**0.5), 50: 0.05, 100: 0.0}),
    ],
)
def test_a_schedule_at_its_corners(kind, warmup, corners):
    schedule = make_schedule(Config(schedule=kind, steps=100, warmup_steps=warmup), 0.1)
    got = {step: float(schedule(jnp.int32(step))) for step in corners}
    assert got == pytest.approx(corners, rel=1e-5, abs=1e-9)


def test_two_drops_at_one_step_both_count():
    """As in PyTorch's `MultiStepLR`."""
    two = make_schedule(Config(schedule="step", steps=2), 0.1)
    assert [float(two(step)) for step in (0, 1)] == pytest.approx([0.1, 0.001])
    assert float(make_schedule(Config(schedule="step", steps=1), 0.1)(0)) == pytest.approx(0.001)
