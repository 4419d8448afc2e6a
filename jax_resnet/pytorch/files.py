"""Files of PyTorch state dicts, read and written as NumPy arrays by name."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jax_resnet.errors import UserError
from jax_resnet.files import new_file

TORCH_SUFFIXES = (".pt", ".pth", ".th")
SUFFIXES = (".npz", ".safetensors", *TORCH_SUFFIXES)


def read_state_dict(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Arrays by name from `.npz`, `.safetensors`, or, where PyTorch is installed, `.pt`, `.th`.

    Nobody's pickle is opened: `.npz` without objects, PyTorch's files with `weights_only`.

    Raises:
        UserError: naming the file, if it can't be read or holds something else.
    """
    suffix = _suffix(path)
    try:
        if suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                return dict(file)
        if suffix == ".safetensors":
            from safetensors.numpy import load_file

            return load_file(path)
        return _read_torch(path)
    except UserError:
        raise
    except Exception as error:  # each library has its own; what matters is the file's name
        raise UserError(f"{path} can't be read: {error}") from error


def write_state_dict(state: Mapping[str, np.ndarray], path: str | os.PathLike[str]) -> None:
    """Writes arrays by name, in the format that the suffix says; the same ones as are read.

    Raises:
        UserError: if `path` is there already, can't be written, or is of no such format.
    """
    suffix = _suffix(path)
    if suffix in TORCH_SUFFIXES:
        _import_torch(path)
    with new_file(path) as unfinished:
        if suffix == ".npz":
            with unfinished.open("wb") as file:
                # numpy before 2.2 takes `allow_pickle` for an array; mypy, the arrays for it.
                np.savez(file, **dict[str, Any](state))
        elif suffix == ".safetensors":
            from safetensors.numpy import save

            unfinished.write_bytes(save(dict(state)))
        else:
            torch = _import_torch(path)
            tensors = {name: torch.from_numpy(array.copy()) for name, array in state.items()}
            torch.save(tensors, unfinished)


def _suffix(path: str | os.PathLike[str]) -> str:
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise UserError(f"{path} ends in {suffix!r}, expected one of {', '.join(SUFFIXES)}")
    return suffix


def _import_torch(path: str | os.PathLike[str]):  # type: ignore[no-untyped-def]
    try:
        import torch
    except ImportError as error:
        raise UserError(
            f"{path} is of PyTorch's own format, which needs PyTorch: install it, "
            "or use .safetensors or .npz, which both sides read and write"
        ) from error
    return torch


def _read_torch(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    torch = _import_torch(path)
    content = torch.load(path, map_location="cpu", weights_only=True)
    state = content.get("state_dict", content)
    for name, value in state.items():
        if not isinstance(value, torch.Tensor):
            raise UserError(f"{path} holds {name!r}, no tensor: expected a state dict")
    return {
        name: (tensor.float() if tensor.is_floating_point() else tensor).numpy()
        for name, tensor in state.items()
    }
