"""CIFAR's "Python version", whose files are pickles: read, but none of what they ask for is run.

A pickle can name any function and have it called. Here it gets none: the three names of NumPy's
that an array needs stand for objects that only record what the pickle says of the array, and every
other name is refused. The array is then made from these records, and not by NumPy's own functions:
the state of a `dtype` can make it read bytes as pointers.
"""

import io
import pickle
import pickletools
from pathlib import Path
from typing import Any

import numpy as np

from jax_resnet.data.cifar import Layout
from jax_resnet.data.cifar.original import Original, channels_last
from jax_resnet.errors import UserError

MAX_MEMO = 2**20  # objects that a pickle refers back to; the genuine ones have some 10,000
_ARRAY_NAMES = (
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
)


def read_pickled(layout: Layout, contents: dict[str, bytes], path: Path) -> Original:
    """The data set in the contents of its files; `path` is what messages name.

    Raises:
        UserError: for a pickle that holds anything but what CIFAR's hold, or too few images.
    """
    images, labels = {}, {}
    try:
        for split, files in layout.pickled_files.items():
            batches = [_unpickle(contents[file]) for file in files]
            pixels = np.concatenate([_pixels(batch[b"data"]) for batch in batches])
            columns = [
                np.concatenate([np.array(batch[key], np.uint8) for batch in batches])
                for key in layout.pickled_labels
            ]
            labels[split] = np.stack(columns, axis=1)
            if pixels.shape != (layout.counts[split], 3072) or len(labels[split]) != len(pixels):
                raise ValueError(f"{', '.join(files)} have {len(pixels)} images")
            images[split] = channels_last(pixels)
    # A damaged or hostile pickle can make the unpickler raise nearly anything.
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise UserError(f"{path} is truncated or altered: {reason}") from None
    return Original(images, labels)


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
        if (module, name) not in _ARRAY_NAMES:
            raise pickle.UnpicklingError(
                f"it asks for {module}.{name}, expected nothing but arrays"
            )
        # A new function each time: what a pickle sets on one of them is gone with it.
        return lambda *arguments: _Record(arguments)


class _Record:
    """What a pickle says of an array, or of an array's type."""

    __slots__ = ("arguments", "state")

    def __init__(self, arguments: tuple[Any, ...]) -> None:
        self.arguments = arguments

    def __setstate__(self, state: Any) -> None:
        self.state = state


def _pixels(array: Any) -> np.ndarray:
    """uint8 `(count, 3072)`; raises a ValueError for another array."""
    _, shape, dtype, is_fortran, content = array.state
    code = dtype.arguments[0]
    code = code.decode() if isinstance(code, bytes) else code
    if (code, bool(is_fortran)) != ("u1", False) or not isinstance(content, bytes):
        order = " in Fortran order" if is_fortran else ""
        raise ValueError(f"it holds an array of {code}{order}, expected u1 in C order")
    return np.frombuffer(content, np.uint8).reshape(shape)
