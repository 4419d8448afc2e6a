"""PyTorch state dicts in and out: names, round trips, and what is refused."""

from functools import partial
from types import MappingProxyType

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from jax_resnet import ResNet
from jax_resnet.errors import UserError
from jax_resnet.pytorch.weights import from_torch, to_torch

NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
VARIANTS = [
    ("article", "zeropad"), ("article", "conv1x1"), ("article", None),
    ("akamaster", "subsample"), ("akamaster", "conv1x1"), ("torchvision", "conv1x1"),
]  # fmt: skip


def random_variables(model, channels=3, seed=0):
    """Variables of the model's shapes, every array different, variances positive."""
    rng = np.random.default_rng(seed)

    def draw(like):
        is_kernel = len(like.shape) > 1
        drawn = rng.normal(0, 0.1, like.shape) if is_kernel else rng.uniform(0.2, 0.6, like.shape)
        return jnp.asarray(drawn, like.dtype)

    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 8, 8, channels)))
    return jax.tree.map(draw, shapes)


def constants(family, shortcut):
    """Mean and std, where the family has no published net with this shortcut."""
    is_published = family == "article" or (family, shortcut) == ("akamaster", "subsample")
    return {} if is_published else {"mean": (0.5,) * 3, "std": (0.25,) * 3}


def state_of(family="article", shortcut="zeropad", depth=8, classes=10, channels=3):
    model = ResNet(depth, classes, shortcut)
    return to_torch(random_variables(model, channels), model, family)


def test_the_net_and_its_copy_share_no_memory():
    """PyTorch goes on to train either, and writes BatchNorm's statistics in place."""
    state, images = state_of(), np.zeros((2, 8, 8, 3), np.uint8)
    classifier, _ = from_torch(state)
    logits = np.array(classifier(images))
    out = to_torch(classifier.variables, classifier.model)
    for array in (*state.values(), *out.values()):
        array[...] = 0
    np.testing.assert_array_equal(classifier(images), logits)


def article_names(n, conv1x1):
    names = {"conv1.0.weight", "fc.weight", "fc.bias"} | {f"conv1.1.{k}" for k in NORM}
    for stage in ("conv2x", "conv3x", "conv4x"):
        for block in range(n):
            down = conv1x1 and stage != "conv2x" and block == 0
            for conv in ("conv1", "conv2", *(("conv1x1",) if down else ())):
                names |= {f"{stage}.{block}.{conv}.0.weight"}
                names |= {f"{stage}.{block}.{conv}.1.{k}" for k in NORM}
    return names


def side_by_side_names(n, conv1x1, shortcut, head):
    """akamaster's names, or torchvision's: BatchNorm stands beside its convolution."""
    names = {"conv1.weight", f"{head}.weight", f"{head}.bias"} | {f"bn1.{k}" for k in NORM}
    for stage in (1, 2, 3):
        for block in range(n):
            place = f"layer{stage}.{block}"
            names |= {f"{place}.conv1.weight", f"{place}.conv2.weight"}
            names |= {f"{place}.bn{i}.{k}" for i in (1, 2) for k in NORM}
            if conv1x1 and stage > 1 and block == 0:
                names |= {f"{place}.{shortcut}.0.weight"}
                names |= {f"{place}.{shortcut}.1.{k}" for k in NORM}
    return names


NAMES = {
    "article": article_names,
    "akamaster": partial(side_by_side_names, shortcut="shortcut", head="linear"),
    "torchvision": partial(side_by_side_names, shortcut="downsample", head="fc"),
}


