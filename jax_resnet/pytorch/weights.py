"""PyTorch state dicts to `Classifier`s and back; a family of names is recognised by its keys."""

import re
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from jax_resnet.classifier import Classifier
from jax_resnet.errors import UserError
from jax_resnet.model import ResNet, Shortcut
from jax_resnet.pytorch.names import FAMILIES, Family, tensors

CIFAR10_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip

PREFIX = "module."  # what torch.nn.DataParallel puts before every name


def from_torch(
    state_dict: Mapping[str, np.ndarray],
    *,
    shortcut: Shortcut | Literal["auto"] | None = "auto",
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    class_names: tuple[str, ...] | None = None,
) -> tuple[Classifier, Family]:
    """A `Classifier` with a PyTorch model's weights, and the family that it was recognised as.

    Args:
        state_dict: float arrays by PyTorch's names, with or without `module.` before each.
        shortcut: `"auto"` reads it from the names. What has no weights can't be read: the
            article's plain net has the keys of its zeropad net, so `None` must be said.
        mean, std: of the inputs, by channel; the family's own by default.
        class_names: CIFAR-10's by default where there are ten classes, else "0", "1", ...

    Raises:
        UserError: naming every key that is missing, extra, misshapen or not finite; or if
            `mean`, `std` or `class_names` don't suit the net.
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
            f"--class-names has {len(class_names)} names, expected {model.num_classes}: "
            "one for each of the net's classes"
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
    """Flax's variables from PyTorch's arrays, which must be those of `model` and no others."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 8, 8, channels)))
    expected = traverse_util.flatten_dict(shapes)
    left, variables, faults = dict(state), {}, []
    for name, path, axes in tensors(family, model):
        if name not in left:
            faults.append(f"missing: {name}")
            continue
        array = left.pop(name)
        wanted = tuple(expected[path].shape[axes.index(i)] for i in range(len(axes)))
        if array.shape != wanted:
            faults.append(f"of the wrong shape: {name} {array.shape}, expected {wanted}")
        elif not jnp.issubdtype(array.dtype, jnp.floating):
            faults.append(f"of the wrong type: {name} {array.dtype}, expected floats")
        elif not np.isfinite(array).all():
            faults.append(f"not finite: {name}")
        else:
            variables[path] = jnp.asarray(array.transpose(axes), jnp.float32)
    faults += [f"extra: {name}" for name in left]
    if faults:
        net = f"{family.name} ResNet-{model.depth}, shortcut {model.shortcut or 'none'}"
        raise UserError(f"not the weights of {net}; " + "; ".join(faults))
    return traverse_util.unflatten_dict(variables)


def to_torch(variables: Any, model: ResNet, family: str = "article") -> dict[str, np.ndarray]:
    """The PyTorch state dict of a model, by the names of `family`; loads with `strict=True`.

    PyTorch counts a BatchNorm's batches, to no effect on its results; it is 0 here.

    Raises:
        ValueError: for an unknown family.
    """
    known = {each.name: each for each in FAMILIES}
    if family not in known:
        raise ValueError(f"family is {family!r}, expected one of {tuple(known)}")
    chosen = known[family]
    arrays = traverse_util.flatten_dict(dict(variables))
    state: dict[str, np.ndarray] = {}
    for name, path, axes in tensors(chosen, model):
        inverse = np.argsort(axes)
        state[name] = np.ascontiguousarray(np.asarray(arrays[path]).transpose(inverse))
        if name.endswith("running_var"):
            batches = name.replace("running_var", "num_batches_tracked")
            state[batches] = np.zeros((), np.int64)
    return state


def without_prefix(state_dict: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same arrays, `module.` taken off if every name begins with it."""
    if not all(name.startswith(PREFIX) for name in state_dict):
        return dict(state_dict)
    return {name.removeprefix(PREFIX): array for name, array in state_dict.items()}


def recognise(state: Mapping[str, np.ndarray]) -> Family:
    """The family whose stem and head are among the keys."""
    for family in FAMILIES:
        if f"{family.stem_conv}.weight" in state and f"{family.head}.weight" in state:
            return family
    known = "; ".join(f"{f.name}: {f.stem_conv}.weight and {f.head}.weight" for f in FAMILIES)
    found = ", ".join(list(state)[:3]) or "nothing"
    raise UserError(f"no known names of layers, expected those of {known}; found {found}, ...")


def describe(
    state: Mapping[str, np.ndarray], family: Family, shortcut: Shortcut | Literal["auto"] | None
) -> ResNet:
    """The net that the names and shapes speak of."""
    pattern = family.conv.replace(".", r"\.").format(s=r"\d+", b=r"(\d+)", k="[12]")
    blocks = {match[1] for match in (re.match(pattern, name) for name in state) if match}
    has_conv1x1 = any(".conv1x1." in name or ".shortcut." in name for name in state)
    if shortcut == "auto":
        shortcut = "conv1x1" if has_conv1x1 else family.shortcut
    num_classes = _shape(state, f"{family.head}.weight", 2)[0]
    return ResNet(6 * max(len(blocks), 1) + 2, num_classes, shortcut)


def _shape(state: Mapping[str, np.ndarray], name: str, dimensions: int) -> tuple[int, ...]:
    shape = state[name].shape
    if len(shape) != dimensions:
        raise UserError(f"{name} has shape {shape}, expected {dimensions} dimensions")
    return shape


def _per_channel(flag: str, values: tuple[float, ...], channels: int) -> jax.Array:
    if len(values) != channels:
        raise UserError(
            f"--{flag} has {len(values)} values {tuple(values)}, expected {channels}: "
            "one for each of the net's input channels"
        )
    array = np.asarray(values, np.float32)
    if not np.isfinite(array).all() or (flag == "std" and (array <= 0).any()):
        wanted = "finite numbers" + (" above 0" if flag == "std" else "")
        raise UserError(f"--{flag} is {tuple(values)}, expected {wanted}")
    return jnp.asarray(array)
