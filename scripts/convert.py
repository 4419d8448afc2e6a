"""Turn PyTorch's weights into a Classifier file, or back."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from jax_resnet.cli.flags import main, parse
from jax_resnet.errors import UserError
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
    """A state dict (.npz, .safetensors; .pt, .pth, .th where PyTorch is installed); or, for the
    way back, a run's folder, a Classifier file or a shipped model's name."""
    out: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT")]
    """The new file; for the way back its suffix says the format."""
    shortcut: Literal["auto", "zeropad", "conv1x1", "subsample", "none"] = "auto"
    """What the weights alone can't tell; auto is what the names suggest."""
    mean: tuple[float, ...] | None = None
    """Of the inputs scaled to [0, 1], one number a channel; the original's own by default."""
    std: tuple[float, ...] | None = None
    """Like mean."""
    class_names: tuple[str, ...] | None = None
    """A name for each class; CIFAR-10's, or numbers, by default."""
    family: FamilyName | None = None
    """For the way back: whose names the weights get."""


def command(arguments: Sequence[str]) -> None:
    flags = parse(Convert, arguments)
    if is_classifier(flags.source):
        if flags.shortcut != "auto" or flags.mean or flags.std or flags.class_names:
            raise UserError(
                f"{flags.source} is a Classifier and says its shortcut, mean, std and class names "
                "itself: leave these flags out"
            )
        print(convert_to_torch(flags.source, flags.out, flags.family))
        return
    if flags.family is not None:
        raise UserError(
            f"--family is for a Classifier, and {flags.source} is none: "
            "PyTorch's weights tell their family by their names"
        )
    shortcut = None if flags.shortcut == "none" else flags.shortcut
    print(
        convert_from_torch(
            flags.source,
            flags.out,
            shortcut=shortcut,
            mean=flags.mean,
            std=flags.std,
            class_names=flags.class_names,
        )
    )


if __name__ == "__main__":
    main(command)
