"""A data set with all its labels, whatever files it came from."""

import dataclasses
import hashlib
from pathlib import Path

import numpy as np

from jax_resnet.data.dataset import Split
from jax_resnet.errors import UserError
from jax_resnet.files import refuse_special


@dataclasses.dataclass(frozen=True)
class Original:
    """A data set as its authors wrote it.

    Attributes:
        images: for each split, "train" and "test", uint8 NHWC.
        labels: for each split, uint8 `(count, kinds)`; the class is the last kind.
    """

    images: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]

    @property
    def splits(self) -> dict[str, Split]:
        """The images of each split with their class."""
        return {
            split: Split(images, self.labels[split][:, -1].astype(np.int32))
            for split, images in self.images.items()
        }


def channels_last(pixels: np.ndarray) -> np.ndarray:
    """Images `(count, 32, 32, 3)` of pixels `(count, 3072)`, channel by channel as CIFAR's are."""
    return np.ascontiguousarray(pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))


def check_bytes(path: Path, what: str, *accepted: str) -> None:
    """Raises a `UserError` unless a file is `what`, byte for byte: its SHA-256 is accepted."""
    refuse_special(path)
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if sha256 not in accepted:
        raise UserError(
            f"{path} is truncated or altered, or not {what}: {path.stat().st_size} bytes with "
            f"SHA-256 {sha256}, expected {' or '.join(accepted)}"
        )
