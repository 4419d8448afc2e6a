"""Flags that other training programs have, and what to give here instead."""

import argparse
import math
from collections.abc import Callable, Sequence

from jax_resnet.errors import UserError
from jax_resnet.training.config import Config

CIFAR_IMAGES = 50_000  # for training and validation


def refuse_foreign_flags(arguments: Sequence[str], default: Config) -> None:
    """Raises a `UserError` that names this project's flag for `--lr` and for `--shortcut none`, and
    the steps for `--epochs`, with the values of `default` where the arguments don't say others."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name in (
        "--lr", "--epochs", "--dataset", "--batch-size", "--val-fraction", "--model", "--shortcut"
    ):  # fmt: skip
        parser.add_argument(name, nargs="?", const="")
    given = parser.parse_known_args(arguments)[0]
    if given.lr is not None:
        raise UserError("there is no `lr`, expected `learning_rate`")
    if (given.shortcut or "").lower() == "none" and (given.model or default.model) == "resnet":
        raise UserError(f"`shortcut` is {given.shortcut}: the net without shortcuts is `model` cnn")
    if given.epochs is None:
        return
    epochs = _number(given.epochs, 1, lambda epochs: 0 < epochs < 1e9)
    size = _number(given.batch_size, default.batch_size, lambda size: 1 <= size < 1e9)
    fraction = _number(given.val_fraction, default.val_fraction, lambda share: 0 <= share < 1)
    words = "there is no `epochs`, expected `steps`"
    if (given.dataset or default.dataset) not in ("cifar10", "cifar100"):
        raise UserError(f"{words}: epochs times training images, divided by `batch_size` {size:g}")
    images = CIFAR_IMAGES - round(fraction * CIFAR_IMAGES)
    raise UserError(
        f"{words}: {epochs:g} epochs of {images:,} images in batches of {size:g} are "
        f"{math.ceil(epochs * images / size)} steps"
    )


def _number(word: str | None, default: float, is_good: Callable[[float], bool]) -> float:
    """The number that a word is, or else the default; bad values are refused elsewhere."""
    try:
        value = float(word or default)
    except ValueError:
        return default
    return value if is_good(value) else default
