"""PyTorch state dicts in and out: names, round trips, and what is refused."""

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
    ("akamaster", "subsample"), ("akamaster", "conv1x1"),
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


def state_of(family="article", shortcut="zeropad", depth=8, classes=10, channels=3):
    model = ResNet(depth, classes, shortcut)
    return to_torch(random_variables(model, channels), model, family)


def article_names(n, conv1x1):
    names = {"conv1.0.weight", "fc.weight", "fc.bias"} | {f"conv1.1.{k}" for k in NORM}
    for stage in ("conv2x", "conv3x", "conv4x"):
        for block in range(n):
            down = conv1x1 and stage != "conv2x" and block == 0
            for conv in ("conv1", "conv2", *(("conv1x1",) if down else ())):
                names |= {f"{stage}.{block}.{conv}.0.weight"}
                names |= {f"{stage}.{block}.{conv}.1.{k}" for k in NORM}
    return names


def akamaster_names(n, conv1x1):
    names = {"conv1.weight", "linear.weight", "linear.bias"} | {f"bn1.{k}" for k in NORM}
    for stage in (1, 2, 3):
        for block in range(n):
            place = f"layer{stage}.{block}"
            names |= {f"{place}.conv1.weight", f"{place}.conv2.weight"}
            names |= {f"{place}.bn{i}.{k}" for i in (1, 2) for k in NORM}
            if conv1x1 and stage > 1 and block == 0:
                names |= {f"{place}.shortcut.0.weight"} | {f"{place}.shortcut.1.{k}" for k in NORM}
    return names


@pytest.mark.parametrize("depth", [8, 20, 32, 44, 56, 110])
@pytest.mark.parametrize(("family", "shortcut"), VARIANTS)
def test_names_are_the_originals_and_every_depth_comes_back(family, shortcut, depth):
    model = ResNet(depth, 10, shortcut)
    variables = random_variables(model)
    state = to_torch(variables, model, family)
    names = article_names if family == "article" else akamaster_names
    assert state.keys() == names((depth - 2) // 6, shortcut == "conv1x1")
    parallel = {f"module.{name}": array for name, array in state.items()}
    for each in (state, parallel):
        classifier, found = from_torch(each, shortcut=shortcut if shortcut is None else "auto")
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


def test_half_precision_weights_become_float32():
    state = {k: v.astype(np.float16) for k, v in state_of().items()}
    classifier, _ = from_torch(state)
    assert {leaf.dtype for leaf in jax.tree.leaves(classifier)} == {np.dtype("float32")}


def test_all_faults_are_named_at_once():
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
    assert "of the wrong shape: fc.bias (11,), expected (10,)" in message
    assert "extra: extra.thing" in message
    assert "not finite: conv1.1.weight" in message
    assert "of the wrong type: conv1.1.bias int64" in message
    assert "not finite: conv2x.0.conv1.1.weight" in message
    assert "negative: conv1.1.running_var" in message


def test_blocks_missing_in_one_stage_are_missing_keys():
    state = {k: v for k, v in state_of(depth=20).items() if not k.startswith("conv3x.2.")}
    with pytest.raises(UserError, match=r"ResNet-20.*missing: conv3x\.2\.conv1\.0\.weight"):
        from_torch(state)


def test_a_shortcut_that_the_weights_contradict():
    with pytest.raises(UserError, match=r"extra: conv3x\.0\.conv1x1\.0\.weight"):
        from_torch(state_of(shortcut="conv1x1"), shortcut="zeropad")
    with pytest.raises(UserError, match=r"missing: conv3x\.0\.conv1x1\.0\.weight"):
        from_torch(state_of(shortcut="zeropad"), shortcut="conv1x1")


def test_a_prefix_is_taken_off_only_if_every_name_has_it():
    state = {f"module.{name}": array for name, array in state_of().items()}
    state["fc.bias"] = state.pop("module.fc.bias")
    with pytest.raises(UserError, match="no known names"):
        from_torch(state)


@pytest.mark.parametrize("state", [{}, {"features.0.weight": np.zeros((64, 3, 3, 3))}])
def test_other_nets_are_not_recognised(state):
    with pytest.raises(UserError, match="no known names of layers"):
        from_torch(state)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mean": (0.5,)}, "`mean` has 1 values"),
        ({"std": (0.2, 0.0, 0.2)}, "`std` is .* above 0"),
        ({"mean": (0.5, np.inf, 0.5)}, "`mean` is .* from 0 to 1"),
        ({"class_names": ("cat", "dog")}, "`class_names` has 2 names, expected 10"),
    ],
)
def test_values_that_do_not_fit_the_net(arguments, message):
    with pytest.raises(UserError, match=message):
        from_torch(state_of(), **arguments)


