"""Trained nets: those in the package, in a run's folder, or in a Classifier file.

`docs/models.md` describes each net in the package.
"""

import os
from pathlib import Path
from typing import overload

from jax_resnet.checksums import CHECKSUMS
from jax_resnet.classifier import Classifier
from jax_resnet.classifier_file import CLASSIFIER_FILE
from jax_resnet.errors import UserError
from jax_resnet.files import reading, refuse_special

WEIGHTS = Path(__file__).parent / "weights"


@overload
def pretrained() -> tuple[str, ...]: ...
@overload
def pretrained(name: str) -> Classifier: ...
def pretrained(name: str | None = None) -> Classifier | tuple[str, ...]:
    """A `Classifier` trained on CIFAR-10, or, without an argument, the names of all of them.

    It takes uint8 images, `(N, 32, 32, 3)`, and returns float32 logits, `(N, 10)`.

    Raises:
        UserError: for an unknown name; the message lists the known ones.
    """
    if name is None:
        return names()
    return Classifier.load(packaged_file(name))


def names() -> tuple[str, ...]:
    """The names of the nets in the package, in alphabetical order."""
    return tuple(sorted(path.stem for path in WEIGHTS.glob("*.safetensors")))


def packaged_file(name: str) -> Path:
    """The Classifier file of a net in the package.

    Raises:
        UserError: for an unknown name.
    """
    if name not in names():
        raise UserError(f"`name` is {name!r}, expected one of {', '.join(names())}")
    return WEIGHTS / f"{name}.safetensors"


def find_classifier(model: str | os.PathLike[str]) -> Path:
    """The Classifier file of `model`: a run's folder, a Classifier file, or a name in `names()`.

    Raises:
        UserError: if there is no such file, or the run has not finished.
    """
    path = Path(model)
    if path.is_dir():
        if not (path / CLASSIFIER_FILE).is_file():
            raise UserError(
                f"{path} contains no {CLASSIFIER_FILE}, expected the folder of a finished run"
            )
        return path / CLASSIFIER_FILE
    refuse_special(path)
    if path.is_file():
        return path
    if str(model) in names():
        return packaged_file(str(model))
    raise UserError(
        f"{path} does not exist, expected a run's folder, a Classifier file, "
        f"or one of {', '.join(names())}"
    )


def load_classifier(model: str | os.PathLike[str]) -> Classifier:
    """The classifier of a run's folder, of a Classifier file, or of a name in `names()`.

    Raises:
        UserError: from `find_classifier` and `Classifier.load`.
    """
    return Classifier.load(find_classifier(model))


def is_unfinished(folder: Path) -> bool:
    """Whether a run's folder holds a checkpoint but no `Classifier` yet.

    Raises:
        UserError: if the run has a result and no `Classifier`, or its checkpoints can't be listed.
    """
    file, checkpoints = folder / CLASSIFIER_FILE, folder / "checkpoints"
    with reading(checkpoints):
        if file.is_file() or not checkpoints.is_dir():
            return False
        names = [name for name in os.listdir(checkpoints) if name.isdecimal()]
        if not any((checkpoints / name / CHECKSUMS).exists() for name in names):
            return False
    if (folder / "result.json").is_file():
        raise UserError(f"{file} is missing: `resume` the run, and it is written again")
    return True
