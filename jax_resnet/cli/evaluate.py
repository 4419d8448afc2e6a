"""Evaluate a model on a split, or on images in a file."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jax_resnet.cli.flags import Json, Model, parse
from jax_resnet.data import DatasetName
from jax_resnet.errors import UserError, printable, refuse_given
from jax_resnet.report.scores import SplitName, score, score_arrays
from jax_resnet.training.precision import Precision


@dataclass(frozen=True)
class Evaluate:
    """Print a model's accuracy, count of correct predictions and mean loss on the test, validation
    or training images, or on images in a .npy file."""

    model: Model
    split: SplitName = "test"
    """The images; those of validation are known of a run's folder, and of a folder of images."""
    dataset: DatasetName | None = None
    """The data set of a Classifier file, by default cifar10; a run's folder says its own."""
    data_dir: Path | None = None
    """Where the data set is; by default the run's, $TFDS_DATA_DIR, or ~/tensorflow_datasets."""
    image_size: tuple[int, int] | None = None
    """Height and width, in pixels, of a folder's images; by default the model's."""
    split_proportions: tuple[float, float, float] | None = None
    """Of a Classifier file, as in training: shares of one folder's images."""
    images: Path | None = None
    """A .npy file of images instead of a data set: uint8 (count, height, width, channels)."""
    labels: Path | None = None
    """A .npy file with the class of each of them: integers from 0, in the model's order."""
    part_size: int | None = None
    """Also score each block of so many images: 10000 gives the severities of CIFAR-10-C."""
    precision: Precision = "float32"
    as_json: Json = False
    """Print one JSON object: split (or images), count, correct, accuracy, loss; and parts, each
    with start, the position of its first image, and the same numbers."""


def command(arguments: Sequence[str]) -> None:
    flags = parse(Evaluate, arguments)
    result = _score(flags)
    if flags.as_json:
        print(json.dumps(result))
        return
    where = printable(flags.images or flags.split)
    print(f"{printable(flags.model)} on {where}: {_words(result)}")
    for part in result.get("parts", ()):
        start = part["start"]
        print(f"  images {start} to {start + part['count'] - 1}: {_words(part)}")


def _score(flags: Evaluate) -> dict[str, Any]:
    names = ("dataset", "data_dir", "image_size", "split_proportions")
    data = {name: getattr(flags, name) for name in names}
    if flags.images is None:
        refuse_given({"labels": flags.labels, "part_size": flags.part_size}, "without `images`")
        return score(flags.model, flags.split, flags.precision, **data)
    split = None if flags.split == "test" else flags.split
    refuse_given(data | {"split": split}, "with `images`")
    if flags.labels is None:
        raise UserError(f"`images` is {flags.images}, expected `labels` with them")
    return score_arrays(flags.model, flags.images, flags.labels, flags.part_size, flags.precision)


def _words(scores: dict[str, Any]) -> str:
    counts = f"{scores['correct']} of {scores['count']}"
    return f"accuracy {scores['accuracy']:.4f} ({counts}), loss {scores['loss']:.4f}"
