"""What every source of images gives, its validation split, and its statistics."""

import dataclasses
import hashlib
import itertools
from typing import Annotated, Any, Literal, assert_never

import numpy as np
from typing_extensions import Doc

from jax_resnet.classifier import distinct_names
from jax_resnet.errors import UserError, check_choice, printable

Normalization = Annotated[
    Literal["channel", "pixel"],
    Doc(
        "What images are normalized by: the mean and the standard deviation of each channel, or "
        "the mean of each pixel alone, over the training images."
    ),
]


MIN_STD = 1e-3  # of a channel, in the scale where images are from 0 to 1


@dataclasses.dataclass(frozen=True)
class Split:
    """Images and their labels, in one fixed order; other types and shapes raise a `UserError`.

    Attributes:
        images: uint8, `(count, height, width, channels)`.
        labels: int32, `(count,)`, each in `[0, num_classes)`.
    """

    images: np.ndarray
    labels: np.ndarray

    def __post_init__(self) -> None:
        if self.images.dtype != np.uint8 or self.images.ndim != 4:
            raise UserError(
                f"`images` has type {self.images.dtype} and shape {self.images.shape}, expected "
                "uint8 and (count, height, width, channels)"
            )
        if self.labels.dtype != np.int32 or self.labels.shape != self.images.shape[:1]:
            raise UserError(
                f"`labels` has type {self.labels.dtype} and shape {self.labels.shape}, expected "
                f"int32 and {self.images.shape[:1]}"
            )

    def __len__(self) -> int:
        return len(self.labels)

    def hashes(self) -> list[bytes]:
        """16 bytes for each image and its label; 50,000 CIFAR images take about 0.3 s."""
        labels = self.labels.astype("<u4")
        images = np.ascontiguousarray(self.images)
        return [_hash(x, label.tobytes()) for x, label in zip(images, labels, strict=True)]

    def image_hashes(self) -> list[bytes]:
        """As `hashes`, but of the images alone."""
        return [_hash(image) for image in np.ascontiguousarray(self.images)]


def _hash(image: np.ndarray, person: bytes = b"") -> bytes:
    # `person` is BLAKE2's own input for "the same bytes mean something else here".
    return hashlib.blake2b(image.data, digest_size=16, person=person).digest()


def fingerprint(hashes: list[bytes]) -> str:
    """The hash of an ordered list of hashes, 32 hexadecimal digits."""
    return hashlib.blake2b(b"".join(hashes), digest_size=16).hexdigest()


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set in memory.

    Labels outside `[0, num_classes)`, names that are equal or with control characters, and images
    of another shape than those of `train` raise a `UserError`; so does a name that is no text.

    Attributes:
        name: a `DatasetName`, or any other name, without control characters.
        train: the training images.
        validation: the source's validation images; empty where it has none, and then
            `split_validation` takes some from `train`.
        test: the test images; never used to choose anything.
        class_names: a name for each label; any sequence of names becomes a tuple.
        flippable: whether a mirrored image is still of its class (digits are not).
        is_loaded: whether it is what `load` gave, perhaps with its validation split, and not images
            of your own; `dataclasses.replace` makes a data set that is not.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    class_names: tuple[str, ...]
    flippable: bool
    is_loaded: bool = dataclasses.field(default=False, init=False)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name or printable(self.name) != self.name:
            raise UserError(f"`name` is {self.name!r}, expected text without control characters")
        object.__setattr__(self, "class_names", distinct_names(self.class_names))
        for name in ("train", "validation", "test"):
            labels = getattr(self, name).labels
            if len(labels) and not 0 <= labels.min() <= labels.max() < self.num_classes:
                raise UserError(
                    f"`{name}` has labels from {labels.min()} to {labels.max()}, expected "
                    f"from 0 to {self.num_classes - 1}"
                )
            shape = getattr(self, name).images.shape[1:]
            if len(labels) and shape != self.image_shape:
                raise UserError(
                    f"`{name}` has images of {shape}, expected {self.image_shape} as in `train`"
                )

    @property
    def counts(self) -> dict[str, int]:
        """Number of images of each split."""
        return {name: len(getattr(self, name)) for name in ("train", "validation", "test")}

    def identity(self) -> dict[str, Any]:
        """What a run remembers of its data, as JSON's types.

        Returns:
            `images`, the number in each split; `class_names`; `fingerprints` of each split's images
            and labels, in any order; and `sequence`, one fingerprint of all images in order.
        """
        hashes = {name: getattr(self, name).hashes() for name in self.counts}
        return {
            "images": self.counts,
            "class_names": list(self.class_names),
            "fingerprints": {name: fingerprint(sorted(each)) for name, each in hashes.items()},
            "sequence": fingerprint([*itertools.chain(*hashes.values())]),
        }

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        height, width, channels = self.train.images.shape[1:]
        return height, width, channels


