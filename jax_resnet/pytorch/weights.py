"""PyTorch state dicts to `Classifier`s and back."""

import re
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from numpy.typing import ArrayLike

from jax_resnet.classifier import CIFAR_SIZE, Classifier, distinct_names
from jax_resnet.data.cifar.names import CIFAR10_CLASSES
from jax_resnet.errors import UserError, some
from jax_resnet.model import ResNet, Shortcut, check_image_size, variable_shapes
from jax_resnet.pytorch.describe import describe, recognize, shape_of
from jax_resnet.pytorch.names import FAMILIES, Family, FamilyName, families_of, tensors

# What wrappers put before names: DataParallel and AveragedModel, torch.compile, Lightning.
PREFIXES = re.compile(r"^((module|_orig_mod|model)\.)+")
LEAST = {"mean": 0.0, "std": 1e-6}  # of pixels scaled to [0, 1]
UNUSED = re.compile(r"^n_averaged$|num_batches_tracked$")  # counters, without effect on results


def from_torch(
    state_dict: Mapping[str, np.ndarray],
    *,
    shortcut: Shortcut | Literal["auto"] = "auto",
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    class_names: tuple[str, ...] | None = None,
    image_size: tuple[int, int] = CIFAR_SIZE,
) -> tuple[Classifier, Family]:
    """A `Classifier` with the weights of a PyTorch net, and the family of the weights' names.

    Args:
        state_dict: float arrays by PyTorch's names, with or without `module.`, `_orig_mod.` and
            `model.` before each.
        shortcut: by default read from the names. A shortcut without weights leaves no names:
            those of the article's plain net are those of its zeropad net, so the plain net
            needs `None` here.
        mean: of the inputs scaled to [0, 1], one number a channel, in [0, 1]; by default those of
            the family's published nets; needed where none has this shortcut and these channels.
        std: standard deviation, like `mean`, from 1e-6 to 1.
        class_names: by default CIFAR-10's for ten classes of RGB images, else "0", "1", ...
        image_size: height and width, in pixels, of the net's training images.

    Raises:
        UserError: if the names are of no family; if arrays are missing, extra, of a wrong shape
            or dtype, not finite in float32, or negative variances (the message has the first of
            each kind); or if `mean`, `std`, `class_names` or `image_size` don't fit, or are needed.
    """
    state = {name: _array(name, each) for name, each in without_prefixes(state_dict).items()}
    state = {name: array for name, array in state.items() if not UNUSED.search(name)}
    family = recognize(state)
    model = describe(state, family, shortcut)
    channels = shape_of(state, f"{family.stem_conv}.weight", 4)[1]
    variables = _transpose(state, family, model, channels)
    class_names = _name_classes(class_names, model.num_classes, channels)
    if model.shortcut in family.published and len(family.mean) == channels:
        mean = family.mean if mean is None else mean
        std = family.std if std is None else std
    if mean is None or std is None:
        raise UserError(
            f"`mean` and `std` are needed, expected those of the net's training: nets with "
            f"{family.name}'s names, shortcut {model.shortcut or 'none'} and {channels} channels "
            "differ in them, and docs/from_pytorch.md has those of some"
        )
    classifier = Classifier(
        variables=variables,
        mean=_per_channel("mean", mean, channels),
        std=_per_channel("std", std, channels),
        model=model,
        class_names=class_names,
        image_size=check_image_size(image_size),
    )
    return classifier, family


def _array(name: str, value: Any) -> np.ndarray:
    try:
        return np.asarray(value)
    except (TypeError, RuntimeError) as error:  # of a tensor that NumPy can't take
        raise UserError(
            f"{name} is no array: {error}; expected arrays, as `tensor.detach().float().numpy()`"
        ) from error


def _transpose(
    state: Mapping[str, np.ndarray], family: Family, model: ResNet, channels: int
) -> dict[str, Any]:
    """Flax's variables from PyTorch's arrays, which must be exactly those of `model`."""
    expected = traverse_util.flatten_dict(variable_shapes(model, channels))
    left, variables = dict(state), {}
    faults: defaultdict[str, list[str]] = defaultdict(list)
    for name, (path, axes) in tensors(family, model, expected).items():
        if name not in left:
            faults["missing"].append(name)
            continue
        array = left.pop(name)
        wanted = tuple(expected[path].shape[axes.index(i)] for i in range(len(axes)))
        if array.shape != wanted:
            faults["of the wrong shape"].append(f"{name} {array.shape} instead of {wanted}")
        elif not jnp.issubdtype(array.dtype, jnp.floating):
            faults["of the wrong type"].append(f"{name} {array.dtype} instead of floats")
        elif not (abs(array) <= np.finfo(np.float32).max).all():
            faults["not finite"].append(name)
        elif path[-1] == "var" and array.min() < 0:
            faults["negative"].append(name)
        else:
            # A copy: PyTorch goes on to write into the memory of a net that is trained.
            variables[path] = jnp.array(array.transpose(axes), jnp.float32)
    faults["extra"] += left
    if listed := "; ".join(f"{kind}: {some(those, 2)}" for kind, those in faults.items() if those):
        net = f"{family.name} ResNet-{model.depth}, shortcut {model.shortcut or 'none'}"
        raise UserError(f"not the weights of {net}; {listed}")
    return traverse_util.unflatten_dict(variables)


