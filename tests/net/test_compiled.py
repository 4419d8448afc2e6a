"""The jitted programs against NumPy in float64: what a compiler's mistake would change.

XLA for CPU has returned wrong numbers for some shapes in some versions, always in compiled
programs and never in single operations. The wide form draws many nets, image sizes and batches:
`pytest -m slow tests/net/test_compiled.py`, with every version of jaxlib that is to be admitted.
"""

import random
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import traverse_util

from jax_resnet import Classifier, ResNet
from jax_resnet.cpu.conv import conv_general_dilated
from jax_resnet.data import Split
from jax_resnet.model import SHORTCUTS
from jax_resnet.training import TrainState, train_step
from jax_resnet.training.evaluation import evaluate, to_device

CLASSES = 7
OPTIMIZED = {"xla_backend_optimization_level": 3}  # as for users, whatever `make test` asks for
# Bounds of logits, in units of their standard deviation.
LOGITS = {jnp.float32: 1e-3, jnp.bfloat16: 0.3}
BATCHES = [1, 2, 3, 5, 31, 33, 64, 127, 128, 129, 250, 257, 500, 511, 513, 599, 600]
SIZES = [(4, 4), (5, 7), (8, 8), (9, 12), (16, 16), (17, 33), (28, 28), (32, 32)]

# depth, shortcut, height and width, batch
QUICK = [
    (8, "zeropad", (7, 9), 16),
    (8, "subsample", (32, 32), 3),
]


def draw_wide():
    """Every depth with every shortcut twice, on images and batches of drawn sizes."""
    draw = random.Random(0)
    nets = [(depth, shortcut) for depth in (8, 14, 20) for shortcut in SHORTCUTS] * 2
    return [(*net, draw.choice(SIZES), draw.choice(BATCHES)) for net in nets]


CASES = QUICK + [pytest.param(*case, marks=pytest.mark.slow) for case in draw_wide()]


