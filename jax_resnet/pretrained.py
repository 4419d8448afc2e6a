"""Trained nets: those that come with the package, and any other by what people call it.

`docs/models.md` has a card for each shipped net.
"""

import os
from pathlib import Path
from typing import overload

from jax_resnet.classifier import CLASSIFIER_FILE, Classifier
from jax_resnet.errors import UserError

WEIGHTS = Path(__file__).parent / "weights"


@overload
def pretrained() -> tuple[str, ...]: ...
@overload
def pretrained(name: str) -> Classifier: ...
def pretrained(name: str | None = None) -> Classifier | tuple[str, ...]:
    """A trained `Classifier` of CIFAR-10's ten classes, or without a name, the names there are.

    It takes uint8 images, (N, 32, 32, 3), and returns float32 logits, (N, 10).

    Raises:
        UserError: for another name; its message lists those there are.
    """
    if name is None:
        return names()
    return Classifier.load(shipped_file(name))


def names() -> tuple[str, ...]:
    """The shipped models, in alphabetical order."""
    return tuple(sorted(path.stem for path in WEIGHTS.glob("*.safetensors")))


def shipped_file(name: str) -> Path:
    """The file of a shipped model.

    Raises:
        UserError: for another name.
    """
    if name not in names():
        raise UserError(f"no pretrained model {name!r}, expected one of {', '.join(names())}")
    return WEIGHTS / f"{name}.safetensors"


def find_classifier(model: str | os.PathLike[str]) -> Path:
    """The Classifier file that `model` means: itself, the one in a run's folder, or a shipped one.

    Raises:
        UserError: if there is no such file, or the run has not finished.
    """
    path = Path(model)
    if path.is_dir():
        if not (path / CLASSIFIER_FILE).is_file():
            raise UserError(
                f"{path} holds no {CLASSIFIER_FILE}, expected the folder of a finished run"
            )
        return path / CLASSIFIER_FILE
    if path.is_file():
        return path
    if str(model) in names():
        return shipped_file(str(model))
    raise UserError(
        f"{path} is not there, expected a run's folder, a Classifier file, "
        f"or one of {', '.join(names())}"
    )


def load_classifier(model: str | os.PathLike[str]) -> Classifier:
    """The classifier of a run's folder, of a Classifier file, or of a shipped name.

    Raises:
        UserError: as `find_classifier` and `Classifier.load` do.
    """
    return Classifier.load(find_classifier(model))
