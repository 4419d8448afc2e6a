"""BatchNorm with its gradient written out, against Flax's module and JAX's derivatives."""

import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec
from support import enable_x64

from jax_resnet.errors import UserError
from jax_resnet.norm import BatchNorm
from jax_resnet.ops import relu

RUNNING = {"mean": 0.3, "var": 1.7}


class Usual(nn.Module):
    """The same layer in Flax."""

    use_running_average: bool

    @nn.compact
    def __call__(self, x, shortcut=None, relu=True):
        norm = nn.BatchNorm(self.use_running_average, momentum=0.9, name="norm")
        y = norm(x) if shortcut is None else norm(x) + shortcut
        return nn.relu(y) if relu else y


def inputs(dtype):
    """A batch, its shortcut, parameters and running statistics, of 5 channels."""
    rng = np.random.default_rng(0)
    x, shortcut = (jnp.asarray(rng.normal(0.5, 2, (4, 3, 3, 5)), dtype) for _ in range(2))
    params = {name: jnp.asarray(rng.normal(1, 0.5, 5), dtype) for name in ("scale", "bias")}
    return x, shortcut, params, {name: jnp.full(5, v, dtype) for name, v in RUNNING.items()}


def value(module, nested, relu, x, shortcut, params, batch_stats):
    """A number that depends on all results, those for the running statistics too."""
    variables = {"params": params, "batch_stats": batch_stats}
    if nested:
        variables = {kind: {"norm": each} for kind, each in variables.items()}
    y, updates = module.apply(variables, x, shortcut, relu, mutable=["batch_stats"])
    weights = jnp.arange(y.size, dtype=y.dtype).reshape(y.shape) / y.size - 0.3
    statistics = jax.tree.leaves(updates)
    return (weights * y**2).sum() + sum((k + 1) * (s**2).sum() for k, s in enumerate(statistics))


@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("has_shortcut", [False, True])
def test_values_and_gradients_are_those_of_flax(average, relu, has_shortcut):
    with enable_x64(True):
        x, shortcut, params, batch_stats = inputs(jnp.float64)
        shortcut = shortcut if has_shortcut else None
        ours, usual = (
            jax.value_and_grad(
                lambda *a, m=module, n=nested: value(m, n, relu, *a), (0, 1, 2), allow_int=True
            )(x, shortcut, params, batch_stats)
            for module, nested in (
                (BatchNorm(average, jnp.float64, jnp.float64), False),
                (Usual(average), True),
            )
        )
        assert jax.tree.structure(ours) == jax.tree.structure(usual)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11), ours, usual)


def test_relu_keeps_nan_and_has_no_gradient_at_0():
    values, slopes = jax.vmap(jax.value_and_grad(relu))(jnp.array([-1.0, 0.0, 2.0, jnp.nan]))
    np.testing.assert_array_equal(values, [0, 0, 2, np.nan])
    np.testing.assert_array_equal(slopes[:3], [0, 0, 1])


def test_bfloat16_is_normalized_in_float32():
    x, shortcut, params, batch_stats = inputs(jnp.float32)
    x, shortcut = x.astype(jnp.bfloat16), shortcut.astype(jnp.bfloat16)
    variables = {"params": params, "batch_stats": batch_stats}
    y, updates = BatchNorm(False, jnp.bfloat16).apply(
        variables, x, shortcut, mutable=["batch_stats"]
    )
    exact, wanted = BatchNorm(False).apply(
        variables, x.astype(jnp.float32), shortcut.astype(jnp.float32), mutable=["batch_stats"]
    )
    assert y.dtype == jnp.bfloat16
    np.testing.assert_array_equal(y, exact.astype(jnp.bfloat16))
    assert {leaf.dtype for leaf in jax.tree.leaves(updates)} == {jnp.dtype(jnp.float32)}
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), updates, wanted)


@pytest.mark.parametrize("other", [jnp.float32, jnp.bfloat16])
def test_a_shortcut_of_another_dtype_has_a_gradient_of_its_own(other):
    """As where a block computes in bfloat16 and its input comes from a layer in float32."""
    dtype = jnp.bfloat16 if other == jnp.float32 else jnp.float32
    x, shortcut, params, batch_stats = inputs(dtype)
    variables = {"params": params, "batch_stats": batch_stats}
    norm, shortcut = BatchNorm(False, dtype), shortcut.astype(other)

    def loss(shortcut):
        y = norm.apply(variables, x, shortcut, mutable=["batch_stats"])[0]
        return y.astype(jnp.float32).sum() + shortcut.astype(jnp.float32).sum()

    gradient = jax.grad(loss)(shortcut)
    assert gradient.dtype == other
    assert {*np.unique(gradient.astype(jnp.float32))} == {1.0, 2.0}


def test_each_argument_may_vary_over_devices_alone():
    mesh = Mesh(np.array(jax.devices()), ("data",))
    x, shortcut, params, batch_stats = inputs(jnp.float32)
    one, all_ = PartitionSpec("data"), PartitionSpec()

    def loss(x, shortcut, scale):
        variables = {"params": params | {"scale": scale}, "batch_stats": batch_stats}
        y = BatchNorm(False).apply(variables, x, shortcut, mutable=["batch_stats"])[0]
        return jax.lax.pmean((y**2).sum(), "data")

    for specs in itertools.product((one, all_), repeat=3):
        arguments = [
            jnp.concatenate([each] * jax.device_count()) if spec == one else each
            for each, spec in zip((x, shortcut, params["scale"]), specs, strict=True)
        ]
        gradients = jax.shard_map(
            jax.grad(loss, (0, 1, 2)), mesh=mesh, in_specs=specs, out_specs=specs
        )(*arguments)
        alone = jax.grad(lambda *a: loss_alone(params, batch_stats, *a), (0, 1, 2))(
            x, shortcut, params["scale"]
        )
        for found, spec, expected in zip(gradients, specs, alone, strict=True):
            count = jax.device_count() if spec == one else 1
            np.testing.assert_allclose(found[: len(expected)] * count, expected, rtol=1e-4)


def loss_alone(params, batch_stats, x, shortcut, scale):
    variables = {"params": params | {"scale": scale}, "batch_stats": batch_stats}
    return (BatchNorm(False).apply(variables, x, shortcut, mutable=["batch_stats"])[0] ** 2).sum()


@pytest.mark.parametrize(
    ("x", "shortcut"), [((5, 8), None), ((1, 2, 3, 4, 8), None), ((2, 3, 3, 8), (1, 1, 1, 8))]
)
def test_other_shapes_are_refused(x, shortcut):
    shortcut = shortcut and jnp.ones(shortcut)
    with pytest.raises(UserError, match=r"the batch has shape .*, expected NHWC"):
        BatchNorm(False).init(jax.random.key(0), jnp.ones(x), shortcut)
