"""Files of PyTorch state dicts, as NumPy arrays by name."""

import io
import os
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jax_resnet.errors import UserError
from jax_resnet.files import check_readable, new_file

TORCH_SUFFIXES = (".pt", ".pth", ".th")
SUFFIXES = (".npz", ".safetensors", *TORCH_SUFFIXES)
READ_SUFFIXES = (*SUFFIXES, ".pth.tar", ".ckpt", ".bin")  # other names of PyTorch's format
ENTRIES = ("state_dict", "model_state_dict", "model", "net")  # of checkpoints, with a state dict


def read_state_dict(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Reads arrays by name from a file that ends in one of `READ_SUFFIXES`.

    All but `.npz` and `.safetensors` need PyTorch, and may have the arrays in one of `ENTRIES`. No
    pickled object is loaded: `.npz` is read without objects, PyTorch's with `weights_only`.

    Raises:
        UserError: naming the file, if it can't be read or is not a state dict.
    """
    suffix = _suffix(path, READ_SUFFIXES)
    check_readable(path)
    try:
        if suffix == ".npz":
            return _read_npz(path)
        if suffix == ".safetensors":
            from safetensors.numpy import load_file

            try:
                return load_file(path)
            except AttributeError as error:  # of NumPy, for a name of a dtype
                raise UserError(
                    f"{path} has numbers of a type that NumPy lacks ({error}), expected float16, "
                    "bfloat16, float32 or float64"
                ) from error
        return _read_torch(path)
    except UserError:
        raise
    except Exception as error:  # each library raises others
        raise UserError(f"{path} can't be read: {str(error).partition(chr(10))[0]}") from error


def write_state_dict(state: Mapping[str, np.ndarray], path: str | os.PathLike[str]) -> None:
    """Writes arrays by name, in the format of the suffix: one of `SUFFIXES`.

    Raises:
        UserError: if `path` exists, can't be written, or has another suffix.
    """
    suffix = _suffix(path, SUFFIXES)
    if suffix in TORCH_SUFFIXES:
        _import_torch(path)
    with new_file(path) as unfinished:
        whole = io.BytesIO()  # the libraries' own writers say less of what is in the way
        if suffix == ".npz":
            # numpy before 2.2 takes `allow_pickle` for an array; mypy, the arrays for it.
            np.savez(whole, **dict[str, Any](state))
        elif suffix == ".safetensors":
            from safetensors.numpy import save

            whole.write(save(dict(state)))
        else:
            torch = _import_torch(path)
            tensors = {name: torch.from_numpy(array.copy()) for name, array in state.items()}
            torch.save(tensors, whole)
        unfinished.write_bytes(whole.getbuffer())


def _suffix(path: str | os.PathLike[str], known: tuple[str, ...]) -> str:
    name = Path(path).name.lower()
    for suffix in known:
        if name.endswith(suffix):
            return suffix
    raise UserError(f"{path} ends in {Path(path).suffix!r}, expected one of {', '.join(known)}")


def _import_torch(path: str | os.PathLike[str]):  # type: ignore[no-untyped-def]
    try:
        import torch
    except ImportError as error:
        raise UserError(
            f"{path} needs PyTorch for its format: install PyTorch, or use .safetensors or "
            ".npz, which need none"
        ) from error
    return torch


def _read_npz(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    file = np.load(path, allow_pickle=False)
    if isinstance(file, np.ndarray):
        raise UserError(f"{path} holds one array without a name, expected arrays by name")
    with file:
        return dict(file)


def _read_torch(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    torch = _import_torch(path)
    try:
        with warnings.catch_warnings(action="ignore"):  # of formats that are refused below
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a file that is not a pickle raises nearly anything
        if "TorchScript" in str(error):
            raise UserError(
                f"{path} holds a TorchScript program: save its state dict, as "
                "`torch.save(torch.jit.load(...).state_dict(), ...)`"
            ) from error
        if found := re.search(r"GLOBAL (\S+)", str(error)):
            raise UserError(
                f"{path} holds an object of {found[1]}, and only tensors are loaded: save the "
                "state dict by itself, as `torch.save(model.state_dict(), ...)`"
            ) from error
        raise UserError(
            f"{path} is damaged, or not a file of PyTorch: expected one of "
            "`torch.save(model.state_dict(), ...)`"
        ) from error
    if not isinstance(content, Mapping):
        raise UserError(f"{path} holds a {type(content).__name__}, expected a state dict")
    nets = _find_nets(content, torch)
    if len(nets) > 1:
        raise UserError(
            f"{path} holds several nets, under {', '.join(map(repr, nets))}: save the state dict "
            "of one by itself"
        )
    named = [name for name in ENTRIES if isinstance(content.get(name), Mapping)]
    named.sort(key=lambda name: name not in nets)  # one that is empty comes last
    state = content[named[0]] if named else content
    for name, value in state.items():
        if not isinstance(value, torch.Tensor):
            raise UserError(
                f"{path} has {name!r}, which is not a tensor, expected a state dict, or one under "
                f"{', '.join(ENTRIES)}"
            )
    return {
        name: (tensor.float() if tensor.is_floating_point() else tensor).detach().numpy()
        for name, tensor in state.items()
    }


def _find_nets(content: Mapping[Any, Any], torch: Any) -> list[str]:
    """Names, by dots, of the nets in a checkpoint: of its entries those with a kernel, and at any
    depth what has kernels of all the same shapes."""
    found = dict(_find_kernels(content, torch, ()))
    entries = {(), *((str(key),) for key, each in content.items() if isinstance(each, Mapping))}
    nets = entries & found.keys()
    nets |= {path for path in found if any(found[path] >= found[net] for net in nets)}
    return [".".join(path) or "its top level" for path in found if path in nets]


def _find_kernels(
    content: Any, torch: Any, path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], Counter[Any]]]:
    """The shapes of the kernels in each mapping and list, but those that an optimizer keeps."""
    if not isinstance(content, Mapping | list | tuple):
        return
    entries = dict(content if isinstance(content, Mapping) else enumerate(content))
    tensors = [each for each in entries.values() if isinstance(each, torch.Tensor)]
    if shapes := Counter(each.shape for each in tensors if each.ndim == 4):
        yield path, shapes
    for key, entry in entries.items():
        if not str(key).startswith(("optim", "momentum", "grad")):
            yield from _find_kernels(entry, torch, (*path, str(key)))
