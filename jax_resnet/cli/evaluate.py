"""Count a model's correct predictions on a split."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jax_resnet.cli.flags import Json, Model, parse
from jax_resnet.data import DatasetName
from jax_resnet.errors import printable
from jax_resnet.report.scores import SplitName, score
from jax_resnet.training.precision import Precision


@dataclass(frozen=True)
class Evaluate:
    """Count a model's correct predictions on the test, validation or training images."""

    model: Model
    split: SplitName = "test"
    """The images; the validation images are known for a run's folder only."""
    dataset: DatasetName | None = None
    """The data set of a Classifier file, by default cifar10; a run's folder says its own."""
    data_dir: Path | None = None
    """Where the data set is; by default the run's, $TFDS_DATA_DIR, or ~/tensorflow_datasets."""
    image_size: tuple[int, int] | None = None
    """Height and width, in pixels, of a folder's images."""
    split_proportions: tuple[float, float, float] | None = None
    """Of a Classifier file, as in training: shares of one folder's images."""
    precision: Precision = "float32"
    as_json: Json = False
    """Print one JSON object: split, count, correct, accuracy, loss."""


def command(arguments: Sequence[str]) -> None:
    flags = parse(Evaluate, arguments)
    result = score(
        flags.model,
        flags.split,
        flags.precision,
        dataset=flags.dataset,
        data_dir=flags.data_dir,
        image_size=flags.image_size,
        split_proportions=flags.split_proportions,
    )
    if flags.as_json:
        print(json.dumps(result))
    else:
        print(
            f"{printable(flags.model)} on {flags.split}: accuracy {result['accuracy']:.4f} "
            f"({result['correct']} of {result['count']}), loss {result['loss']:.4f}"
        )