# One block a stage, several, and so many that their numbers have two digits.
@pytest.mark.parametrize("depth", [8, 20, pytest.param(110, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("family", "shortcut"), VARIANTS)
def test_names_are_the_originals_and_every_depth_comes_back(family, shortcut, depth):
    model = ResNet(depth, 10, shortcut)
    variables = random_variables(model)
    state = to_torch(variables, model, family)
    assert state.keys() == NAMES[family]((depth - 2) // 6, shortcut == "conv1x1")
    parallel = {f"module.{name}": array for name, array in state.items()}
    read_as = shortcut if shortcut is None else "auto"
    for each in (state, parallel):
        classifier, found = from_torch(each, shortcut=read_as, **constants(family, shortcut))
        assert (found.name, classifier.model) == (family, model)
        ours, theirs = map(traverse_util.flatten_dict, (variables, classifier.variables))
        assert ours.keys() == theirs.keys()
        for path in ours:
            np.testing.assert_array_equal(ours[path], theirs[path])


def test_depth_classes_channels_and_constants_are_read():
    classifier, _ = from_torch(state_of("akamaster", "subsample", 14, classes=7))
    assert (classifier.model.depth, classifier.model.num_classes) == (14, 7)
    assert classifier.class_names == ("0", "1", "2", "3", "4", "5", "6")
    np.testing.assert_array_equal(classifier.mean, np.float32([0.485, 0.456, 0.406]))
    gray, _ = from_torch(state_of(channels=1), mean=(0.5,), std=(0.25,))
    assert gray.variables["params"]["stem_conv"]["kernel"].shape == (3, 3, 1, 16)
    assert (gray.mean.tolist(), gray.std.tolist()) == ([0.5], [0.25])
    assert gray(np.zeros((2, 9, 7, 1), np.uint8)).shape == (2, 10)


@pytest.mark.parametrize(("family", "shortcut"), VARIANTS)
def test_the_width_is_read(family, shortcut):
    model = ResNet(14, 5, shortcut, channels=(4, 6, 10))
    state = to_torch(random_variables(model), model, family)
    read_as = shortcut if shortcut is None else "auto"
    assert from_torch(state, shortcut=read_as, **constants(family, shortcut))[0].model == model


@pytest.mark.parametrize("family", ["torchvision", "akamaster"])
def test_where_no_net_is_published_mean_and_std_are_needed(family):
    state = state_of(family, "conv1x1")
    for given in ({}, {"mean": (0.5,) * 3}, {"std": (0.2,) * 3}):
        with pytest.raises(UserError, match="`mean` and `std` are needed, expected those of"):
            from_torch(state, **given)
    classifier, _ = from_torch(state, mean=(0.5,) * 3, std=(0.25,) * 3)
    assert (classifier.mean.tolist(), classifier.std.tolist()) == ([0.5] * 3, [0.25] * 3)


def test_half_precision_weights_become_float32():
    state = {k: v.astype(np.float16) for k, v in state_of().items()}
    classifier, _ = from_torch(state)
    assert {leaf.dtype for leaf in jax.tree.leaves(classifier)} == {np.dtype("float32")}


def test_faults_of_every_kind_are_named_at_once():
    state = state_of()
    del state["conv3x.0.conv2.0.weight"]
    state["fc.bias"] = np.zeros(11, np.float32)
    state["extra.thing"] = np.zeros(1, np.float32)
    state["conv1.1.weight"] = np.full(16, np.nan, np.float32)
    state["conv1.1.bias"] = np.zeros(16, np.int64)
    state["conv2x.0.conv1.1.weight"] = np.full(16, 1e300)  # infinite in float32
    state["conv1.1.running_var"] = np.full(16, -1, np.float32)
    with pytest.raises(UserError) as caught:
        from_torch(state)
    message = str(caught.value)
    assert "missing: conv3x.0.conv2.0.weight" in message
    assert "of the wrong shape: fc.bias (11,) instead of (10,)" in message
    assert "extra: extra.thing" in message
    assert "not finite: conv1.1.weight, conv2x.0.conv1.1.weight" in message
    assert "of the wrong type: conv1.1.bias int64" in message
    assert "negative: conv1.1.running_var" in message


def test_a_refusal_of_another_net_is_short():
    """As of an ImageNet net of torchvision's: a large stem, a fourth stage, other widths."""
    model = ResNet(110, 1000, "conv1x1", channels=(64, 128, 256))
    state = to_torch(random_variables(model), model, "torchvision")
    state["conv1.weight"] = np.zeros((64, 3, 7, 7), np.float32)
    state |= {f"layer4.{i}.conv3.weight": np.zeros(1) for i in range(300)}
    state = {name: array for name, array in state.items() if not name.startswith("layer2.")}
    with pytest.raises(UserError) as caught:
        from_torch(state, **constants("torchvision", "conv1x1"))
    message = str(caught.value)
    assert "conv1.weight (64, 3, 7, 7) instead of (64, 3, 3, 3)" in message
    assert "extra: layer4.0.conv3.weight, layer4.1.conv3.weight and 298 more" in message
    assert len(message) < 700, f"the refusal has {len(message)} characters"


def test_blocks_missing_in_one_stage_are_missing_keys():
    state = {k: v for k, v in state_of(depth=20).items() if not k.startswith("conv3x.2.")}
    with pytest.raises(UserError, match=r"ResNet-20.*missing: conv3x\.2\.conv1\.0\.weight"):
        from_torch(state)


def test_a_shortcut_that_the_weights_contradict():
    with pytest.raises(UserError, match=r"extra: conv3x\.0\.conv1x1\.0\.weight"):
        from_torch(state_of(shortcut="conv1x1"), shortcut="zeropad")
    with pytest.raises(UserError, match=r"missing: conv3x\.0\.conv1x1\.0\.weight"):
        from_torch(state_of(shortcut="zeropad"), shortcut="conv1x1")


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "model._orig_mod.module."])
def test_prefixes_of_wrappers_are_taken_off_each_name(prefix):
    state = state_of()
    expected = from_torch(state)[0].variables
    wrapped = {f"{prefix}{name}": array for name, array in state.items()}
    wrapped["fc.bias"] = wrapped.pop(f"{prefix}fc.bias")
    wrapped["n_averaged"] = np.array(7)  # of an average of weights
    jax.tree.map(np.testing.assert_array_equal, from_torch(wrapped)[0].variables, expected)


def test_two_arrays_of_one_name_are_refused():
    state = state_of()
    with pytest.raises(UserError, match=r"fc\.bias is there twice, once with a prefix"):
        from_torch(state | {"module.fc.bias": state["fc.bias"]})


@pytest.mark.parametrize("state", [{}, {"features.0.weight": np.zeros((64, 3, 3, 3))}])
def test_other_nets_are_not_recognized(state):
    with pytest.raises(UserError, match="no known names of layers"):
        from_torch(state)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mean": (0.5,)}, "`mean` has 1 values"),
        ({"mean": 0.5}, "`mean` has 1 values"),
        ({"std": "large"}, "`std` is 'large', expected numbers"),
        ({"std": (0.2, 0.0, 0.2)}, "`std` is .* from 1e-06 to 1"),
        ({"std": (0.2, 1e-40, 0.2)}, "`std` is .* from 1e-06 to 1"),
        ({"mean": (0.5, np.inf, 0.5)}, "`mean` is .* from 0 to 1"),
        ({"class_names": ("cat", "dog")}, "`class_names` has 2 names, expected 10"),
        ({"class_names": "abcdefghij"}, "`class_names` is 'abcdefghij', expected a sequence"),
        ({"image_size": (2, 2)}, "`image_size` is 2 2"),
    ],
)
def test_values_that_do_not_fit_the_net(arguments, message):
    with pytest.raises(UserError, match=message):
        from_torch(state_of(), **arguments)


