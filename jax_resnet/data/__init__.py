"""`load(name)` gives a data set in memory, verified; one file here for every source."""

import os
from collections.abc import Sequence

from jax_resnet.data.dataset import Dataset, Split, split_validation, statistics
from jax_resnet.errors import UserError

__all__ = ["DATASETS", "Dataset", "Split", "load", "split_validation", "statistics"]

DATASETS = ("cifar10", "cifar100", "digits", "folder")


def load(
    name: str,
    data_dir: str | os.PathLike[str] | None = None,
    *,
    mirror: str | None = None,
    image_size: Sequence[int] | None = None,
    channels: int | None = None,
    split_proportions: Sequence[float] | None = None,
) -> Dataset:
    """Loads a data set; its validation split is the source's own, often empty.

    Args:
        name: one of `DATASETS`.
        data_dir: for CIFAR, where TFDS keeps its data sets (by default TFDS's own place), or what
            holds the original binary version; for "folder", the images. "digits" needs none.
        mirror: for CIFAR, the http(s) URL to download the original archive from, should the data
            not be in `data_dir`; one that ends in "/" is the folder that the archive lies in.
        image_size: for "folder", `(height, width)` that every image is resized to, in pixels.
        channels: for "folder", 1 for gray or 3 for RGB.
        split_proportions: for "folder" without `train` and `test` folders, the shares of the
            training, validation and test images; they sum to 1. By default 0.8, 0.1, 0.1.

    Raises:
        UserError: if the data cannot be had, is not what it should be, or an option does not suit.
    """
    if name not in DATASETS:
        raise UserError(f"--dataset {name}: expected one of {', '.join(DATASETS)}")
    is_cifar = name.startswith("cifar")
    for flag, value, suits in (
        ("--mirror", mirror, is_cifar),
        ("--image-size", image_size, name == "folder"),
        ("--channels", channels, name == "folder"),
        ("--split-proportions", split_proportions, name == "folder"),
    ):
        if value is not None and not suits:
            only = "cifar10 and cifar100" if flag == "--mirror" else "folder"
            raise UserError(f"{flag} {value}: not for --dataset {name}, only for {only}")
    if is_cifar:
        from jax_resnet.data.cifar.load import load_cifar

        return load_cifar(name, data_dir, mirror)
    if name == "folder":
        from jax_resnet.data.folder import load_folder

        return load_folder(data_dir, image_size, channels, split_proportions)
    from jax_resnet.data.digits import load_digits

    return load_digits()
