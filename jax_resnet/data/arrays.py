"""Labeled images in two .npy files, such as CIFAR-10.1 and CIFAR-10-C."""

from pathlib import Path

import numpy as np

from jax_resnet.data.dataset import Split
from jax_resnet.errors import UserError
from jax_resnet.files import refuse_special


def read_arrays(
    images: Path, labels: Path, image_shape: tuple[int, int, int], num_classes: int
) -> Split:
    """Reads images and their labels, in the order of the files.

    Args:
        images: a file with uint8 `(count, height, width, channels)`, at least one image.
        labels: a file with integers of any type, `(count,)`, each in `[0, num_classes)`.
        image_shape: the height, width and channels that the images must have.
        num_classes: of the labels.

    Raises:
        UserError: for files that hold anything else.
    """
    pixels, classes = _load(images), _load(labels)
    size = ", ".join(map(str, image_shape))
    if pixels.dtype != np.uint8 or pixels.shape[1:] != image_shape or not len(pixels):
        raise UserError(
            f"{images} has type {pixels.dtype} and shape {pixels.shape}, expected uint8 and "
            f"(count, {size})"
        )
    if classes.dtype.kind not in "iu" or classes.shape != (len(pixels),):
        raise UserError(
            f"{labels} has type {classes.dtype} and shape {classes.shape}, expected integers and "
            f"({len(pixels)},), a label for each image in {images}"
        )
    if not 0 <= classes.min() <= classes.max() < num_classes:
        raise UserError(
            f"{labels} has labels from {classes.min()} to {classes.max()}, expected from 0 to "
            f"{num_classes - 1}"
        )
    return Split(np.array(pixels), classes.astype(np.int32))


def _load(path: Path) -> np.ndarray:
    refuse_special(path)
    try:
        # Unlike `np.load`, it never takes a file for a pickle; nor does it allocate what the
        # header claims.
        return np.lib.format.open_memmap(path, mode="r")
    # A damaged header can make NumPy raise nearly anything.
    except Exception as error:
        raise UserError(f"{path} can't be read as .npy: {error}") from None
