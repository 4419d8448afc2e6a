"""Flags that other training programs have, and what to give here instead."""

import math
from collections.abc import Mapping
from contextlib import suppress

from jax_resnet.errors import UserError
from jax_resnet.training.config import Config

OF_HINTS = ("lr", "epochs", "shortcut", "batch-size", "val-fraction")
CIFAR_IMAGES = 50_000  # for training and validation


def refuse_foreign_flags(words: Mapping[str, str], default: Config) -> None:
    """Raises a `UserError` that names this project's flag for `--lr` and for `--shortcut none`, and
    the steps for `--epochs`, with the values of `default` where the words don't say others."""
    names = ("model", "dataset", "batch_size", "val_fraction")
    given = {**{name: getattr(default, name) for name in names}, **words}
    if "lr" in words:
        raise UserError("there is no `lr`, expected `learning_rate`")
    if words.get("shortcut", "").lower() == "none" and given["model"] == "resnet":
        word = words["shortcut"]
        raise UserError(f"`shortcut` is {word}: the net without shortcuts is `model` cnn")
    if "epochs" not in words:
        return
    said = "there is no `epochs`, expected `steps`: epochs times training images, divided by "
    said += "`batch_size`"
    with suppress(ValueError):  # words that are no numbers
        epochs, size, share = (float(given[k]) for k in ("epochs", "batch_size", "val_fraction"))
        is_good = 0 < epochs < 1e9 and 1 <= size < 1e9 and 0 <= share < 1
        if is_good and given["dataset"] in ("cifar10", "cifar100"):
            images = CIFAR_IMAGES - round(share * CIFAR_IMAGES)
            said += f"; {epochs:g} epochs of {images:,} images in batches of {size:g} are "
            said += f"{math.ceil(epochs * images / size)} steps"
    raise UserError(said)
