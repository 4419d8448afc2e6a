"""Count a model's right answers on a split."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from jax_resnet.cli.flags import main, parse


@dataclass(frozen=True)
class Evaluate:
    """Count a model's right answers on the test, validation or training images."""

    model: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="MODEL")]
    """A run's folder, or a Classifier file."""
    split: Literal["test", "validation", "train"] = "test"
    """Which images; those of validation are known for a run's folder only."""
    dataset: Literal["cifar10", "cifar100", "digits", "folder"] | None = None
    """Of a Classifier file, cifar10 by default; a run knows its own."""
    data_dir: Path | None = None
    """Where the data set lies; TFDS's own place, or the run's, by default."""
    image_size: tuple[int, int] | None = None
    """Height and width, in pixels, of a folder's images."""
    split_proportions: tuple[float, float, float] | None = None
    """Of a Classifier file, as in the training: parts of one folder."""
    precision: Literal["float32", "tf32", "bf16"] = "float32"
    """Exact float32; or faster, and perhaps with other answers."""
    as_json: Annotated[bool, tyro.conf.arg(name="json"), tyro.conf.FlagCreatePairsOff] = False
    """Print one JSON object: split, count, correct, accuracy, loss."""


def command(arguments: Sequence[str]) -> None:
    flags = parse(Evaluate, arguments)
    from jax_resnet.report.scores import score

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
            f"{flags.model} on {flags.split}: accuracy {result['accuracy']:.4f} "
            f"({result['correct']} of {result['count']}), loss {result['loss']:.4f}"
        )


if __name__ == "__main__":
    main(command)
