"""`Classifier` files from files of PyTorch state dicts, and back."""

import os
from pathlib import Path
from typing import Literal

from safetensors import SafetensorError, safe_open

from jax_resnet.classifier import FORMAT
from jax_resnet.errors import UserError
from jax_resnet.files import new_file
from jax_resnet.model import Shortcut
from jax_resnet.pretrained import load_classifier, names
from jax_resnet.pytorch.files import read_state_dict, write_state_dict
from jax_resnet.pytorch.names import FAMILIES
from jax_resnet.pytorch.weights import from_torch, to_torch

FamilyName = Literal["article", "akamaster"]


def is_classifier(source: str | os.PathLike[str]) -> bool:
    """Whether `source` is a run's folder, a Classifier file, or the name of a shipped one."""
    if Path(source).is_dir() or (not Path(source).exists() and str(source) in names()):
        return True
    try:
        with safe_open(source, framework="numpy") as file:
            return (file.metadata() or {}).get("format") == FORMAT
    except (OSError, SafetensorError):
        return False


def convert_from_torch(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    shortcut: Shortcut | Literal["auto"] | None = "auto",
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    class_names: tuple[str, ...] | None = None,
) -> str:
    """Writes the Classifier file of a PyTorch state dict; returns what it was taken for.

    Raises:
        UserError: as `read_state_dict`, `from_torch` and `new_file` do.
    """
    state = read_state_dict(source)
    try:
        classifier, family = from_torch(
            state, shortcut=shortcut, mean=mean, std=std, class_names=class_names
        )
    except UserError as error:
        raise UserError(f"{source}: {error}") from error
    with new_file(out) as unfinished:
        classifier.save(unfinished)

    def constants(name: Literal["mean", "std"], given: tuple[float, ...] | None) -> str:
        values = " ".join(f"{value:g}" for value in getattr(classifier, name).tolist())
        return f"{values} ({family.name}'s own)" if given is None else f"{values} (as given)"

    model = classifier.model
    return (
        f"{out}: {family.name} ResNet-{model.depth}, shortcut {model.shortcut or 'none'}, "
        f"{model.num_classes} classes; inputs normalised by mean {constants('mean', mean)}, "
        f"std {constants('std', std)}"
    )


def convert_to_torch(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    family: FamilyName | None = None,
) -> str:
    """Writes the state dict of a classifier; returns what was written.

    By default the names are those of the family that computes the classifier's shortcut.

    Raises:
        UserError: as `load_classifier` and `write_state_dict` do, and for a family whose model
            has other shortcuts: the weights would load into it, and give other results.
    """
    classifier = load_classifier(source)
    shortcut = classifier.model.shortcut
    computing = [
        each.name
        for each in FAMILIES
        if shortcut in (each.shortcut, "conv1x1") or (shortcut is None and each.name == "article")
    ]
    name = family or computing[0]
    if name not in computing:
        raise UserError(
            f"--family {name} has no model with shortcut {shortcut or 'none'}, "
            f"expected {' or '.join(computing)}"
        )
    write_state_dict(to_torch(classifier.variables, classifier.model, name), out)
    net = f"{name} ResNet-{classifier.model.depth}, shortcut {shortcut or 'none'}"
    mean, std = classifier.mean.tolist(), classifier.std.tolist()
    if classifier.mean.ndim > 1:
        return f"{out}: {net}; normalise its inputs as {source} says, pixel by pixel"
    return f"{out}: {net}; normalise its inputs by mean {mean}, std {std}"
