"""`load(dataset)` gives a data set in memory, verified; each source has a module here."""

import os
from collections.abc import Sequence
from typing import Annotated, Literal, assert_never, get_args

from typing_extensions import Doc

from jax_resnet.data.dataset import Dataset, Split, loaded, split_validation, statistics
from jax_resnet.errors import UserError, refuse_given

__all__ = ["DATASETS", "Dataset", "DatasetName", "Split", "load", "split_validation", "statistics"]

_Name = Literal["cifar10", "cifar100", "digits", "folder"]
DATASETS = get_args(_Name)
DatasetName = Annotated[
    _Name,
    Doc(
        "Images to train on: CIFAR, downloaded where it is absent; scikit-learn's digits, which "
        "need no download; or a folder of image files."
    ),
]


def load(
    dataset: DatasetName,
    data_dir: str | os.PathLike[str] | None = None,
    *,
    mirror: str | None = None,
    image_size: Sequence[int] | None = None,
    channels: int | None = None,
    split_proportions: Sequence[float] | None = None,
) -> Dataset:
    """Loads a data set; its validation split is the source's, often empty.

    Args:
        dataset: "cifar10", "cifar100", "digits" or "folder".
        data_dir: for CIFAR, the folder of TFDS's data sets (by default `$TFDS_DATA_DIR` or
            `~/tensorflow_datasets`), the original in its binary or Python version, Hugging Face's
            parquet files, or the cache in which Keras or Hugging Face's hub keeps them; for
            "folder", the images. It has to exist. For "digits" it has no effect.
        mirror: for CIFAR, the http(s) URL to download from if the data is not in `data_dir`: of
            the original archive or of a parquet file; a URL that ends in "/" is that of a folder
            of either.
        image_size: for "folder", `(height, width)` that every image is resized to, in pixels.
        channels: for "folder", 1 for gray or 3 for RGB.
        split_proportions: for "folder" with neither `train` nor `test`, or with `labels.csv`, the
            shares of the training, validation and test images; they sum to 1. By default 0.8, 0.1,
            0.1.

    Raises:
        UserError: for data that is absent, truncated or altered, or an argument that does not fit.
    """
    if dataset not in DATASETS:
        raise UserError(f"`dataset` is {dataset}, expected one of {', '.join(DATASETS)}")
    folder_options: dict[str, object] = {
        "image_size": image_size,
        "channels": channels,
        "split_proportions": split_proportions,
    }
    where = f"with `dataset` {dataset}"
    match dataset:
        case "cifar10" | "cifar100":
            from jax_resnet.data.cifar.load import load_cifar

            refuse_given(folder_options, where)
            return loaded(load_cifar(dataset, data_dir, mirror))
        case "digits":
            from jax_resnet.data.digits import load_digits

            refuse_given({"mirror": mirror} | folder_options, where)
            return loaded(load_digits())
        case "folder":
            from jax_resnet.data.folder import load_folder

            refuse_given({"mirror": mirror}, where)
            return loaded(load_folder(data_dir, image_size, channels, split_proportions))
        case _:
            assert_never(dataset)
