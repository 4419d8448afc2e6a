"""A case of `benchmark.py`: what is timed, on which batch, and how many operations it takes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

Run = Callable[[int], int]  # runs so many steps or somewhat more; returns how many, when done
CHANNELS = (16, 32, 64)
IMAGE_SHAPE = (32, 32, 3)


@dataclass(frozen=True)
class Case:
    """A step of training, or a forward pass of evaluation, on one batch in memory."""

    mode: Literal["train", "eval"] = "train"
    depth: int = 20
    batch_size: int = 128
    shortcut: Literal["zeropad", "conv1x1"] | None = "zeropad"
    precision: Literal["float32", "default", "bf16"] = "float32"
    devices: int = 1  # virtual ones, on a CPU

    def __str__(self) -> str:
        net = self.shortcut or "plain"
        devices = f", {self.devices} devices" if self.devices > 1 else ""
        sizes = f"depth {self.depth}, batch {self.batch_size}"
        return f"{self.mode}, {sizes}, {net}, {self.precision}{devices}"

    @property
    def flops(self) -> float:
        """Floating-point operations of an image: 2 for each multiplication, of which each weight
        has one a pixel; 3 times as many in training, as the gradients of the input and of the
        kernel each take as many as the value."""
        products, n = 32 * 32 * 27 * 16 + 640, (self.depth - 2) // 6
        for before, channels, side in zip((16, 16, 32), CHANNELS, (32, 16, 8), strict=True):
            products += side**2 * 9 * channels * (before + (2 * n - 1) * channels)
            if self.shortcut == "conv1x1" and before != channels:
                products += side**2 * before * channels
        return 2.0 * products * (3 if self.mode == "train" else 1)


def batch(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Normalized float32 NHWC images and int32 labels."""
    rng = np.random.default_rng(0)
    images = rng.standard_normal((case.batch_size, *IMAGE_SHAPE), np.float32)
    return images, rng.integers(0, 10, case.batch_size, np.int32)
