"""Shapes, parameters and gradients of the nets."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jax_resnet
from jax_resnet import ResNet, UserError
from jax_resnet.model import PARTS, SHORTCUTS, Block
from jax_resnet.ops import max_pool_2x2

SLOW = pytest.mark.slow
COUNTS = {20: 269_722, 32: 464_154, 44: 658_586, 56: 853_018, 110: 1_727_962}


@cache
def init(model, channels=3):
    """Variables, which the size of the images does not change."""
    return jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 4, 4, channels)))


@pytest.mark.parametrize("depth", COUNTS)
@pytest.mark.parametrize("shortcut", SHORTCUTS)
def test_parameter_counts(depth, shortcut):
    model = getattr(jax_resnet, f"resnet{depth}")(shortcut=shortcut)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))
    assert count == COUNTS[depth] + (2_752 if shortcut == "conv1x1" else 0)


@pytest.mark.parametrize("shortcut", SHORTCUTS)
def test_parameter_counts_of_another_width(shortcut):
    """Half of the paper's channels: kernels have about a quarter of its parameters."""
    shapes = jax.eval_shape(
        ResNet(8, 10, shortcut, channels=(8, 16, 32)).init,
        jax.random.key(0),
        jnp.zeros((1, 8, 8, 3)),
    )
    kernels = 9 * (3 * 8 + 2 * 8 * 8 + (8 + 16) * 16 + (16 + 32) * 32)
    norms, head = 2 * (3 * 8 + 2 * 16 + 2 * 32), 32 * 10 + 10
    past = (8 + 2) * 16 + (16 + 2) * 32 if shortcut == "conv1x1" else 0
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))
    assert count == kernels + norms + head + past


@pytest.mark.parametrize("shortcut", SHORTCUTS)
def test_a_net_of_another_width_classifies(shortcut):
    model = ResNet(8, 7, shortcut, channels=(3, 3, 8))
    logits = model.apply(init(model), jnp.ones((2, 8, 8, 3)))
    assert logits.shape == (2, 7)
    assert jnp.isfinite(logits).all()


@pytest.mark.parametrize("missing", [None, "stage2"])
def test_parameters_that_apply_creates_are_drawn(missing):
    """Without any, and without those of a part: Flax fills them in where `params` is mutable."""
    model = ResNet(8)
    variables = init(model) if missing else {}
    if missing:
        rest = {part: each for part, each in variables["params"].items() if part != missing}
        variables = {**variables, "params": rest}
    images = jnp.ones((2, 8, 8, 3))
    rngs = {"params": jax.random.key(1)}
    apply = jax.jit(partial(model.apply, mutable=["params", "batch_stats"]))
    _, created = apply(variables, images, rngs=rngs)
    kernel = created["params"][missing or "stage2"]["block1"]["conv2"]["kernel"]
    assert float(kernel.std()) == pytest.approx((2 / (9 * 32)) ** 0.5, rel=0.05)


@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.int32, bool])
def test_images_that_are_no_floats_are_refused(dtype):
    with pytest.raises(UserError, match=r"images are .*, expected normalized ones"):
        ResNet(8).init(jax.random.key(0), jnp.zeros((1, 8, 8, 3), dtype))


def test_no_image_has_no_statistics():
    model = ResNet(8)
    variables, none = init(model), jnp.zeros((0, 8, 8, 3))
    assert model.apply(variables, none).shape == (0, 10)
    with pytest.raises(UserError, match=r"shape \(0, 8, 8, 16\) has no statistics"):
        model.apply(variables, none, train=True, mutable=["batch_stats"])


@pytest.mark.parametrize("count", [True, "10", 10.0, None])
def test_a_count_of_classes_that_is_no_integer_is_refused(count):
    with pytest.raises(
        UserError, match=r"`num_classes` is .*, expected a whole number of 1 or more"
    ):
        ResNet(8, num_classes=count)


def test_a_net_without_classes_is_refused():
    with pytest.raises(UserError, match="`num_classes` is 0, expected a whole number of 1 or more"):
        ResNet(8, num_classes=0)


@pytest.mark.parametrize("channels", [(16, 32), (16, 32, 0), (16, 32, 64.0), [16, 32, 64], 16])
def test_other_channels_are_refused(channels):
    with pytest.raises(UserError, match=r"`channels` is .*, expected a tuple of three whole num"):
        ResNet(8, channels=channels)


def test_fewer_channels_need_a_shortcut_that_can_remove_them():
    for shortcut in ("zeropad", "subsample"):
        with pytest.raises(UserError, match=rf"`channels` is \(8, 4, 8\), .* shortcut {shortcut}"):
            ResNet(8, shortcut=shortcut, channels=(8, 4, 8))
    for shortcut in ("conv1x1", None):
        init(ResNet(8, shortcut=shortcut, channels=(8, 4, 8)))


def test_the_parts_are_the_names_in_the_variables():
    shapes = jax.eval_shape(ResNet(8).init, jax.random.key(0), jnp.zeros((1, 4, 4, 3)))
    assert set(shapes["params"]) == set(PARTS)


def test_a_function_of_one_depth_takes_the_fields_of_the_net():
    model = jax_resnet.resnet20(num_classes=7, shortcut=None, dtype=jnp.bfloat16)
    assert model == ResNet(20, 7, None, dtype=jnp.bfloat16)
    with pytest.raises(TypeError, match="width"):
        jax_resnet.resnet20(width=2)


