"""A data set with all its labels and their names, whatever files it came from."""

import dataclasses

import numpy as np

from jax_resnet.data.dataset import Split


@dataclasses.dataclass(frozen=True)
class Original:
    """A data set as its authors wrote it.

    Attributes:
        splits: "train" and "test".
        labels: for each split, uint8 `(count, kinds)`; the last kind is that of `splits`.
        names: TFDS's key of each kind of label, in order, and the names of its values.
    """

    splits: dict[str, Split]
    labels: dict[str, np.ndarray]
    names: dict[str, tuple[str, ...]]


def collect(
    images: dict[str, np.ndarray], labels: dict[str, np.ndarray], names: dict[str, tuple[str, ...]]
) -> Original:
    """An `Original` of each split's images, uint8 NHWC, and its labels, `(count, kinds)`."""
    splits = {
        split: Split(np.ascontiguousarray(pixels), labels[split][:, -1].astype(np.int32))
        for split, pixels in images.items()
    }
    return Original(splits, labels, names)


def channels_last(pixels: np.ndarray) -> np.ndarray:
    """Images `(count, 32, 32, 3)` of pixels `(count, 3072)`, channel by channel as CIFAR's are."""
    return pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)


def reordered(original: Original, order: dict[str, list[int]]) -> Original:
    """The data set with each split in the order of these positions."""
    return Original(
        {
            split: Split(each.images[order[split]], each.labels[order[split]])
            for split, each in original.splits.items()
        },
        {split: labels[order[split]] for split, labels in original.labels.items()},
        original.names,
    )