def test_an_unknown_family_is_refused():
    model = ResNet(8)
    with pytest.raises(UserError, match="`family` is 'timm', expected one of"):
        to_torch(random_variables(model), model, "timm")


def test_a_variable_without_a_name_is_refused():
    model = ResNet(8)
    variables = random_variables(model)
    variables["params"]["stage2"]["block1"]["gate"] = {"kernel": jnp.ones((16, 32))}
    with pytest.raises(
        UserError, match=r"article has no names .*: params/stage2/block1/gate/kernel"
    ):
        to_torch(variables, model)


def torch_net(torch, family, depth, shortcut, classes=10):
    """The same nets in PyTorch, with the names of either family."""
    nn, article = torch.nn, family == "article"

    def add(module, name, place, cin, cout, size, stride):
        """A convolution and its BatchNorm: the article's in one Sequential, else side by side."""
        conv = nn.Conv2d(cin, cout, size, stride, size // 2, bias=False)
        norm = nn.BatchNorm2d(cout)
        if article or name == "shortcut":
            module.add_module(name, nn.Sequential(conv, norm))
        else:
            module.add_module(f"conv{place}", conv)
            module.add_module(f"bn{place}", norm)

    def run(module, place, x):
        conv = getattr(module, f"conv{place}")
        return conv(x) if article else getattr(module, f"bn{place}")(conv(x))

    class Block(nn.Module):
        def __init__(self, cin, cout, stride):
            super().__init__()
            self.stride, self.missing = stride, cout - cin
            add(self, "conv1", 1, cin, cout, 3, stride)
            add(self, "conv2", 2, cout, cout, 3, 1)
            if stride > 1 and shortcut == "conv1x1":
                add(self, "conv1x1" if article else "shortcut", None, cin, cout, 1, stride)

        def past(self, x):
            if self.stride == 1:
                return x
            if shortcut == "conv1x1":
                return (self.conv1x1 if article else self.shortcut)(x)
            zeros = torch.zeros_like(x)[:, : self.missing, ::2, ::2]
            if shortcut == "zeropad":
                return torch.cat([nn.functional.max_pool2d(x, 2), zeros], 1)
            half = zeros[:, : self.missing // 2]
            return torch.cat([half, x[:, :, ::2, ::2], half], 1)

        def forward(self, x):
            y = run(self, 2, torch.relu(run(self, 1, x)))
            return torch.relu(y if shortcut is None else y + self.past(x))

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            add(self, "conv1", 1, 3, 16, 3, 1)
            self.stages, cin = [], 16
            for i, cout in enumerate((16, 32, 64)):
                blocks = [Block(cin, cout, 1 if i == 0 else 2)]
                blocks += [Block(cout, cout, 1) for _ in range((depth - 2) // 6 - 1)]
                self.stages.append(f"conv{i + 2}x" if article else f"layer{i + 1}")
                self.add_module(self.stages[-1], nn.Sequential(*blocks))
                cin = cout
            self.add_module("fc" if article else "linear", nn.Linear(64, classes))

        def forward(self, x):
            x = torch.relu(run(self, 1, x))
            for name in self.stages:
                x = getattr(self, name)(x)
            return (self.fc if article else self.linear)(x.mean((2, 3)))

    return Net().eval()


@pytest.mark.parametrize(("family", "shortcut"), VARIANTS)
def test_pytorch_loads_our_weights_strictly_and_gives_our_logits(family, shortcut):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    model = ResNet(8, 10, shortcut)
    variables = random_variables(model)
    x = np.random.default_rng(1).normal(size=(4, 32, 32, 3)).astype(np.float32)
    state = {k: torch.from_numpy(v.copy()) for k, v in to_torch(variables, model, family).items()}
    net = torch_net(torch, family, 8, shortcut)
    net.load_state_dict(state, strict=True)
    with torch.no_grad():
        theirs = net(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())).numpy()
    with jax.default_matmul_precision("float32"):
        ours = jax.jit(model.apply)(variables, x)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
