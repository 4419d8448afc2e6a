"""What every source of images gives, and how a validation split is taken from it."""

import dataclasses

import numpy as np


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
            raise ValueError(f"images must be uint8 NHWC, got {self.images.dtype} {self.images.shape}")
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
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        height, width, channels = self.train.images.shape[1:]
        return height, width, channels
