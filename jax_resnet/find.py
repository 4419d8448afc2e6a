"""A `Classifier` from what people call it by: a run's folder, a file, or a shipped name."""

import os
from pathlib import Path

from jax_resnet.classifier import Classifier
from jax_resnet.errors import UserError
from jax_resnet.pretrained import names, shipped_file

FILE_NAME = "classifier.safetensors"  # in a run's folder


def find_classifier(model: str | os.PathLike[str]) -> Path:
    """The Classifier file that `model` means: itself, the one in a run's folder, or a shipped one.

    Raises:
        UserError: if there is no such file, or the run has not finished.
    """
    path = Path(model)
    if path.is_dir():
        if not (path / FILE_NAME).is_file():
            raise UserError(f"{path} holds no {FILE_NAME}, expected the folder of a finished run")
        return path / FILE_NAME
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
