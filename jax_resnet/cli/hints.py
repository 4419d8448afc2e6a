"""Flags that other training programs have, and what to give here instead."""

import argparse
import math
from collections.abc import Sequence

from jax_resnet.errors import UserError

CIFAR_IMAGES = 50_000  # for training and validation


def refuse_foreign_flags(
    arguments: Sequence[str], dataset: str, batch_size: int, val_fraction: float
) -> None:
    """Raises a `UserError` that names this project's flag for `--lr`, and the steps for `--epochs`.

    Args:
        arguments: of the command.
        dataset: on which is trained, as all of the following if the arguments don't say otherwise.
        batch_size: images a step.
        val_fraction: share of the images kept for validation.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name in ("--lr", "--epochs", "--dataset", "--batch-size", "--val-fraction"):
        parser.add_argument(name, nargs="?", const="")
    given = parser.parse_known_args(arguments)[0]
    if given.lr is not None:
        raise UserError("`lr` is no flag, expected `learning_rate`")
    if given.epochs is None:
        return
    epochs, size = _number(given.epochs, 1), _number(given.batch_size, batch_size)
    fraction = _number(given.val_fraction, val_fraction)
    words = "`epochs` is no flag, expected `steps`"
    if (given.dataset or dataset) not in ("cifar10", "cifar100"):
        raise UserError(f"{words}: epochs times training images, divided by `batch_size` {size:g}")
    images = CIFAR_IMAGES - round(fraction * CIFAR_IMAGES)
    raise UserError(
        f"{words}: {epochs:g} epochs of {images:,} images in batches of {size:g} are "
        f"{math.ceil(epochs * images / size)} steps"
    )


def _number(word: str | None, default: float) -> float:
    """The positive number that a word is, or else the default; bad values are refused elsewhere."""
    try:
        value = float(word or default)
    except ValueError:
        return default
    return value if 0 < value < 1e9 else default
