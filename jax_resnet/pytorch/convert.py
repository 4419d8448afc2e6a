"""Files of PyTorch state dicts to `Classifier` files, and back."""

import os
import shlex
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from jax_resnet.classifier import CIFAR_SIZE
from jax_resnet.classifier_file import is_classifier_file
from jax_resnet.errors import UserError
from jax_resnet.files import new_file
from jax_resnet.model import Shortcut
from jax_resnet.pretrained import load_classifier, names
from jax_resnet.pytorch.describe import describe, recognize
from jax_resnet.pytorch.files import READ_SUFFIXES, read_state_dict, write_state_dict
from jax_resnet.pytorch.names import FamilyName, families_of
from jax_resnet.pytorch.weights import (
    default_names,
    from_torch,
    is_of_scaled_pixels,
    to_torch,
)


def is_classifier(source: str | os.PathLike[str]) -> bool:
    """Whether `source` is a folder, a Classifier file, or the name of a net in the package."""
    if Path(source).is_dir() or (not Path(source).exists() and str(source) in names()):
        return True
    return is_classifier_file(source)


def convert_from_torch(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    shortcut: Shortcut | Literal["auto"] = "auto",
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    class_names: tuple[str, ...] | None = None,
    image_size: tuple[int, int] = CIFAR_SIZE,
) -> str:
    """Writes the Classifier file of a PyTorch state dict; returns a line that describes it.

    The arguments are those of `from_torch`.

    Raises:
        UserError: if there is no such file; and from `read_state_dict`, `from_torch`, `new_file`.
    """
    if not Path(source).exists():
        raise UserError(
            f"{source} does not exist, expected a file of weights; or, to convert to PyTorch, a "
            f"run's folder, a Classifier file, or one of {', '.join(names())}"
        )
    state = read_state_dict(source)
    try:
        classifier, family = from_torch(
            state,
            shortcut=shortcut,
            mean=mean,
            std=std,
            class_names=class_names,
            image_size=image_size,
        )
    except UserError as error:
        raise UserError(f"{source}: {error}") from error
    if str(out).lower().endswith(tuple({*READ_SUFFIXES} - {".safetensors"})):
        raise UserError(
            f"{out} ends as a file of PyTorch or NumPy, expected .safetensors: weights of PyTorch "
            "become a Classifier file"
        )
    with new_file(out) as unfinished:
        classifier.save(unfinished)

    def constants(name: Literal["mean", "std"], given: tuple[float, ...] | None) -> str:
        values = _numbers(getattr(classifier, name))
        return f"{values} ({family.name}'s)" if given is None else f"{values} (as given)"

    model = classifier.model
    return (
        f"{out}: {family.name} ResNet-{model.depth}, shortcut {model.shortcut or 'none'}, "
        f"{model.num_classes} classes from {classifier.class_names[0]} to "
        f"{classifier.class_names[-1]}, images of {image_size[0]}x{image_size[1]} pixels; inputs "
        f"normalized by mean {constants('mean', mean)}, "
        f"std {constants('std', std)}; names don't show pooling, padding, strides, activations "
        f"and BatchNorm's epsilon, which are taken to be {family.name}'s"
    )


def convert_to_torch(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    family: FamilyName | None = None,
) -> str:
    """Writes the state dict of a classifier; returns a line that describes it.

    The names are those of `family`, by default the first that computes the classifier's shortcut.

    Raises:
        UserError: from `load_classifier`, `to_torch` and `write_state_dict`.
    """
    classifier = load_classifier(source)
    shortcut = classifier.model.shortcut
    name = family or families_of(shortcut)[0]
    state = to_torch(classifier.variables, classifier.model, name)
    shortcut_shows = describe(state, recognize(state), "auto").shortcut == shortcut
    write_state_dict(state, out)
    net = f"{name} ResNet-{classifier.model.depth}, shortcut {shortcut or 'none'}"
    if classifier.fixed_size:
        return (
            f"{out}: {net}; normalize its inputs as in {source}, pixel by pixel; no flag gives "
            "such a mean back, so it can't be converted back to the same Classifier"
        )
    numbers = [f"{each} {_numbers(getattr(classifier, each))}" for each in ("mean", "std")]
    flags = [f"--{each}" for each in numbers]
    if not shortcut_shows:
        flags += ["--shortcut", shortcut or "none"]
    if classifier.image_size != CIFAR_SIZE:
        flags += ["--image-size", *map(str, classifier.image_size)]
    classes, exceptions = classifier.class_names, ""
    for each in ("mean", "std"):
        if not is_of_scaled_pixels(each, getattr(classifier, each)):
            exceptions += f"; this {each} is outside of what the flag accepts"
    if any(each.startswith("-") for each in classes):
        exceptions += (
            "; the class names, of which some begin with a hyphen, can't be given as flags"
        )
    elif classes != default_names(len(classes), classifier.channels):
        flags += ["--class-names", *map(shlex.quote, classes)]
    return (
        f"{out}: {net}; normalize its inputs by {', '.join(numbers)}; the file holds neither these "
        f"nor class names, so to convert it back add {' '.join(flags)}{exceptions}"
    )


def _numbers(array: ArrayLike) -> str:
    """The shortest decimals that are read as the same float32."""
    return " ".join(map(str, np.asarray(array, np.float32)))