@pytest.mark.parametrize("shortcut", SHORTCUTS)
@pytest.mark.parametrize(
    "size",
    [(4, 4, 1), (5, 7, 3), *[pytest.param(s, marks=SLOW) for s in ((32, 32, 3), (17, 33, 4))]],
)
def test_any_image_of_at_least_4x4(shortcut, size):
    model = ResNet(8, shortcut=shortcut)
    variables = init(model, size[-1])
    logits = jax.jit(model.apply)(variables, jnp.ones((2, *size)))
    assert logits.shape == (2, 10)
    assert jnp.isfinite(logits).all()


@pytest.mark.parametrize("shape", [(1, 3, 8, 3), (8, 8, 3)])
def test_smaller_images_are_refused(shape):
    with pytest.raises(UserError, match=r"images have shape .*, expected NHWC of at least 4x4"):
        ResNet(8).init(jax.random.key(0), jnp.zeros(shape))


@pytest.mark.parametrize(("depth", "near"), [(21, "20 or 26"), (2, "8"), (-4, "8")])
def test_other_depths_are_refused(depth, near):
    with pytest.raises(UserError, match=rf"`depth` is {depth}, .* such as {near}$"):
        ResNet(depth)


@pytest.mark.parametrize("depth", [20.0, "20", None])
def test_a_depth_that_is_no_integer_is_refused(depth):
    with pytest.raises(UserError, match=rf"`depth` is {depth!r}, expected 6n \+ 2"):
        ResNet(depth)


def test_another_shortcut_is_refused():
    with pytest.raises(UserError, match=r"`shortcut` is 'identity', expected one of .*'zeropad'"):
        ResNet(8, shortcut="identity")


def test_initialization_is_he_normal_and_not_truncated():
    params = init(ResNet(14))["params"]
    kernel = np.asarray(params["stage3"]["block2"]["conv1"]["kernel"])
    std = (2 / (9 * 64)) ** 0.5
    assert kernel.std() == pytest.approx(std, rel=0.02)
    assert abs(kernel).max() > 3 * std, "a truncated normal ends at two std"
    norm, head = params["stage3"]["block2"]["norm1"], params["head"]
    assert (norm["scale"] == 1).all()
    assert (norm["bias"] == 0).all()
    assert abs(head["kernel"]).max() <= 1 / 8
    assert head["kernel"].std() == pytest.approx(1 / 8 / 3**0.5, rel=0.1)
    assert 0 < abs(head["bias"]).max() <= 1 / 8


@pytest.mark.parametrize("shortcut", SHORTCUTS)
def test_every_parameter_has_a_gradient(shortcut):
    model = ResNet(8, shortcut=shortcut)
    variables = init(model)
    x = jax.random.normal(jax.random.key(1), (4, 8, 8, 3))

    def loss(params):
        logits, _ = model.apply(variables | {"params": params}, x, True, mutable=["batch_stats"])
        return (logits**2).sum()

    for path, grad in jax.tree.leaves_with_path(jax.jit(jax.grad(loss))(variables["params"])):
        assert jnp.isfinite(grad).all(), path
        assert abs(grad).max() > 0, f"no gradient reaches {jax.tree_util.keystr(path)}"


def test_shortcuts_by_hand():
    x = jnp.arange(2 * 3 * 4 * 1, dtype=jnp.float32).reshape(2, 3, 4, 1)
    pooled = max_pool_2x2(x)
    assert pooled.shape == (2, 2, 2, 1), "an odd size rounds up, as the strided convolution does"
    np.testing.assert_array_equal(pooled[0, :, :, 0], [[5, 7], [9, 11]])


@pytest.mark.parametrize(
    ("shortcut", "pixels", "channels"),
    [("zeropad", [[6, 8], [14, 16]], slice(0, 2)), ("subsample", [[1, 3], [9, 11]], slice(1, 3))],
)
def test_padded_shortcuts_by_hand(shortcut, pixels, channels):
    """With a convolution that gives zeros, a block is its shortcut: 2 channels become 4."""

    def no_conv(features, _size, strides=(1, 1), **_fields):
        return lambda x: jnp.zeros((*(-(-n // strides[0]) for n in x.shape[:3]), features))

    def no_norm(**_fields):
        return lambda x, shortcut=0, relu=True: x + shortcut

    x = jnp.arange(1.0, 17).reshape(1, 4, 4, 1) * jnp.array([1, 100])
    y = Block(4, 2, shortcut, no_conv, no_norm).apply({}, x)
    expected = np.zeros((1, 2, 2, 4))
    expected[..., channels] = np.array(pixels)[None, ..., None] * [1, 100]
    np.testing.assert_array_equal(y, expected)


def test_forward_mode_and_vmap_of_the_plain_convolution():
    model = ResNet(8)
    variables = init(model)
    x = jax.random.normal(jax.random.key(1), (3, 2, 8, 8, 3))
    apply = jax.jit(lambda each: model.apply(variables, each))
    logits = jax.jit(jax.vmap(apply))(x)
    np.testing.assert_allclose(logits[1], apply(x[1]), atol=1e-5)
    _, tangent = jax.jit(lambda x, t: jax.jvp(apply, (x,), (t,)))(x[0], x[1])
    assert jnp.isfinite(tangent).all()


def test_bfloat16_computes_in_it_but_keeps_float32():
    model = ResNet(8, dtype=jnp.bfloat16)
    variables = init(model)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    x = jax.random.normal(jax.random.key(1), (2, 8, 8, 3))
    logits = jax.jit(model.apply)(variables, x)
    exact = jax.jit(ResNet(8).apply)(variables, x)
    assert logits.dtype == jnp.float32
    assert 0 < abs(logits - exact).max() < 0.05