def split_validation(dataset: Dataset, val_fraction: float, seed: int) -> Dataset:
    """Moves `round(val_fraction * len(train))` random training images into validation.

    A data set that has validation images is returned unchanged. The images that stay in `train`
    keep their order; so do those that move.

    Args:
        dataset: as loaded.
        val_fraction: of the training images, in [0, 1); 0 leaves validation empty.
        seed: non-negative; the same seed draws the same images.

    Raises:
        UserError: for a fraction outside [0, 1), or one that leaves a split without images; or for
            another seed.
    """
    if not 0 <= val_fraction < 1:
        raise UserError(f"`val_fraction` is {val_fraction}, expected a number from 0 to below 1")
    if not isinstance(seed, int | np.integer) or seed < 0:
        raise UserError(f"`seed` is {seed!r}, expected an integer of 0 or more")
    if val_fraction == 0 or len(dataset.validation):
        return dataset
    train, total = dataset.train, len(dataset.train)
    count = round(val_fraction * total)
    if not 0 < count < total:
        raise UserError(
            f"`val_fraction` is {val_fraction}, {count} of {total} training images: expected "
            f"from 1 to {total - 1} images, or the fraction 0"
        )
    moved = np.zeros(total, dtype=bool)
    moved[np.random.default_rng(seed).permutation(total)[:count]] = True
    divided = dataclasses.replace(
        dataset,
        train=Split(train.images[~moved], train.labels[~moved]),
        validation=Split(train.images[moved], train.labels[moved]),
    )
    return loaded(divided) if dataset.is_loaded else divided


def loaded(dataset: Dataset) -> Dataset:
    """The same data set, which says from now on that it `is_loaded`."""
    same = dataclasses.replace(dataset)
    object.__setattr__(same, "is_loaded", True)
    return same


def statistics(images: np.ndarray, normalization: Normalization) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of images scaled to [0, 1].

    Args:
        images: uint8, `(count, height, width, channels)`.
        normalization: "channel" for both of each channel; "pixel" for the mean of each pixel and
            a deviation of 1 (He et al., section 4.2).

    Returns:
        float64 mean, `(channels,)` or `(height, width, channels)`, and std, `(channels,)`, of at
        least `MIN_STD`, so that images of one value can be divided by it.

    Raises:
        UserError: for another `normalization`.
    """
    check_choice("normalization", normalization, Normalization)
    channels = images.shape[-1]
    match normalization:
        case "channel":
            counts = [np.bincount(images[..., c].ravel(), minlength=256) for c in range(channels)]
            levels, total = np.arange(256) / 255, images[..., 0].size
            mean = np.array([count @ levels for count in counts]) / total
            square = np.array([count @ levels**2 for count in counts]) / total
            variance = square - mean**2  # where it is 0, rounding can make it negative
            return mean, np.sqrt(np.maximum(variance, MIN_STD**2))
        case "pixel":
            return images.mean(axis=0, dtype=np.float64) / 255, np.ones(channels)
        case _:
            assert_never(normalization)
