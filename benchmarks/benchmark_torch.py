"""The net and the step of `benchmark.py` in PyTorch, channels_last."""

from typing import Any

import torch
from benchmark_steps import CHANNELS, Case, Run, batch
from torch import nn
from torch.nn import functional


class Block(nn.Module):
    def __init__(self, before: int, channels: int, stride: int, kind: str | None) -> None:
        super().__init__()
        self.kind = kind
        self.missing, self.stride = channels - before, stride
        self.conv1 = nn.Conv2d(before, channels, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.norm1, self.norm2 = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)
        if kind == "conv1x1" and stride == 2:
            shortcut = nn.Conv2d(before, channels, 1, 2, bias=False)
            self.shortcut = nn.Sequential(shortcut, nn.BatchNorm2d(channels))

    def forward(self, x: Any) -> Any:
        y = functional.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        if self.kind is None:
            return functional.relu(y)
        if self.stride == 2 and self.kind == "conv1x1":
            x = self.shortcut(x)
        elif self.stride == 2:
            x = functional.pad(functional.max_pool2d(x, 2), (0, 0, 0, 0, 0, self.missing))
        return functional.relu(y + x)


def make_run(case: Case, compiled: bool) -> Run:
    """Steps on one batch, eager or compiled."""
    layers: list[Any] = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    for before, channels in zip((16, *CHANNELS), CHANNELS, strict=False):
        layers.append(Block(before, channels, 1 if before == channels else 2, case.shortcut))
        layers += [
            Block(channels, channels, 1, case.shortcut) for _ in range((case.depth - 2) // 6 - 1)
        ]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if case.precision == "tf32":
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.allow_tf32 = True
    elif device == "cuda":
        torch.backends.cudnn.allow_tf32 = False
    net: Any = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))
    net = net.to(device, memory_format=torch.channels_last).train(case.mode == "train")
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9, weight_decay=1e-4)
    net = torch.compile(net) if compiled else net
    images, labels = (torch.from_numpy(each).to(device) for each in batch(case))
    images = images.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
    cast = torch.autocast(device, torch.bfloat16, enabled=case.precision == "bf16")

    def run(steps: int) -> int:
        for _ in range(steps):
            with cast, torch.set_grad_enabled(case.mode == "train"):
                logits = net(images)
            if case.mode == "train":
                optimizer.zero_grad()
                functional.cross_entropy(logits.float(), labels.long()).backward()
                optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()
        return steps

    return run
