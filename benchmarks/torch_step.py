"""The net and the step of `benchmark.py` in PyTorch, channels_last."""

from collections.abc import Callable
from typing import Any

import torch
from case import CHANNELS, Case, Run, batch
from torch import nn
from torch.nn import functional


class Block(nn.Module):
    def __init__(self, before: int, channels: int, case: Case) -> None:
        super().__init__()
        self.is_plain = case.shortcut is None
        stride = 1 if before == channels else 2
        self.conv1 = nn.Conv2d(before, channels, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.norm1, self.norm2 = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)
        self.shortcut: nn.Module = nn.Identity()
        if case.shortcut == "conv1x1" and stride == 2:
            conv = nn.Conv2d(before, channels, 1, 2, bias=False)
            self.shortcut = nn.Sequential(conv, nn.BatchNorm2d(channels))
        elif case.shortcut == "zeropad" and stride == 2:
            pad = nn.ZeroPad3d((0, 0, 0, 0, 0, channels - before))
            self.shortcut = nn.Sequential(nn.MaxPool2d(2), pad)

    def forward(self, x: Any) -> Any:
        y = functional.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        return functional.relu(y if self.is_plain else y + self.shortcut(x))


def make_run(case: Case, mode: str | None = None) -> Run:
    """Steps on one batch: eager (None), as one CUDA graph of the eager step ("graph"), or compiled,
    loss and optimizer too, with a `mode` of `torch.compile`."""
    layers: list[Any] = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    for before, channels in zip((16, *CHANNELS), CHANNELS, strict=False):
        layers.append(Block(before, channels, case))
        layers += [Block(channels, channels, case) for _ in range((case.depth - 2) // 6 - 1)]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    fast = case.precision == "default"
    torch.set_float32_matmul_precision("high" if fast else "highest")
    torch.backends.cudnn.allow_tf32 = fast
    torch.backends.cudnn.benchmark = True
    net: Any = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))
    net = net.to(device, memory_format=torch.channels_last).train(case.mode == "train")
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9, weight_decay=1e-4, fused=True)
    images, labels = (torch.from_numpy(each).to(device) for each in batch(case))
    images = images.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
    labels = labels.long()

    def step() -> Any:
        cast = torch.autocast(device, torch.bfloat16, enabled=case.precision == "bf16")
        with cast, torch.set_grad_enabled(case.mode == "train"):
            logits = net(images)
        if case.mode == "train":
            functional.cross_entropy(logits.float(), labels).backward()
            optimizer.step()
            optimizer.zero_grad()
        return logits  # or else a compiled evaluation computes nothing

    if mode == "graph":
        step = graph(step)
    elif mode is not None:
        step = torch.compile(step, mode=mode)

    def run(steps: int) -> int:
        for _ in range(steps):
            step()
        if device == "cuda":
            torch.cuda.synchronize()
        return steps

    return run


def graph(step: Callable[[], Any]) -> Callable[[], None]:
    """What a step launches, recorded once and launched as a whole."""
    stream, recorded = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):  # cuDNN chooses its algorithms
            step()
    torch.cuda.current_stream().wait_stream(stream)
    with torch.cuda.graph(recorded):
        step()
    return recorded.replay