def test_a_mean_of_pytorchs_shape_is_one_of_each_channel():
    mean, std = np.float32([0.4, 0.5, 0.6]), np.float32([0.2, 0.3, 0.25])
    classifier, usual = (
        from_torch(state_of(), mean=mean.reshape(shape), std=std.reshape(shape))[0]
        for shape in ((3, 1, 1), 3)
    )
    assert classifier.mean.shape == classifier.std.shape == (3,)
    np.testing.assert_array_equal(classifier.std, usual.std)


def test_a_stem_of_no_channels_is_refused():
    state = state_of()
    state["conv1.0.weight"] = state["conv1.0.weight"][:, :0]
    with pytest.raises(UserError, match=r"conv1\.0\.weight has shape \(16, 0, 3, 3\), expected"):
        from_torch(state, mean=(), std=())


def test_a_tensor_that_is_no_array_is_refused():
    class Tensor:
        def __array__(self, *_arguments, **_options):
            raise RuntimeError("Can't call numpy() on Tensor that requires grad.")

    with pytest.raises(UserError, match=r"conv1.* is no array: .*detach"):
        from_torch(dict.fromkeys(state_of(), Tensor()))


def test_variables_of_another_model_are_refused():
    model = ResNet(8)
    variables = random_variables(model)
    with pytest.raises(UserError, match=r"batch_stats/\S+ is missing, expected \(16,\)"):
        to_torch({"params": variables["params"]}, model)
    for other in (ResNet(14), ResNet(8, 100), ResNet(8, channels=(8, 16, 32))):
        with pytest.raises(UserError, match="`variables` are not those of `model`: "):
            to_torch(variables, other)
    assert to_torch(MappingProxyType(variables), model).keys() == to_torch(variables, model).keys()


def test_bfloat16_params_become_float32():
    model = ResNet(8)
    variables = random_variables(model)
    half = jax.tree.map(lambda x: jnp.asarray(x, jnp.bfloat16), variables)
    for name, array in to_torch(half, model).items():
        if not name.endswith("num_batches_tracked"):
            assert array.dtype == np.float32, name


def test_an_unknown_family_is_refused():
    model = ResNet(8)
    with pytest.raises(UserError, match="`family` is 'timm', expected one of"):
        to_torch(random_variables(model), model, "timm")


def test_no_family_gets_weights_that_its_nets_take_for_others():
    for shortcut, family, others in (
        ("zeropad", "akamaster", "article"),
        ("subsample", "article", "akamaster"),
        (None, "torchvision", "article"),
    ):
        model = ResNet(8, shortcut=shortcut)
        message = f"`family` is {family}, which has no net with shortcut .*: expected {others}"
        with pytest.raises(UserError, match=message):
            to_torch(random_variables(model), model, family)


def test_keys_that_are_no_names_are_no_state_dict():
    with pytest.raises(UserError, match="0 is not the name of a tensor, expected a state dict"):
        from_torch({0: np.ones(3, np.float32)})


def test_a_variable_without_a_name_is_refused():
    model = ResNet(8)
    variables = random_variables(model)
    variables["params"]["stage2"]["block1"]["gate"] = {"kernel": jnp.ones((16, 32))}
    with pytest.raises(
        UserError, match=r"article has no names .*: params/stage2/block1/gate/kernel"
    ):
        to_torch(variables, model)
