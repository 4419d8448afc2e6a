"""The fast convolution against `jax.lax`'s: value and both gradients, wherever it may be used."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array, lax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from support import enable_x64

from jax_resnet.cpu import conv
from jax_resnet.cpu.conv import conv_general_dilated

NHWC = ("NHWC", "HWIO", "NHWC")
SAME = ((1, 1), (1, 1))


def draw(*shapes: tuple[int, ...], dtype: object = jnp.float32) -> list[Array]:
    rng = np.random.default_rng(0)
    return [jnp.asarray(rng.standard_normal(shape), dtype) for shape in shapes]


def value_and_gradients(function, x: Array, k: Array) -> list[Array]:
    """The value, and the gradients to image and kernel for a cotangent that is no constant."""
    y, pull = jax.vjp(function, x, k)
    dy = jnp.cos(jnp.arange(y.size, dtype=jnp.float32)).reshape(y.shape).astype(y.dtype)
    return [y, *pull(dy)]


def assert_same(fast, plain, x: Array, k: Array, tolerance: float = 2e-6) -> None:
    """Value and gradients of two functions of x and k agree, relative to the largest entry."""
    both = jax.jit(lambda x, k: [value_and_gradients(f, x, k) for f in (fast, plain)])
    for name, a, e in zip(("value", "d image", "d kernel"), *both(x, k), strict=True):
        assert (a.shape, a.dtype) == (e.shape, e.dtype), name
        a, e = np.asarray(a, np.float64), np.asarray(e, np.float64)
        error = np.abs(a - e).max() / np.abs(e).max()
        assert error < tolerance, f"{name}: relative error {error:.1e}, allowed {tolerance:.0e}"


def compare(x: Array, k: Array, *arguments, tolerance: float = 2e-6, **options) -> None:
    def call(function):
        return lambda x, k: function(x, k, *arguments, **options)

    assert_same(call(conv_general_dilated), call(lax.conv_general_dilated), x, k, tolerance)


@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (3, 1)], ids=str)
@pytest.mark.parametrize(
    ("image", "kernel", "padding"),
    [
        ((8, 8, 8, 4), (3, 3, 4, 6), SAME),
        ((4, 8, 8, 4), (1, 1, 4, 6), ((0, 0), (0, 0))),
        ((1, 32, 32, 3), (3, 3, 3, 16), SAME),
        ((3, 7, 5, 2), (3, 3, 2, 3), SAME),
        ((3, 9, 7, 2), (3, 2, 2, 3), ((0, 2), (3, 0))),
        ((2, 8, 8, 2), (2, 4, 2, 3), ((4, 3), (0, 5))),
        ((2, 9, 9, 2), (5, 5, 2, 3), "SAME"),
        ((2, 9, 8, 2), (3, 3, 2, 3), "VALID"),
    ],
    ids=str,
)
def test_agrees_with_lax(image, kernel, padding, stride) -> None:
    compare(*draw(image, kernel), stride, padding, dimension_numbers=NHWC)


@pytest.mark.parametrize("batch", [1, 2, 7, 8, 13])
def test_any_batch_is_cut_into_blocks(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conv, "_BLOCK_BYTES", 3 * 8 * 8 * (3 * 4 + 3 * 6) * 4)  # three images
    compare(*draw((batch, 8, 8, 4), (3, 3, 4, 6)), (1, 1), SAME, dimension_numbers=NHWC)


def test_real_block_size() -> None:
    x, k = draw((50, 32, 32, 16), (3, 3, 16, 16))  # sums of 51,200 products
    compare(x, k, (1, 1), SAME, dimension_numbers=NHWC, tolerance=2e-5)


def test_bfloat16_accumulates_in_float32() -> None:
    x, k = draw((64, 16, 16, 8), (3, 3, 8, 8), dtype=jnp.bfloat16)
    options = {"window_strides": (1, 1), "padding": SAME, "dimension_numbers": NHWC}
    compare(x, k, tolerance=2e-2, **options)

    def kernel_gradient(x: Array, k: Array) -> Array:
        return value_and_gradients(partial(conv_general_dilated, **options), x, k)[2]

    # Sums of 16,384 terms kept in bfloat16 would be off by far more than the cotangent's and the
    # result's one rounding each.
    exact = jax.jit(kernel_gradient)(x.astype(jnp.float32), k.astype(jnp.float32))
    error = jnp.abs(jax.jit(kernel_gradient)(x, k) - exact).max() / jnp.abs(exact).max()
    assert error < 1e-2, f"relative error {error:.1e}"


def test_float64() -> None:
    with enable_x64(True):
        x, k = draw((5, 8, 8, 4), (3, 3, 4, 6), dtype=jnp.float64)
        compare(x, k, (2, 2), SAME, dimension_numbers=NHWC, tolerance=1e-13)


@pytest.mark.parametrize("axes", [(0, 0), (0, None), (None, 0)], ids=str)
def test_vmap(axes) -> None:
    x, k = draw((3, 4, 8, 8, 2), (3, 3, 3, 2, 4))
    x, k = x if axes[0] == 0 else x[0], k if axes[1] == 0 else k[0]

    def mapped(function):
        def call(x: Array, k: Array) -> Array:
            return function(x, k, (1, 1), SAME, dimension_numbers=NHWC)

        return jax.vmap(call, axes)

    assert_same(mapped(conv_general_dilated), mapped(lax.conv_general_dilated), x, k)


@pytest.mark.parametrize(
    ("image", "kernel", "options"),
    [
        ((2, 8, 8, 4), (3, 3, 2, 4), {"dimension_numbers": NHWC, "feature_group_count": 2}),
        ((2, 8, 8, 4), (3, 3, 4, 4), {"dimension_numbers": NHWC, "batch_group_count": 2}),
        ((2, 8, 8, 4), (3, 3, 4, 4), {"dimension_numbers": NHWC, "rhs_dilation": (2, 2)}),
        ((2, 8, 8, 4), (3, 3, 4, 4), {"dimension_numbers": NHWC, "lhs_dilation": (2, 1)}),
        ((2, 4, 8, 8), (4, 4, 3, 3), {}),
    ],
    ids=["grouped", "batch-grouped", "kernel-dilated", "image-dilated", "NCHW"],
)
def test_other_convolutions_are_laxs(image, kernel, options) -> None:
    x, k = draw(image, kernel)
    compare(x, k, (1, 1), SAME, **options)
    jaxpr = jax.make_jaxpr(
        partial(conv_general_dilated, window_strides=(1, 1), padding=SAME, **options)
    )(x, k)
    assert [e.primitive.name for e in jaxpr.eqns] == ["conv_general_dilated"]


def test_other_platforms_get_laxs_gradient() -> None:
    def gradient(x: Array, k: Array) -> Array:
        options = {"window_strides": (1, 1), "padding": SAME, "dimension_numbers": NHWC}
        return jax.grad(lambda k: conv_general_dilated(x, k, **options).sum())(k)

    traced = jax.jit(gradient).trace(*draw((2, 8, 8, 4), (3, 3, 4, 4)))
    for platform, products in {"cpu": True, "cuda": False, "tpu": False}.items():
        text = traced.lower(lowering_platforms=(platform,)).as_text()
        assert ("dot_general" in text) == products, platform


def test_flax_convolution() -> None:
    (x,) = draw((2, 8, 8, 3))

    def loss(parameters, **options):
        layer = nn.Conv(4, (3, 3), strides=(2, 2), padding=SAME, use_bias=False, **options)
        return (layer.apply(parameters, x) ** 2).sum()

    parameters = nn.Conv(4, (3, 3), use_bias=False).init(jax.random.key(0), x)
    fast = jax.grad(loss)(parameters, conv_general_dilated=conv_general_dilated)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5), fast, jax.grad(loss)(parameters))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("how", ["jit", "jit, shards", "shard_map"])
def test_sharded_batch(how: str, stride: int) -> None:
    devices = jax.devices()
    assert len(devices) > 1
    mesh = Mesh(np.array(devices), ("batch",), axis_types=(AxisType.Auto,))
    batch, everywhere = PartitionSpec("batch"), PartitionSpec()
    x, k = draw((16, 16, 16, 8), (3, 3, 8, 8))
    options = {"window_strides": (stride,) * 2, "padding": SAME, "dimension_numbers": NHWC}
    plain = partial(lax.conv_general_dilated, **options)
    if how == "jit, shards":
        options["shards"] = len(devices)
    function = partial(conv_general_dilated, **options)
    if how == "shard_map":
        function = jax.shard_map(function, mesh=mesh, in_specs=(batch, everywhere), out_specs=batch)
    x = jax.device_put(x, NamedSharding(mesh, batch))
    k = jax.device_put(k, NamedSharding(mesh, everywhere))
    assert_same(function, plain, x, k)