def convolve(x, kernel, stride, pad):
    height, width = (-(-n // stride) for n in x.shape[1:3])
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    return sum(
        x[:, i::stride, j::stride][:, :height, :width] @ kernel[i, j]
        for i, j in np.ndindex(kernel.shape[:2])
    )


def max_pool(x):
    odd = [(0, 0), *((0, n % 2) for n in x.shape[1:3]), (0, 0)]
    x = np.pad(x, odd, constant_values=-np.inf)
    return np.max([x[:, i::2, j::2] for i, j in np.ndindex(2, 2)], axis=0)


class Net:
    """The net in NumPy, in the precision of its variables; `statistics` are the updated ones."""

    def __init__(self, variables, shortcut, train):
        self.params, self.statistics = variables["params"], dict(variables["batch_stats"])
        self.shortcut, self.train = shortcut, train

    def conv(self, x, path, stride=1, pad=1):
        return convolve(x, self.params[f"{path}/kernel"], stride, pad)

    def norm(self, x, path):
        mean, var = self.statistics[f"{path}/mean"], self.statistics[f"{path}/var"]
        if self.train:
            kept, (mean, var) = (mean, var), (x.mean((0, 1, 2)), x.var((0, 1, 2)))
            for name, old, new in zip(("mean", "var"), kept, (mean, var), strict=True):
                self.statistics[f"{path}/{name}"] = 0.9 * old + 0.1 * new
        y = (x - mean) / np.sqrt(var + 1e-5)
        return y * self.params[f"{path}/scale"] + self.params[f"{path}/bias"]

    def past(self, x, path, missing):
        match self.shortcut:
            case "zeropad":
                return np.pad(max_pool(x), [(0, 0)] * 3 + [(0, missing)])
            case "subsample":
                return np.pad(x[:, ::2, ::2], [(0, 0)] * 3 + [(missing // 2,) * 2])
        return self.norm(self.conv(x, f"{path}/shortcut_conv", 2, 0), f"{path}/shortcut_norm")

    def __call__(self, x):
        x = np.maximum(self.norm(self.conv(x, "stem_conv"), "stem_norm"), 0)
        paths = sorted({path.rpartition("/conv1")[0] for path in self.params if "/conv1/" in path})
        for path in paths:
            missing = self.params[f"{path}/conv1/kernel"].shape[3] - x.shape[3]
            y = self.norm(self.conv(x, f"{path}/conv1", 2 if missing else 1), f"{path}/norm1")
            y = self.norm(self.conv(np.maximum(y, 0), f"{path}/conv2"), f"{path}/norm2")
            if self.shortcut:
                y = y + (self.past(x, path, missing) if missing else x)
            x = np.maximum(y, 0)
        return x.mean((1, 2)) @ self.params["head/kernel"] + self.params["head/bias"]


def losses(logits, labels):
    shifted = logits - logits.max(1, keepdims=True)
    return np.log(np.exp(shifted).sum(1)) - shifted[np.arange(len(labels)), labels]


def flat(tree):
    return traverse_util.flatten_dict(jax.tree.map(np.float64, jax.device_get(tree)), sep="/")


def setting(depth, shortcut, size, batch):
    """Variables none of which is 0 or 1, in float32 and, flat, in float64; images and labels."""
    rng = np.random.default_rng(0)
    variables = jax.jit(ResNet(depth, CLASSES, shortcut).init)(
        jax.random.key(0), jnp.zeros((1, 4, 4, 3))
    )
    variables = jax.tree.map(
        lambda x: np.float32(x * rng.uniform(0.8, 1.2, x.shape) + rng.normal(size=x.shape) / 99),
        variables,
    )
    images = rng.integers(0, 256, (batch, *size, 3), np.uint8)
    labels = rng.integers(0, CLASSES, batch).astype(np.int32)
    return variables, {name: flat(tree) for name, tree in variables.items()}, images, labels


def assert_close(ours, expected, tolerance):
    """By the standard deviation of what is expected; NaN is not close."""
    np.testing.assert_array_less(np.abs(ours - expected) / (expected.std() + 1e-3), tolerance)


@pytest.mark.parametrize(
    "dtype",
    [jnp.float32, pytest.param(jnp.bfloat16, marks=pytest.mark.slow)],
    ids=lambda dtype: dtype.__name__,
)
@pytest.mark.parametrize(("depth", "shortcut", "size", "batch"), CASES)
def test_evaluation(depth, shortcut, size, batch, dtype):
    """Logits; the sums over a split of batches that don't divide it; two nets at once."""
    variables, exact, images, labels = setting(depth, shortcut, size, batch)
    expected = Net(exact, shortcut, train=False)((images / 255 - 0.5) / 0.25)
    model = ResNet(depth, CLASSES, shortcut, dtype)
    names, mean, std = tuple("abcdefg"), jnp.full(3, 0.5), jnp.full(3, 0.25)
    classifier = Classifier(variables, mean, std, model, names, size)

    jit = partial(jax.jit, compiler_options=OPTIMIZED)
    logits = np.asarray(jit(lambda c, x: c(x))(classifier, images))
    assert_close(logits, expected, LOGITS[dtype])
    twice = jax.tree.map(lambda x: np.stack([x, x]), variables)
    x = np.float32((images / 255 - 0.5) / 0.25)
    both = jit(jax.vmap(model.apply, (0, None)))(twice, x)
    assert_close(np.asarray(both), np.stack([expected] * 2), LOGITS[dtype])

    sums = evaluate(classifier, to_device(Split(images, labels), max(1, batch * 2 // 3)))
    assert sums["count"] == batch
    top = np.sort(expected, 1)[:, -2:]
    unsure = (top[:, 1] - top[:, 0] < 2 * LOGITS[dtype] * expected.std()).sum()
    assert abs(sums["correct"] - (expected.argmax(1) == labels).sum()) <= unsure
    assert abs(sums["loss"] - losses(expected, labels).mean()) < LOGITS[dtype] * expected.std()


@pytest.mark.long
@pytest.mark.parametrize(("depth", "shortcut", "size", "batch"), CASES[:1] + CASES[len(QUICK) :])
def test_train_step(depth, shortcut, size, batch):
    """Loss, statistics and gradients; those of bfloat16 against those of float32."""
    if batch * size[0] * size[1] < 512:
        pytest.skip("BatchNorm of a few values amplifies float32's rounding")
    variables, exact, images, labels = setting(depth, shortcut, size, batch)
    x = (images / 255 - 0.5) / 0.25
    state, metrics = step(depth, shortcut, jnp.float32, variables, x, labels)
    gradients = flat(state.opt_state.trace)

    net = Net(exact, shortcut, train=True)
    expected = losses(net(x), labels).mean()
    assert float(metrics["loss"]) == pytest.approx(expected, rel=1e-4)
    for name, value in flat(state.batch_stats).items():
        assert_close(value, net.statistics[name], 1e-4)
    for seed in range(2):
        along, error = slope(exact, shortcut, x, labels, gradients, seed)
        assert error < 0.05, f"the slope is {along}, and another one by the gradients"

    state, metrics = step(depth, shortcut, jnp.bfloat16, variables, x, labels)
    assert float(metrics["loss"]) == pytest.approx(expected, rel=0.05)
    for name, value in flat(state.batch_stats).items():
        assert_close(value, net.statistics[name], 0.1)
    rounded = flat(state.opt_state.trace)
    error = sum(((rounded[name] - g) ** 2).sum() for name, g in gradients.items())
    assert error < 0.9**2 * sum((g**2).sum() for g in gradients.values())


@pytest.mark.parametrize("dtype", LOGITS, ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_only_bfloat16_on_cpu_is_kept_from_fusion(platform, dtype):
    model, x = ResNet(8, dtype=dtype), jnp.zeros((1, 4, 4, 3))
    variables = jax.eval_shape(model.init, jax.random.key(0), x)
    traced = jax.jit(model.apply).trace(variables, x)
    text = traced.lower(lowering_platforms=(platform,)).as_text()
    assert ("optimization_barrier" in text) == (platform == "cpu" and dtype == jnp.bfloat16)


def step(depth, shortcut, dtype, variables, images, labels):
    """One `train_step` with an optimizer that keeps the gradients."""
    conv = partial(conv_general_dilated, shards=1)
    model = ResNet(depth, CLASSES, shortcut, dtype, conv_general_dilated=conv)
    tx = optax.trace(0.0)
    state = TrainState.create(apply_fn=model.apply, tx=tx, **variables)
    return jax.jit(train_step, compiler_options=OPTIMIZED)(state, np.float32(images), labels)


def slope(exact, shortcut, images, labels, gradients, seed):
    """The loss's slope along a random direction, and how far the gradients' is from it.

    Each array's part of the direction is divided by the norm of its gradient, so that every array
    counts as much as another.
    """
    rng = np.random.default_rng(seed)
    direction = {k: rng.normal(size=g.shape) / np.linalg.norm(g) for k, g in gradients.items()}
    length = np.sqrt(sum((d**2).sum() for d in direction.values()))
    ends = []
    for sign in (1e-6 / length, -1e-6 / length):
        params = {name: p + sign * direction[name] for name, p in exact["params"].items()}
        net = Net(exact | {"params": params}, shortcut, train=True)
        ends.append(losses(net(images), labels).mean())
    true = (ends[0] - ends[1]) / (2e-6 / length)
    ours = sum((direction[name] * g).sum() for name, g in gradients.items())
    return true, abs(ours - true) / np.sqrt(len(gradients))
