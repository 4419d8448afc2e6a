"""PyTorch state dicts to `Classifier`s and back, for the two families of names in use.

The article's (`conv2x.0.conv1.0.weight`, `fc.weight`) and the well-known akamaster's
(`module.layer1.0.conv1.weight`, `linear.weight`); a family is recognised by its keys.
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from jax_resnet.classifier import Classifier
from jax_resnet.errors import UserError
from jax_resnet.model import STAGE_CHANNELS, ResNet, Shortcut

CIFAR10_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip

PREFIX = "module."  # what torch.nn.DataParallel puts before every name


@dataclass(frozen=True)
class Family:
    """How one PyTorch implementation names its layers; `{s}` is a stage, `{b}` a block from 0."""

    name: str
    stem_conv: str
    stem_norm: str
    first_stage: int
    conv: str
    norm: str
    shortcut_conv: str
    shortcut_norm: str
    head: str
    shortcut: Shortcut  # what it does without weights
    mean: tuple[float, float, float]  # of its inputs, per RGB channel scaled to [0, 1]
    std: tuple[float, float, float]


FAMILIES = (
    Family(
        name="article",
        stem_conv="conv1.0",
        stem_norm="conv1.1",
        first_stage=2,
        conv="conv{s}x.{b}.conv{k}.0",
        norm="conv{s}x.{b}.conv{k}.1",
        shortcut_conv="conv{s}x.{b}.conv1x1.0",
        shortcut_norm="conv{s}x.{b}.conv1x1.1",
        head="fc",
        shortcut="zeropad",
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2023, 0.1994, 0.2010),
    ),
    Family(
        name="akamaster",
        stem_conv="conv1",
        stem_norm="bn1",
        first_stage=1,
        conv="layer{s}.{b}.conv{k}",
        norm="layer{s}.{b}.bn{k}",
        shortcut_conv="layer{s}.{b}.shortcut.0",
        shortcut_norm="layer{s}.{b}.shortcut.1",
        head="linear",
        shortcut="subsample",
        mean=(0.485, 0.456, 0.406),  # ImageNet's, as that implementation was trained
        std=(0.229, 0.224, 0.225),
    ),
)

# For each kind of layer: PyTorch's name, the Flax collection and name, and the order of the
# PyTorch axes in Flax's array (OIHW to HWIO, and (out, in) to (in, out)).
Kind = Literal["conv", "norm", "dense"]
TENSORS: dict[Kind, tuple[tuple[str, str, str, tuple[int, ...]], ...]] = {
    "conv": (("weight", "params", "kernel", (2, 3, 1, 0)),),
    "norm": (
        ("weight", "params", "scale", (0,)),
        ("bias", "params", "bias", (0,)),
        ("running_mean", "batch_stats", "mean", (0,)),
        ("running_var", "batch_stats", "var", (0,)),
    ),
    "dense": (
        ("weight", "params", "kernel", (1, 0)),
        ("bias", "params", "bias", (0,)),
    ),
}


def layers(family: Family, model: ResNet) -> Iterator[tuple[str, tuple[str, ...], Kind]]:
    """PyTorch's prefix, Flax's path and the kind of every layer of `model`."""
    yield family.stem_conv, ("stem_conv",), "conv"
    yield family.stem_norm, ("stem_norm",), "norm"
    for stage in range(len(STAGE_CHANNELS)):
        for block in range((model.depth - 2) // 6):
            place = {"s": stage + family.first_stage, "b": block}
            path = (f"stage{stage + 1}", f"block{block + 1}")
            for k in (1, 2):
                yield family.conv.format(k=k, **place), (*path, f"conv{k}"), "conv"
                yield family.norm.format(k=k, **place), (*path, f"norm{k}"), "norm"
            if model.shortcut == "conv1x1" and stage > 0 and block == 0:
                yield family.shortcut_conv.format(**place), (*path, "shortcut_conv"), "conv"
                yield family.shortcut_norm.format(**place), (*path, "shortcut_norm"), "norm"
    yield family.head, ("head",), "dense"


def tensors(
    family: Family, model: ResNet
) -> Iterator[tuple[str, tuple[str, ...], tuple[int, ...]]]:
    """PyTorch's name, Flax's path in the variables and the order of axes, for every tensor."""
    for prefix, path, kind in layers(family, model):
        for torch_name, collection, name, axes in TENSORS[kind]:
            yield f"{prefix}.{torch_name}", (collection, *path, name), axes


def from_torch(
    state_dict: Mapping[str, np.ndarray],
    *,
    shortcut: Shortcut | None | Literal["auto"] = "auto",
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    class_names: tuple[str, ...] | None = None,
) -> tuple[Classifier, Family]:
    """A `Classifier` with a PyTorch model's weights, and the family that it was recognised as.

    Args:
        state_dict: arrays by PyTorch's names, with or without `module.` before each.
        shortcut: `"auto"` reads it from the names. What has no weights can't be read: the
            article's plain net has the keys of its zeropad net, so `None` must be said.
        mean, std: of the inputs, by channel; the family's own by default.
        class_names: CIFAR-10's by default where there are ten classes, else "0", "1", ...

    Raises:
        UserError: naming every key that is missing, extra, or of another shape than the net's.
    """
    state = {
        name.removeprefix(PREFIX): np.asarray(array)
        for name, array in state_dict.items()
        if not name.endswith("num_batches_tracked")
    }
    family = recognise(state)
    model = describe(state, family, shortcut)
    channels = _shape(state, f"{family.stem_conv}.weight", 4)[1]
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 8, 8, channels)))
    expected = traverse_util.flatten_dict(shapes)
    variables, faults = {}, []
    for name, path, axes in tensors(family, model):
        if name not in state:
            faults.append(f"missing: {name}")
            continue
        array = state.pop(name)
        wanted = tuple(expected[path].shape[axes.index(i)] for i in range(len(axes)))
        if array.shape != wanted:
            faults.append(f"of the wrong shape: {name} {array.shape}, expected {wanted}")
            continue
        variables[path] = jnp.asarray(array.transpose(axes), jnp.float32)
    faults += [f"extra: {name}" for name in state]
    if faults:
        raise UserError(f"not the weights of a {family.name} ResNet-{model.depth}; "
                        + "; ".join(faults))  # fmt: skip
    if class_names is None:
        numbers = tuple(str(i) for i in range(model.num_classes))
        class_names = CIFAR10_CLASSES if model.num_classes == 10 else numbers
    classifier = Classifier(
        variables=traverse_util.unflatten_dict(variables),
        mean=_per_channel("mean", mean or family.mean, channels),
        std=_per_channel("std", std or family.std, channels),
        model=model,
        class_names=class_names,
    )
    return classifier, family


def to_torch(variables: Any, model: ResNet, family: str = "article") -> dict[str, np.ndarray]:
    """The PyTorch state dict of a model, by the names of `family`; loads with `strict=True`.

    PyTorch counts a BatchNorm's batches, to no effect on its results; it is 0 here.
    """
    chosen = next(each for each in FAMILIES if each.name == family)
    arrays = traverse_util.flatten_dict(dict(variables))
    state: dict[str, np.ndarray] = {}
    for name, path, axes in tensors(chosen, model):
        inverse = np.argsort(axes)
        state[name] = np.ascontiguousarray(np.asarray(arrays[path]).transpose(inverse))
        if name.endswith("running_var"):
            batches = name.replace("running_var", "num_batches_tracked")
            state[batches] = np.zeros((), np.int64)
    return state


def recognise(state: Mapping[str, np.ndarray]) -> Family:
    """The family whose stem and head are among the keys."""
    for family in FAMILIES:
        if f"{family.stem_conv}.weight" in state and f"{family.head}.weight" in state:
            return family
    known = "; ".join(f"{f.name}: {f.stem_conv}.weight and {f.head}.weight" for f in FAMILIES)
    found = ", ".join(list(state)[:3]) or "nothing"
    raise UserError(f"no known names of layers, expected those of {known}; found {found}, ...")


def describe(
    state: Mapping[str, np.ndarray], family: Family, shortcut: Shortcut | None | Literal["auto"]
) -> ResNet:
    """The net that the names and shapes speak of."""
    pattern = re.compile(re.escape(family.conv).replace(r"\{s\}", r"\d+")
                         .replace(r"\{b\}", r"(\d+)").replace(r"\{k\}", r"\d+"))  # fmt: skip
    blocks = [int(match[1]) for match in map(pattern.match, state) if match]
    has_conv1x1 = any(".conv1x1." in name or ".shortcut." in name for name in state)
    if shortcut == "auto":
        shortcut = "conv1x1" if has_conv1x1 else family.shortcut
    num_classes = _shape(state, f"{family.head}.weight", 2)[0]
    return ResNet(6 * (max(blocks, default=0) + 1) + 2, num_classes, shortcut)


def read_state_dict(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Arrays by name from `.npz`, `.safetensors`, or, where PyTorch is installed, `.pt`, `.th`.

    Nobody's pickle is opened: `.npz` without objects, PyTorch's files with `weights_only`.

    Raises:
        UserError: naming the file, if it can't be read or holds something else.
    """
    suffix = Path(path).suffix.lower()
    try:
        if suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                return dict(file)
        if suffix == ".safetensors":
            from safetensors.numpy import load_file

            return load_file(path)
        if suffix in (".pt", ".pth", ".th"):
            return _read_torch(path)
    except UserError:
        raise
    except Exception as error:  # each library has its own; what matters is the file's name
        raise UserError(f"{path} can't be read: {error}") from error
    raise UserError(f"{path} ends in {suffix!r}, expected .npz, .safetensors, .pt, .pth or .th")


def _read_torch(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    try:
        import torch
    except ImportError as error:
        raise UserError(
            f"{path} is PyTorch's own format, which needs PyTorch: install it, "
            "or save the state dict as .safetensors or .npz where PyTorch is"
        ) from error
    content = torch.load(path, map_location="cpu", weights_only=True)
    state = content.get("state_dict", content)
    return {name: tensor.numpy() for name, tensor in state.items()}


def _shape(state: Mapping[str, np.ndarray], name: str, dimensions: int) -> tuple[int, ...]:
    shape = state[name].shape
    if len(shape) != dimensions:
        raise UserError(f"{name} has shape {shape}, expected {dimensions} dimensions")
    return shape


def _per_channel(flag: str, values: tuple[float, ...], channels: int) -> jax.Array:
    if len(values) != channels:
        raise UserError(f"--{flag} has {len(values)} values, expected one for each of {channels} channels")
    return jnp.asarray(values, jnp.float32)
