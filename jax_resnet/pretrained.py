"""The trained nets that come with the package; `docs/models.md` has a card for each."""

from pathlib import Path
from typing import overload

from jax_resnet.classifier import Classifier
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
