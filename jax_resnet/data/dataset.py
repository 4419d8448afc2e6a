"""What every source of images gives, and how a validation split is taken from it."""

import dataclasses

import numpy as np

from jax_resnet.errors import UserError


@dataclasses.dataclass(frozen=True)
class Split:
    """Images and their labels, in one fixed order.

    Attributes:
        images: uint8, `(count, height, width, channels)`.
        labels: int32, `(count,)`, each in `[0, num_classes)`.
    """

    images: np.ndarray
    labels: np.ndarray

    def __post_init__(self) -> None:
        if self.images.dtype != np.uint8 or self.images.ndim != 4:
            raise ValueError(
                f"images must be uint8 NHWC, got {self.images.dtype} {self.images.shape}"
            )
        if self.labels.dtype != np.int32 or self.labels.shape != self.images.shape[:1]:
            raise ValueError(
                f"labels must be int32 of shape {self.images.shape[:1]}, "
                f"got {self.labels.dtype} {self.labels.shape}"
            )

    def __len__(self) -> int:
        return len(self.labels)


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set in memory.

    Attributes:
        name: as in `--dataset`.
        train: the training images.
        validation: the source's own validation images; empty where it has none,
            and then `split_validation` takes some from `train`.
        test: the test images; never used to choose anything.
        class_names: a name for each label.
        flippable: whether a mirrored image is still of its class (digits are not).
    """

    name: str
    train: Split
    validation: Split
    test: Split
    class_names: tuple[str, ...]
    flippable: bool

    def __post_init__(self) -> None:
        for name in ("train", "validation", "test"):
            labels = getattr(self, name).labels
            if len(labels) and not 0 <= labels.min() <= labels.max() < self.num_classes:
                raise ValueError(
                    f"{self.name}: {name} labels lie in [{labels.min()}, {labels.max()}], "
                    f"expected [0, {self.num_classes - 1}]"
                )

    @property
    def counts(self) -> dict[str, int]:
        """Number of images of each split."""
        return {name: len(getattr(self, name)) for name in ("train", "validation", "test")}

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        height, width, channels = self.train.images.shape[1:]
        return height, width, channels


def split_validation(dataset: Dataset, fraction: float, seed: int) -> Dataset:
    """Moves `round(fraction * len(train))` training images, drawn by `seed`, into validation.

    A data set with a validation split of its own keeps it, and its training images, unchanged.
    The images that stay in `train` keep their order; so do those that move.

    Args:
        dataset: as loaded.
        fraction: of the training images, in [0, 1); 0 leaves validation empty.
        seed: non-negative; the same seed draws the same images.

    Raises:
        UserError: for a fraction outside [0, 1), or one that leaves a split without images.
    """
    if not 0 <= fraction < 1:
        raise UserError(f"--val-fraction {fraction}: expected a number from 0 to below 1")
    if fraction == 0 or len(dataset.validation):
        return dataset
    total = len(dataset.train)
    count = round(fraction * total)
    if not 0 < count < total:
        raise UserError(
            f"--val-fraction {fraction} of {total} training images is {count}: "
            f"expected from 1 to {total - 1} images, or the fraction 0"
        )
    moved = np.zeros(total, dtype=bool)
    moved[np.random.default_rng(seed).permutation(total)[:count]] = True
    train = dataset.train
    return dataclasses.replace(
        dataset,
        train=Split(train.images[~moved], train.labels[~moved]),
        validation=Split(train.images[moved], train.labels[moved]),
    )


def statistics(images: np.ndarray, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of uint8 NHWC images scaled to [0, 1]: by channel, or the mean by pixel
    and no deviation (paper, 4.2)."""
    counts = [np.bincount(images[..., c].ravel(), minlength=256) for c in range(images.shape[-1])]
    levels, total = np.arange(256) / 255, images[..., 0].size
    mean = np.array([count @ levels for count in counts]) / total
    std = np.sqrt(np.array([count @ levels**2 for count in counts]) / total - mean**2)
    if kind == "pixel":
        return images.mean(axis=0, dtype=np.float64) / 255, np.ones_like(std)
    return mean, np.maximum(std, 1e-3)
