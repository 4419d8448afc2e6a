"""The convolution that several nets share under `vmap`, against `jax.lax`'s of each net."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jax_resnet import ResNet
from jax_resnet.gpu.conv import conv_general_dilated

NHWC = ("NHWC", "HWIO", "NHWC")
NETS = 3


def draw(*shape, dtype=jnp.float32):
    seed = sum(shape)
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), dtype)


def value_and_gradients(conv, stride, padding):
    """Of a function of images and kernels: its value, and its gradients for a cotangent."""

    def apply(x, k):
        return conv(x, k, stride, padding, dimension_numbers=NHWC)

    def each(x, k):
        y, pull = jax.vjp(apply, x, k)
        dy = jnp.cos(jnp.arange(y.size, dtype=jnp.float32)).reshape(y.shape).astype(y.dtype)
        return y, *pull(dy)

    return each


@pytest.mark.parametrize("dtype", [jnp.float32, pytest.param(jnp.bfloat16, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("image", "kernel", "stride", "padding"),
    [
        ((2, 8, 8, 4), (3, 3, 4, 6), (1, 1), ((1, 1), (1, 1))),
        ((2, 9, 7, 2), (3, 3, 2, 3), (2, 2), ((1, 1), (1, 1))),
        ((2, 8, 8, 4), (1, 1, 4, 8), (2, 2), ((0, 0), (0, 0))),
        ((1, 8, 8, 3), (3, 3, 3, 1), (1, 1), "SAME"),
    ],
)
def test_each_net_gets_its_own_value_and_gradients(image, kernel, stride, padding, dtype):
    x, k = draw(NETS, *image, dtype=dtype), draw(NETS, *kernel, dtype=dtype)
    shared = jax.vmap(value_and_gradients(conv_general_dilated, stride, padding))(x, k)
    alone = value_and_gradients(lax.conv_general_dilated, stride, padding)
    wanted = zip(*[alone(x[i], k[i]) for i in range(NETS)], strict=True)
    tolerance = 1e-5 if dtype == jnp.float32 else 2e-2
    for name, ours, theirs in zip(("value", "d image", "d kernel"), shared, wanted, strict=True):
        theirs = jnp.stack(theirs)
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype), name
        error = np.abs(np.float64(ours) - np.float64(theirs)).max() / np.abs(theirs).max()
        assert error < tolerance, f"{name}: relative error {error:.1e}, allowed {tolerance:.0e}"


def test_it_is_one_convolution_forward_and_one_for_each_gradient():
    each = value_and_gradients(conv_general_dilated, (1, 1), ((1, 1), (1, 1)))
    x, k = draw(NETS, 2, 8, 8, 4), draw(NETS, 3, 3, 4, 4)
    text = jax.jit(jax.vmap(each)).lower(x, k).as_text()
    lines = [line for line in text.splitlines() if "stablehlo.convolution" in line]
    assert len(lines) == 3, f"{len(lines)} convolutions"
    assert all("feature_group_count = 1 : i64" in line for line in lines), "they are grouped"
    assert all("batch_group_count = 1 : i64" in line for line in lines), "they are grouped"


def test_nets_with_the_same_images_share_it_too():
    x, k = draw(2, 8, 8, 4), draw(NETS, 3, 3, 4, 4)

    def apply(k):
        return conv_general_dilated(x, k, (1, 1), "SAME", dimension_numbers=NHWC)

    ours = jax.vmap(apply)(k)
    for i in range(NETS):
        theirs = lax.conv_general_dilated(x, k[i], (1, 1), "SAME", dimension_numbers=NHWC)
        np.testing.assert_allclose(ours[i], theirs, atol=1e-4)


def test_one_net_with_it_has_the_logits_of_the_usual_one():
    images = draw(2, 32, 32, 3)
    variables = ResNet(8).init(jax.random.key(0), images)
    logits = ResNet(8, conv_general_dilated=conv_general_dilated).apply(variables, images)
    np.testing.assert_array_equal(logits, ResNet(8).apply(variables, images))


@pytest.mark.parametrize(
    "how", [{"feature_group_count": 2}, {"dimension_numbers": ("NCHW", "OIHW", "NCHW")}]
)
def test_what_it_can_not_do_is_no_silent_error(how):
    with pytest.raises(AssertionError):
        conv_general_dilated(draw(2, 4, 4, 4), draw(3, 3, 2, 4), (1, 1), "SAME", **how)
