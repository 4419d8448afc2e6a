"""PyTorch state dicts to `Classifier`s and back."""

import re
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from jax_resnet.classifier import Classifier
from jax_resnet.data.cifar import CIFAR10_CLASSES
from jax_resnet.errors import UserError
from jax_resnet.model import ResNet, Shortcut
from jax_resnet.pytorch.names import FAMILIES, Family, FamilyName, tensors

PREFIX = "module."  # torch.nn.DataParallel puts it before every name


def from_torch(
    state_dict: Mapping[str, np.ndarray],
    *,
    shortcut: Shortcut | Literal["auto"] = "auto",
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    class_names: tuple[str, ...] | None = None,
) -> tuple[Classifier, Family]:
    """A `Classifier` with the weights of a PyTorch net, and the family of the weights' names.

    Args:
        state_dict: float arrays by PyTorch's names, with or without `module.` before each.
        shortcut: by default read from the names. A shortcut without weights leaves no names:
            those of the article's plain net are those of its zeropad net, so the plain net
            needs `None` here.
        mean: of the inputs scaled to [0, 1], one number a channel, in [0, 1]; by default the
            family's.
        std: standard deviation, like `mean`, above 0 and at most 1.
        class_names: by default CIFAR-10's for ten classes, else "0", "1", ...

    Raises:
        UserError: if the names are of no family; if arrays are missing, extra, of a wrong shape
            or dtype, not finite in float32, or negative variances (the message lists them all);
            or if `mean`, `std` or `class_names` don't fit the net.
    """
    state = {name: np.asarray(array) for name, array in without_prefix(state_dict).items()}
    state = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    family = recognise(state)
    model = describe(state, family, shortcut)
    channels = _shape(state, f"{family.stem_conv}.weight", 4)[1]
    variables = _transpose(state, family, model, channels)
    if class_names is None:
        numbers = tuple(str(i) for i in range(model.num_classes))
        class_names = CIFAR10_CLASSES if model.num_classes == 10 else numbers
    if len(class_names) != model.num_classes:
        raise UserError(
            f"`class_names` has {len(class_names)} names, expected {model.num_classes}: "
            "one for each class of the net"
        )
    classifier = Classifier(
        variables=variables,
        mean=_per_channel("mean", family.mean if mean is None else mean, channels),
        std=_per_channel("std", family.std if std is None else std, channels),
        model=model,
        class_names=tuple(class_names),
    )
    return classifier, family


def _transpose(
    state: Mapping[str, np.ndarray], family: Family, model: ResNet, channels: int
) -> dict[str, Any]:
    """Flax's variables from PyTorch's arrays, which must be exactly those of `model`."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 8, 8, channels)))
    expected = traverse_util.flatten_dict(shapes)
    left, variables, faults = dict(state), {}, []
    for name, (path, axes) in tensors(family, model, expected).items():
        if name not in left:
            faults.append(f"missing: {name}")
            continue
        array = left.pop(name)
        wanted = tuple(expected[path].shape[axes.index(i)] for i in range(len(axes)))
        if array.shape != wanted:
            faults.append(f"of the wrong shape: {name} {array.shape}, expected {wanted}")
        elif not jnp.issubdtype(array.dtype, jnp.floating):
            faults.append(f"of the wrong type: {name} {array.dtype}, expected floats")
        elif not (abs(array) <= np.finfo(np.float32).max).all():
            faults.append(f"not finite: {name}")
        elif path[-1] == "var" and array.min() < 0:
            faults.append(f"negative: {name}")
        else:
            variables[path] = jnp.asarray(array.transpose(axes), jnp.float32)
    faults += [f"extra: {name}" for name in left]
    if faults:
        net = f"{family.name} ResNet-{model.depth}, shortcut {model.shortcut or 'none'}"
        raise UserError(f"not the weights of {net}; " + "; ".join(faults))
    return traverse_util.unflatten_dict(variables)


def to_torch(
    variables: Mapping[str, Any], model: ResNet, family: FamilyName = "article"
) -> dict[str, np.ndarray]:
    """The PyTorch state dict of a model, by the names of `family`; loads with `strict=True`.

    PyTorch counts the batches of a BatchNorm, without effect on its results; the count is 0 here.

    Raises:
        UserError: for an unknown family, or if it has no name for one of the variables.
    """
    if family not in FAMILIES:
        raise UserError(f"`family` is {family!r}, expected one of {tuple(FAMILIES)}")
    arrays = traverse_util.flatten_dict(dict(variables))
    state: dict[str, np.ndarray] = {}
    for name, (path, axes) in tensors(FAMILIES[family], model, arrays).items():
        inverse = np.argsort(axes)
        state[name] = np.ascontiguousarray(np.asarray(arrays[path]).transpose(inverse))
        if name.endswith("running_var"):
            batches = name.replace("running_var", "num_batches_tracked")
            state[batches] = np.zeros((), np.int64)
    return state


def without_prefix(state_dict: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same arrays, without `module.` if every name begins with it."""
    if not all(name.startswith(PREFIX) for name in state_dict):
        return dict(state_dict)
    return {name.removeprefix(PREFIX): array for name, array in state_dict.items()}


def recognise(state: Mapping[str, np.ndarray]) -> Family:
    """The family that has names for the stem and the head among the keys.

    Raises:
        UserError: if none has.
    """
    for family in FAMILIES.values():
        if f"{family.stem_conv}.weight" in state and f"{family.head}.weight" in state:
            return family
    known = "; ".join(
        f"{name}: {f.stem_conv}.weight and {f.head}.weight" for name, f in FAMILIES.items()
    )
    found = ", ".join(list(state)[:3]) or "nothing"
    raise UserError(f"no known names of layers: expected those of {known}; found {found}, ...")


def describe(
    state: Mapping[str, np.ndarray], family: Family, shortcut: Shortcut | Literal["auto"]
) -> ResNet:
    """The net that the names and shapes describe."""
    pattern = family.conv.replace(".", r"\.").format(s=r"\d+", b=r"(\d+)", k="[12]")
    blocks = {match[1] for match in (re.match(pattern, name) for name in state) if match}
    has_conv1x1 = any(".conv1x1." in name or ".shortcut." in name for name in state)
    if shortcut == "auto":
        shortcut = "conv1x1" if has_conv1x1 else family.shortcuts[0]
    num_classes = _shape(state, f"{family.head}.weight", 2)[0]
    return ResNet(6 * max(len(blocks), 1) + 2, num_classes, shortcut)


def _shape(state: Mapping[str, np.ndarray], name: str, dimensions: int) -> tuple[int, ...]:
    shape = state[name].shape
    if len(shape) != dimensions:
        raise UserError(f"{name} has shape {shape}, expected {dimensions} dimensions")
    return shape


def _per_channel(
    argument: Literal["mean", "std"], values: tuple[float, ...], channels: int
) -> jax.Array:
    if len(values) != channels:
        raise UserError(
            f"`{argument}` has {len(values)} values {tuple(values)}, expected {channels}: "
            "one for each input channel of the net"
        )
    array = np.asarray(values, np.float32)
    low = array > 0 if argument == "std" else array >= 0
    if not (low & (array <= 1)).all():
        expected = "above 0 and at most 1" if argument == "std" else "from 0 to 1"
        raise UserError(
            f"`{argument}` is {tuple(values)}, expected numbers {expected}: it is of pixels "
            "scaled to [0, 1], so divide one of pixels in [0, 255] by 255"
        )
    return jnp.asarray(array)
