"""Hugging Face's copy of CIFAR-10 and CIFAR-100: a parquet file of PNG images for each split."""

import io
from pathlib import Path

import numpy as np

from jax_resnet.data.cifar import Layout
from jax_resnet.data.cifar.original import Original, check_bytes
from jax_resnet.errors import UserError


def has_parquet(layout: Layout, folder: Path) -> bool:
    """Whether a folder has the files of all splits, by their names."""
    return all((folder / file.name).is_file() for file in layout.parquet.values())


def refuse_half_parquet(layout: Layout, folder: Path) -> None:
    """Raises a `UserError` for a folder that lacks one of the files and has the other, by its name,
    which many data sets use, and its size."""
    files = layout.parquet.values()
    found = [file for file in files if (folder / file.name).is_file()]
    missing = [file.name for file in files if file not in found]
    whole = [file.name for file in found if (folder / file.name).stat().st_size == file.size]
    if missing and whole:
        raise UserError(f"{folder} has {whole[0]}, but no {missing[0]}: expected both")


def has_sizes(layout: Layout, folder: Path) -> bool:
    """Whether these files are as large as Hugging Face's; another revision's are not."""
    files = layout.parquet.values()
    return all((folder / file.name).stat().st_size == file.size for file in files)


def read_parquet(layout: Layout, paths: dict[str, Path]) -> Original:
    """Reads the file of each split; it is parsed only if it is Hugging Face's byte for byte.

    Raises:
        UserError: for a file that is another one.
    """
    images, labels = {}, {}
    for split, path in paths.items():
        check_bytes(path, f"{layout.name}'s", layout.parquet[split].sha256)
        try:
            images[split], labels[split] = _read_split(layout, path)
        except ImportError:
            raise
        # Pillow and pyarrow raise many kinds of error.
        except Exception as error:
            raise UserError(f"{path} can't be read: {error}") from None
    return Original(images, labels)


def _read_split(layout: Layout, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images, uint8 NHWC, and labels, uint8 `(count, kinds)`."""
    import pyarrow.parquet
    from PIL import Image

    table = pyarrow.parquet.read_table(path, columns=["img", *layout.columns])
    images = np.empty((table.num_rows, 32, 32, 3), np.uint8)
    for pixels, cell in zip(images, table["img"], strict=True):
        with Image.open(io.BytesIO(cell["bytes"].as_py()), formats=["PNG"]) as image:
            if (image.mode, image.size) != ("RGB", (32, 32)):
                raise ValueError(f"an image is {image.mode} of {image.size}, expected RGB of 32x32")
            pixels[:] = np.asarray(image)
    labels = np.stack([table[column].to_numpy() for column in layout.columns], axis=1)
    return images, labels.astype(np.uint8)
