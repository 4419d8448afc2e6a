"""PyTorch's own nets and files of theirs: the same logits from the same weights."""

import warnings

import jax
import numpy as np
import pytest
from test_torch_weights import VARIANTS, random_variables

from jax_resnet import Classifier, ResNet
from jax_resnet.errors import UserError
from jax_resnet.pytorch.files import read_state_dict
from jax_resnet.pytorch.weights import to_torch


def torch_net(torch, family, depth, shortcut, classes=10):
    """The same nets in PyTorch, with the names of a family."""
    nn, article = torch.nn, family == "article"
    side = {"article": "conv1x1", "akamaster": "shortcut", "torchvision": "downsample"}[family]
    head = "linear" if family == "akamaster" else "fc"

    def add(module, name, place, cin, cout, size, stride):
        """A convolution and its BatchNorm: the article's in one Sequential, else side by side."""
        conv = nn.Conv2d(cin, cout, size, stride, size // 2, bias=False)
        norm = nn.BatchNorm2d(cout)
        if article or name == side:
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
                add(self, side, None, cin, cout, 1, stride)

        def past(self, x):
            if self.stride == 1:
                return x
            if shortcut == "conv1x1":
                return getattr(self, side)(x)
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
            self.add_module(head, nn.Linear(64, classes))

        def forward(self, x):
            x = torch.relu(run(self, 1, x))
            for name in self.stages:
                x = getattr(self, name)(x)
            return getattr(self, head)(x.mean((2, 3)))

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


def trained(torch, seed=0):
    """A net with torchvision's names, every array of it different."""
    torch.manual_seed(seed)
    net = torch_net(torch, "torchvision", 8, "conv1x1").train()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.rand_like(parameter))
        net(2 * torch.randn(16, 3, 8, 8) + 1)  # which changes the running statistics
    return net.eval()


def wrap(torch, net, how):
    """What programs save of a net."""
    state = net.state_dict()
    match how:
        case "parallel":
            return {"net": torch.nn.DataParallel(net).state_dict(), "acc": 91.3, "epoch": 7}
        case "averaged":
            return {"model": torch.optim.swa_utils.AveragedModel(net).state_dict()}
        case "compiled":
            return {"model_state_dict": torch.compile(net).state_dict(), "step": 3}
        case "lightning":
            named = {f"model.{name}": tensor for name, tensor in state.items()}
            return {"state_dict": named, "optimizer_states": [{"lr": 0.1}], "epoch": 7}
    return state


@pytest.mark.parametrize(
    ("how", "suffix"),
    [("plain", ".pt"), ("parallel", ".pth.tar"), ("averaged", ".bin"), ("compiled", ".pth"),
     ("lightning", ".ckpt")],
)  # fmt: skip
def test_a_file_that_pytorch_saved_has_its_logits(call, tmp_path, how, suffix):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    net = trained(torch)
    source, out = tmp_path / f"in{suffix}", tmp_path / "out.safetensors"
    torch.save(wrap(torch, net, how), source)
    mean, std = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
    code, stdout, stderr = call("convert.py", source, out, "--mean", *mean, "--std", *std)
    assert (code, "torchvision ResNet-8, shortcut conv1x1" in stdout) == (0, True), stderr
    images = np.random.default_rng(1).integers(0, 256, (4, 32, 32, 3), np.uint8)
    x = ((images / 255 - mean) / std).astype(np.float32).transpose(0, 3, 1, 2)
    with torch.no_grad():
        theirs = net(torch.from_numpy(x.copy())).numpy()
    np.testing.assert_allclose(Classifier.load(out)(images), theirs, rtol=1e-4, atol=1e-4)


def test_what_is_no_state_dict_is_refused_in_few_words(tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    path = tmp_path / "in.pth"
    for content, message in (
        (torch.nn.Linear(2, 2), r"object of torch\.nn\.\S*Linear, and only tensors are loaded"),
        ([torch.zeros(2)], "holds a list, expected a state dict"),
        ({"net": {}, "model": {"x": 1}}, "has 'x', which is not a tensor"),
        (
            {"epoch": 3, "weights": {}},
            "'epoch', which is not a tensor, expected a state dict, or one",
        ),
    ):
        torch.save(content, path)
        with pytest.raises(UserError, match=message) as caught:
            read_state_dict(path)
        assert len(str(caught.value)) < 300 + len(str(path))
    for damaged in (b"hello", b"", path.read_bytes()[:-99]):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"in\.pth is damaged, or not a file of PyTorch"):
            read_state_dict(path)


def test_a_compiled_program_is_refused_in_one_message(tmp_path, recwarn):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    with warnings.catch_warnings(action="ignore"):
        program = torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2))
    program.save(tmp_path / "in.pt")
    with pytest.raises(UserError, match="holds a TorchScript program: save its state dict"):
        read_state_dict(tmp_path / "in.pt")
    assert not [each for each in recwarn if "TorchScript" in str(each.message)]


def test_of_several_nets_none_is_chosen(tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    path = tmp_path / "in.pth"
    first, second = ({"conv1.weight": torch.full((4, 3, 3, 3), i)} for i in (1.0, 2.0))
    for name in ("state_dict_ema", "model"):
        torch.save({"state_dict": first, name: second}, path)
        with pytest.raises(UserError, match=f"holds several nets, under 'state_dict', '{name}'"):
            read_state_dict(path)
    averages = [torch.ones(4, 3, 3, 3), torch.ones(4, 4, 3, 3)]
    for name, nested in (
        ("ema.shadow", {"ema": {"decay": 0.9, "shadow": second}}),
        ("ema.shadow_params", {"ema": {"shadow_params": averages}}),
        ("nets.1", {"nets": [{}, second]}),
    ):
        torch.save({"model": first, **nested}, path)
        with pytest.raises(UserError, match=f"holds several nets, under 'model', '{name}'"):
            read_state_dict(path)
    kernels = [torch.ones(4, 3, 3, 3), torch.ones(4, 4, 3, 3)]
    for others in (
        {"optimizer": {"state": {0: {"exp_avg": kernels[0]}}}},
        {"optimizer": {"fp32_from_fp16": [kernels]}},
        {"momentum": kernels},
        {"samples": [torch.ones(9, 3, 32, 32)]},
    ):
        torch.save({"model": first, **others}, path)
        assert read_state_dict(path)["conv1.weight"].max() == 1
    torch.save({**first, "ema": second}, path)
    with pytest.raises(UserError, match="holds several nets, under 'its top level', 'ema'"):
        read_state_dict(path)
    torch.save({"state_dict": {}, "model": second, "best": {"loss": torch.ones(())}}, path)
    assert read_state_dict(path)["conv1.weight"].max() == 2
