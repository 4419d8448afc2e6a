"""What is recorded: nets, how they are trained, and the numbers that both implementations start
from. `RandomState` draws the same numbers in every version of NumPy."""

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

FILE = Path(__file__).with_name("recordings.npz")
CLASSES, BATCH = 10, 8
SCHEDULE_STEPS = 8  # the rate drops at 4 and 6
SIGNED_SUMS, ELEMENTS = 4, 8


@dataclass(frozen=True)
class Case:
    """A net and its training with SGD, from the weights and on the images of `draw`."""

    depth: int
    shortcut: Literal["zeropad", "conv1x1", "subsample"] | None
    size: int = 12  # of the images, in pixels
    steps: int = SCHEDULE_STEPS
    nesterov: bool = False
    decay_all: bool = True  # else no weight decay of biases and BatchNorm's parameters

    def __str__(self) -> str:
        net = f"{self.depth}-{self.shortcut or 'plain'}-{self.size}-{self.steps}"
        return net + "-nesterov" * self.nesterov + "-kernels" * (not self.decay_all)


CASES = [
    Case(8, "zeropad", size=32),
    Case(8, "conv1x1", nesterov=True),
    Case(8, "subsample", decay_all=False),
    Case(8, None, nesterov=True, decay_all=False),
    Case(20, "zeropad", nesterov=True, decay_all=False),
    Case(20, "conv1x1", decay_all=False),
    Case(20, "subsample", nesterov=True),
    Case(20, None),
    Case(56, "zeropad", steps=1),
    Case(56, "conv1x1", steps=1),
    Case(56, "subsample", steps=1),
    Case(56, None, steps=1),
]


def draw_tensor(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The initial tensor of PyTorch's name and shape."""
    uniform = np.random.RandomState(zlib.crc32(name.encode())).uniform(-1, 1, shape)
    if name.endswith("running_mean"):
        return np.zeros(shape)
    if name.endswith("running_var"):
        return np.ones(shape)
    if len(shape) == 4:  # a convolution, of He's variance
        return uniform * np.sqrt(6 / (shape[0] * shape[2] * shape[3]))
    if len(shape) == 2 or name == "fc.bias":
        return uniform / 8
    return uniform / 4 + name.endswith("weight")  # BatchNorm's scale and bias


def draw_batches(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Normalized images (steps, batch, height, width, channels) and labels (steps, batch)."""
    rng = np.random.RandomState(zlib.crc32(str(case).encode()))
    pixels = rng.randint(0, 256, (case.steps, BATCH, case.size, case.size, 3))
    return (pixels / 255 - 0.5) / 0.25, rng.randint(0, CLASSES, (case.steps, BATCH))


def summarize(arrays: dict[str, np.ndarray]) -> np.ndarray:
    """A row for each array, by name: sums with random signs, over sqrt(size), and some elements.

    An element that differs changes every sum.
    """
    rows = []
    for _, array in sorted(arrays.items()):
        rng = np.random.RandomState(array.size)
        signs = rng.randint(0, 2, (SIGNED_SUMS, array.size)) * 2 - 1
        chosen = rng.randint(0, array.size, ELEMENTS)
        sums = signs @ array.ravel() / np.sqrt(array.size)
        rows.append(np.concatenate([sums, array.ravel()[chosen]]))
    return np.stack(rows)
