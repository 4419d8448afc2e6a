"""CIFAR's "Python version", whose files are pickles: read, but none of what they ask for is run.

A pickle can name any function and have it called. Here it gets none: the three names of NumPy's
that an array needs stand for objects that only record what the pickle says of the array, and every
other name is refused. The array is then made from these records.
"""

import io
import pickle
import pickletools
from pathlib import Path
from typing import Any

import numpy as np

from jax_resnet.data.cifar import Layout
from jax_resnet.data.cifar.original import Original, channels_last, collect
from jax_resnet.errors import UserError

MAX_MEMO = 2**20  # objects that a pickle refers back to; the genuine ones have some 10,000


def read_pickled(layout: Layout, contents: dict[str, bytes], path: Path) -> Original:
    """The data set in the contents of its files; `path` is what messages name.

    Raises:
        UserError: for a pickle that holds anything but what CIFAR's hold, or too few images.
    """
    images, labels = {}, {}
    try:
        meta = _unpickle(contents[layout.pickled_names])
        names = {
            key: tuple(bytes(name).decode("utf-8", "replace") for name in meta[names_key])
            for key, (_, names_key) in layout.pickled_labels.items()
        }
        for split, files in layout.pickled_files.items():
            batches = [_unpickle(contents[file]) for file in files]
            pixels = np.concatenate([batch[b"data"].pixels() for batch in batches])
            columns = [
                np.concatenate([np.array(batch[key], np.uint8) for batch in batches])
                for key, _ in layout.pickled_labels.values()
            ]
            labels[split] = np.stack(columns, axis=1)
            if pixels.shape != (layout.counts[split], 3072) or len(labels[split]) != len(pixels):
                raise ValueError(f"{', '.join(files)} have {len(pixels)} images")
            images[split] = channels_last(pixels)
    # A damaged or hostile pickle can make the unpickler raise nearly anything.
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise UserError(f"{path} is truncated or altered: {reason}") from None
    return collect(images, labels, names)


def _unpickle(content: bytes) -> dict[bytes, Any]:
    for opcode, argument, _ in pickletools.genops(content):
        # The unpickler makes a table of this length at once.
        if (
            opcode.name in ("PUT", "BINPUT", "LONG_BINPUT")
            and not 0 <= int(argument or 0) < MAX_MEMO
        ):
            raise pickle.UnpicklingError(f"it refers to object {argument}")
    value = _Unpickler(io.BytesIO(content), encoding="bytes").load()
    if not isinstance(value, dict):
        raise pickle.UnpicklingError(f"it holds a {type(value).__name__}, expected a dict")
    return value


class _Unpickler(pickle.Unpickler):
    """Admits bytes, text, numbers, lists, dicts and what is written of arrays."""

    def find_class(self, module: str, name: str) -> Any:
        # New functions each time: what a pickle sets on one of them is gone with it.
        match module, name:
            case (("numpy.core.multiarray" | "numpy._core.multiarray"), "_reconstruct"):
                return lambda *_: _Array()
            case "numpy", "dtype":
                return lambda code, *_: _Dtype(code)
            case "numpy", "ndarray":
                return lambda *_: None
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, expected nothing but arrays")


class _Dtype:
    """What a pickle says of an array's type."""

    __slots__ = ("code",)

    def __init__(self, code: Any) -> None:
        self.code = code.decode() if isinstance(code, bytes) else code

    def __setstate__(self, state: Any) -> None:
        """The order of bytes and the like, which `pixels` has no need of."""


class _Array:
    """What a pickle says of an array."""

    __slots__ = ("state",)

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def pixels(self) -> np.ndarray:
        """uint8 `(count, 3072)`; raises a ValueError for another array."""
        _, shape, dtype, is_fortran, content = self.state
        if (dtype.code, bool(is_fortran)) != ("u1", False) or not isinstance(content, bytes):
            order = " in Fortran order" if is_fortran else ""
            raise ValueError(f"it holds an array of {dtype.code}{order}, expected u1 in C order")
        return np.frombuffer(content, np.uint8).reshape(shape)
