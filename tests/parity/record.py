"""Records what PyTorch computes for `cases.CASES` into `recordings.npz`, in float64.

    pip install torch==2.13.0 numpy && cd tests && python -m parity.record

The nets and their training are as docs/from_pytorch.md describes them. Only results are kept:
weights and images are drawn from seeds.
"""

import numpy as np
import torch
from parity.cases import (
    CASES,
    CLASSES,
    FILE,
    SCHEDULE_STEPS,
    Case,
    draw_batches,
    draw_tensor,
    summarize,
)
from torch import Tensor, nn
from torch.nn import functional as F


def conv_norm(channels_in: int, channels_out: int, kernel: int, stride: int) -> nn.Sequential:
    """A convolution without bias, and its BatchNorm."""
    conv = nn.Conv2d(channels_in, channels_out, kernel, stride, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels_out))


class Block(nn.Module):
    def __init__(self, channels_in: int, channels_out: int, stride: int, shortcut: str | None):
        super().__init__()
        self.shortcut = shortcut
        self.missing = channels_out - channels_in
        self.conv1 = conv_norm(channels_in, channels_out, 3, stride)
        self.conv2 = conv_norm(channels_out, channels_out, 3, 1)
        if shortcut == "conv1x1" and stride > 1:
            self.conv1x1 = conv_norm(channels_in, channels_out, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(F.relu(self.conv1(x)))
        return F.relu(y if self.shortcut is None else y + self.past(x))

    def past(self, x: Tensor) -> Tensor:
        if not self.missing:
            return x
        if self.shortcut == "zeropad":  # the article: zero channels at the end, max-pooling
            return F.max_pool2d(F.pad(x, (0, 0, 0, 0, 0, self.missing)), 2)
        if self.shortcut == "subsample":  # the paper's option A: zero channels on both sides
            return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.missing // 2, self.missing // 2))
        return self.conv1x1(x)  # option B


class Net(nn.Module):
    def __init__(self, case: Case):
        super().__init__()
        blocks = (case.depth - 2) // 6

        def stage(channels_in: int, channels_out: int, stride: int) -> nn.Sequential:
            first = Block(channels_in, channels_out, stride, case.shortcut)
            rest = [Block(channels_out, channels_out, 1, case.shortcut) for _ in range(blocks - 1)]
            return nn.Sequential(first, *rest)

        self.conv1 = conv_norm(3, 16, 3, 1)
        self.conv2x, self.conv3x, self.conv4x = stage(16, 16, 1), stage(16, 32, 2), stage(32, 64, 2)
        self.pool = nn.AvgPool2d(case.size // 4, stride=1)
        self.fc = nn.Linear(64, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv4x(self.conv3x(self.conv2x(F.relu(self.conv1(x)))))
        return self.fc(self.pool(x).flatten(1))


def make_optimizer(net: nn.Module, case: Case) -> torch.optim.SGD:
    kernels = [p for p in net.parameters() if p.ndim > 1]
    others = [p for p in net.parameters() if p.ndim == 1]
    groups = [{"params": kernels}, {"params": others, "weight_decay": 1e-4 * case.decay_all}]
    return torch.optim.SGD(groups, 0.1, 0.9, weight_decay=1e-4, nesterov=case.nesterov)


def numbers(tensors: dict[str, Tensor]) -> dict[str, np.ndarray]:
    return {k: v.detach().numpy().copy() for k, v in tensors.items() if v.is_floating_point()}


def record(case: Case) -> dict[str, np.ndarray]:
    """Results by name.

    - `losses`: of each step.
    - `momenta`: after the first step, the gradients with weight decay; summarized.
    - `tensors`: weights and running statistics after the last step; summarized.
    - `eval_logits`: of the first batch, after the last step.
    """
    net = Net(case).double()
    state = {name: draw_tensor(name, tuple(v.shape)) for name, v in net.state_dict().items()}
    net.load_state_dict({name: torch.from_numpy(np.asarray(v)) for name, v in state.items()})
    optimizer = make_optimizer(net, case)
    drops = [SCHEDULE_STEPS // 2, 3 * SCHEDULE_STEPS // 4]
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, drops, gamma=0.1)
    images, labels = (torch.from_numpy(array) for array in draw_batches(case))
    images = images.permute(0, 1, 4, 2, 3)

    results, losses = {}, []
    for step in range(case.steps):
        loss = F.cross_entropy(net(images[step]), labels[step])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if step == 0:
            buffers = {k: optimizer.state[p]["momentum_buffer"] for k, p in net.named_parameters()}
            results["momenta"] = summarize(numbers(buffers))
    net.eval()
    with torch.no_grad():
        results["eval_logits"] = net(images[0]).numpy()
    return results | {"losses": np.array(losses), "tensors": summarize(numbers(net.state_dict()))}


if __name__ == "__main__":
    torch.manual_seed(0)  # of values that are replaced
    recorded = {f"{case}/{name}": a for case in CASES for name, a in record(case).items()}
    np.savez_compressed(FILE, **recorded)
    print(f"{FILE}: {FILE.stat().st_size / 1024:.0f} kB, PyTorch {torch.__version__}")
