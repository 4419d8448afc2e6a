"""Loss and accuracy of a model on a split of a data set, or on images in .npy files."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import jax

from jax_resnet.classifier import Classifier
from jax_resnet.data import Split
from jax_resnet.data.arrays import read_arrays
from jax_resnet.errors import UserError
from jax_resnet.pretrained import load_classifier
from jax_resnet.report.models import load_model
from jax_resnet.report.run_model import check_fits, load_run
from jax_resnet.training.config import Config, load_images
from jax_resnet.training.evaluation import evaluate, to_device
from jax_resnet.training.precision import Precision, dtype_on, matmul_precision

SplitName = Literal["test", "validation", "train"]


def score(
    model: str | os.PathLike[str],
    split: SplitName = "test",
    precision: Precision = "float32",
    **data: Any,
) -> dict[str, Any]:
    """`split`, `count`, `correct`, `accuracy` and mean `loss` of a model on a split.

    Args:
        model: a run's folder, which determines the data and its splits, and need not have
            finished; or a Classifier file.
        split: as the run divided the data; a Classifier file has validation images in a folder
            of images only.
        precision: of the computation; other values than float32 may change predictions.
        data: fields of `Config` that name the data: `dataset`, `data_dir`, `image_size`,
            `split_proportions`. For a run only `data_dir` may differ from the run's own.

    Raises:
        UserError: if the model, the data or the split does not exist, or the model does not fit
            the data.
    """
    given = {name: value for name, value in data.items() if value is not None}
    if Path(model).is_dir():
        loaded = load_run(Path(model), given)
        classifier, dataset = loaded.classifier, loaded.dataset
    else:
        classifier = load_classifier(model)
        if split == "validation" and given.get("dataset") != "folder":
            raise UserError(
                f"`split` is 'validation', but {model} does not record which images were kept for "
                "validation, expected the folder of the run, or the split 'test' or 'train'"
            )
        if given.get("dataset") == "folder":
            height, width, channels = classifier.input_shape()
            given = {"image_size": (height, width)} | given | {"channels": channels}
        dataset = load_images(Config(**given))
        check_fits(classifier, dataset)
    images = getattr(dataset, split)
    if not len(images):
        raise UserError(f"`split` is {split!r}, but {dataset.name} has no such images")
    return {"split": split} | _scorer(classifier, precision)(images)


def score_arrays(
    model: str | os.PathLike[str],
    images: Path,
    labels: Path,
    part_size: int | None = None,
    precision: Precision = "float32",
) -> dict[str, Any]:
    """`images`, `count`, `correct`, `accuracy` and mean `loss` of a model on images in a file.

    With `part_size` there are also `parts`: `start`, and the same numbers, of each `part_size`
    images, in order. The last part may be smaller.

    Args:
        model: as for `load_model`.
        images: a .npy file, uint8 `(count, height, width, channels)`; their size is the model's.
        labels: a .npy file of integers `(count,)`, positions in the model's `class_names`.
        part_size: at least 1.
        precision: as for `score`.

    Raises:
        UserError: for a model that does not exist, or files or a `part_size` that do not fit.
    """
    if part_size is not None and part_size < 1:
        raise UserError(f"`part_size` is {part_size}, expected 1 or more")
    classifier = load_model(model)
    split = read_arrays(images, labels, classifier.input_shape(), len(classifier.class_names))
    scorer, size = _scorer(classifier, precision), part_size or len(split)
    parts = [
        {"start": i} | scorer(Split(split.images[i : i + size], split.labels[i : i + size]))
        for i in range(0, len(split), size)
    ]
    count, correct = len(split), sum(part["correct"] for part in parts)
    loss = sum(part["loss"] * part["count"] for part in parts) / count
    total = {"images": str(images), "count": count, "correct": correct}
    total |= {"accuracy": correct / count, "loss": loss}
    return total | ({} if part_size is None else {"parts": parts})


def _scorer(classifier: Classifier, precision: Precision) -> Callable[[Split], dict[str, Any]]:
    """What counts a classifier's correct predictions, computed in this precision."""
    model = classifier.model.clone(dtype=dtype_on(jax.default_backend(), precision))
    ready, products = classifier.replace(model=model), matmul_precision(precision)
    return lambda split: evaluate(ready, to_device(split), precision=products)
