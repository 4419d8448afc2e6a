"""Turn PyTorch's weights into a Classifier file, or back."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from jax_resnet.classifier import CIFAR_SIZE
from jax_resnet.cli.flags import parse
from jax_resnet.errors import UserError, printable
from jax_resnet.model import ShortcutName
from jax_resnet.pytorch.convert import (
    FamilyName,
    convert_from_torch,
    convert_to_torch,
    is_classifier,
)


@dataclass(frozen=True)
class Convert:
    """Turn PyTorch's weights into a Classifier file, or a Classifier into PyTorch's weights."""

    source: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="SOURCE")]
    """A state dict (.npz, .safetensors; .pt, .pth, .th, .pth.tar, .ckpt, .bin where PyTorch is
    installed); or, to convert to PyTorch, a run's folder, a Classifier file or the name of a
    net in the package."""
    out: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT")]
    """The new file; its suffix says the format of PyTorch's weights."""
    shortcut: Literal["auto", ShortcutName, "none"] = "auto"
    """The net's shortcuts, which names of weights don't always show; auto is what they suggest."""
    mean: tuple[float, ...] | None = None
    """Of the inputs scaled to [0, 1], one number a channel; by default those of the implementation
    that named the weights; needed with torchvision's names, or akamaster's and 1x1 convolutions."""
    std: tuple[float, ...] | None = None
    """Like mean."""
    class_names: tuple[str, ...] | None = None
    """A name for each class; by default CIFAR-10's for ten classes of RGB images, else numbers."""
    image_size: tuple[int, int] | None = None
    """Height and width, in pixels, of the images that the net was trained on; by default 32 32."""
    family: FamilyName | None = None
    """To convert to PyTorch: the implementation that names the weights."""


def command(arguments: Sequence[str]) -> None:
    flags = parse(Convert, arguments)
    if is_classifier(flags.source):
        given = flags.mean, flags.std, flags.class_names, flags.image_size
        if any(each is not None for each in given) or flags.shortcut != "auto":
            raise UserError(
                f"{flags.source} is a Classifier and has a shortcut, mean, std, class names and "
                "image size: leave `shortcut`, `mean`, `std`, `class_names` and `image_size` out"
            )
        print(printable(convert_to_torch(flags.source, flags.out, flags.family)))
        return
    if flags.family is not None:
        raise UserError(
            f"`family` is for a Classifier, and {flags.source} is none: "
            "the family of PyTorch's weights shows in their names"
        )
    shortcut: Any = None if flags.shortcut == "none" else flags.shortcut
    said = convert_from_torch(
        flags.source,
        flags.out,
        shortcut=shortcut,
        mean=flags.mean,
        std=flags.std,
        class_names=flags.class_names,
        image_size=flags.image_size or CIFAR_SIZE,
    )
    print(printable(said))