def to_torch(
    variables: Mapping[str, Any], model: ResNet, family: FamilyName = "article"
) -> dict[str, np.ndarray]:
    """The PyTorch state dict of a model, by the names of `family`; loads with `strict=True`.

    The arrays are copies, which PyTorch may write into, float32 where NumPy lacks their dtype.
    PyTorch counts the batches of a BatchNorm, without effect on its results; the count is 0 here.

    Raises:
        UserError: for an unknown family, or one whose nets don't compute the model's shortcut: the
            weights might load there, and give other results; or if `variables` are not `model`'s.
    """
    if family not in FAMILIES:
        raise UserError(f"`family` is {family!r}, expected one of {tuple(FAMILIES)}")
    if family not in (able := families_of(model.shortcut)):
        raise UserError(
            f"`family` is {family}, which has no net with shortcut {model.shortcut or 'none'}: "
            f"expected {' or '.join(able)}"
        )
    arrays = _flatten(variables, model)
    state: dict[str, np.ndarray] = {}
    for name, (path, axes) in tensors(FAMILIES[family], model, arrays).items():
        array = arrays[path]
        if array.dtype.kind != "f":  # bfloat16, which PyTorch takes from no array
            array = array.astype(np.float32)
        state[name] = np.array(array.transpose(np.argsort(axes)), order="C")
        if name.endswith("running_var"):
            batches = name.replace("running_var", "num_batches_tracked")
            state[batches] = np.zeros((), np.int64)
    return state


def _flatten(variables: Mapping[str, Any], model: ResNet) -> dict[tuple[str, ...], np.ndarray]:
    """The variables by their paths, among them all those of `model`, of the same shapes."""
    flat = traverse_util.flatten_dict(dict(variables))
    arrays = {path: np.asarray(array) for path, array in flat.items()}
    stem = arrays.get(("params", "stem_conv", "kernel"), np.empty((1, 1, 1, 1)))
    expected = traverse_util.flatten_dict(variable_shapes(model, stem.shape[2]))
    for path, each in expected.items():
        found = arrays[path].shape if path in arrays else "missing"
        if found != each.shape:
            raise UserError(
                f"`variables` are not those of `model`: {'/'.join(path)} is {found}, expected "
                f"{each.shape}"
            )
    return arrays


def without_prefixes(state_dict: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same arrays, by names without what wrappers of the net put before them.

    Raises:
        UserError: if two arrays then have one name, or a key is not a name.
    """
    state: dict[str, np.ndarray] = {}
    for name, array in state_dict.items():
        if not isinstance(name, str):
            raise UserError(f"{name!r} is not the name of a tensor, expected a state dict")
        bare = PREFIXES.sub("", name)
        if bare in state:
            raise UserError(f"{bare} is there twice, once with a prefix: expected one net")
        state[bare] = array
    return state


def default_names(count: int, channels: int) -> tuple[str, ...]:
    """The classes' names where none are given: CIFAR-10's, or numbers."""
    if (count, channels) == (10, 3):
        return CIFAR10_CLASSES
    return tuple(str(i) for i in range(count))


def _name_classes(given: tuple[str, ...] | None, count: int, channels: int) -> tuple[str, ...]:
    if given is None:
        return default_names(count, channels)
    names = distinct_names(given)
    if len(names) != count:
        raise UserError(
            f"`class_names` has {len(names)} names, expected {count}: one for each class of the net"
        )
    return names


def _per_channel(argument: Literal["mean", "std"], values: ArrayLike, channels: int) -> jax.Array:
    array = np.asarray(values).ravel()  # PyTorch's may be (C, 1, 1)
    if array.dtype.kind not in "iuf":
        raise UserError(f"`{argument}` is {values!r}, expected numbers")
    if len(array) != channels:
        raise UserError(
            f"`{argument}` has {len(array)} values {values!r}, expected {channels}: "
            "one for each input channel of the net"
        )
    if not is_of_scaled_pixels(argument, array):
        raise UserError(
            f"`{argument}` is {values!r}, expected numbers from {LEAST[argument]:g} to 1: it "
            "is of pixels scaled to [0, 1], so divide one of pixels in [0, 255] by 255"
        )
    return jnp.asarray(array, jnp.float32)


def is_of_scaled_pixels(argument: Literal["mean", "std"], values: ArrayLike) -> bool:
    """Whether `from_torch` takes these numbers for the argument."""
    array = np.asarray(values, np.float32)
    return bool(((array >= np.float32(LEAST[argument])) & (array <= 1)).all())
