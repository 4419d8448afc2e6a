"""The file of a Classifier: named arrays and a header in safetensors, under a checksum."""

import hashlib
import json
import os
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from jax_resnet.errors import UserError
from jax_resnet.files import check_readable, replace_file

FORMAT = "jax_resnet.Classifier/2"
FORMATS = ("jax_resnet.Classifier/1", FORMAT)  # 1 has the arrays alone under its checksum
CLASSIFIER_FILE = "classifier.safetensors"  # in the folder of a finished run
DTYPES = {"float16": "F16", "float32": "F32", "float64": "F64"}  # by NumPy's names


def write_arrays(path: str | os.PathLike[str], header: str, arrays: dict[str, np.ndarray]) -> None:
    """Writes a header and arrays of `DTYPES`; an existing file is replaced atomically.

    Equal arguments, whatever the order of the arrays, always give the same bytes.
    """
    arrays = {name: arrays[name] for name in sorted(arrays)}
    arrays = {name: x.astype(x.dtype.newbyteorder("<")) for name, x in arrays.items()}
    metadata = {"format": FORMAT, "classifier": header, "sha256": digest(arrays, header)}
    replace_file(path, _encode(arrays, metadata))


def read_arrays(path: str | os.PathLike[str]) -> tuple[str, dict[str, np.ndarray]]:
    """The header and the arrays of a file that this or an earlier version wrote.

    Raises:
        UserError: if the file does not exist, is of another format, or does not match its checksum.
    """
    check_readable(path)
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") not in FORMATS:
                raise ValueError(f"its header lacks {FORMAT!r}")
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except Exception as error:  # for a dtype unknown to NumPy, nearly anything
        raise UserError(
            f"{path} can't be read as a Classifier file: {error}; if it holds weights of PyTorch, "
            "`jax-resnet convert` makes a Classifier file of it"
        ) from error
    header = metadata.get("classifier", "")
    covered = header if metadata["format"] == FORMAT else ""
    if metadata.get("sha256") != digest(arrays, covered):
        raise UserError(f"{path} is damaged: its content does not match its checksum")
    return header, arrays


def is_classifier_file(path: str | os.PathLike[str]) -> bool:
    """Whether a file says that it is a Classifier's; False if there is none.

    Raises:
        UserError: if it can't be opened.
    """
    if not os.path.exists(path):
        return False
    check_readable(path)
    try:
        with safe_open(path, framework="numpy") as file:
            return (file.metadata() or {}).get("format") in FORMATS
    except (OSError, SafetensorError):
        return False


def digest(arrays: dict[str, np.ndarray], header: str = "") -> str:
    """SHA-256 over names, dtypes, shapes and bytes, in the names' order, and the header."""
    sha256 = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        sha256.update(f"{name} {array.dtype} {array.shape} ".encode())
        sha256.update(array.tobytes())
    sha256.update(header.encode())
    return sha256.hexdigest()


def _encode(arrays: dict[str, np.ndarray], metadata: dict[str, str]) -> bytes:
    """A safetensors file with equal bytes for equal nets: the library's metadata has no order."""
    header: dict[str, Any] = {"__metadata__": metadata}
    end = 0
    for name, array in arrays.items():
        start, end = end, end + array.nbytes
        header[name] = {
            "dtype": DTYPES[array.dtype.name],
            "shape": array.shape,
            "data_offsets": [start, end],
        }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return b"".join(
        [len(text).to_bytes(8, "little"), text, *(a.tobytes() for a in arrays.values())]
    )
