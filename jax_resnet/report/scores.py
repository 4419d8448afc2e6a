"""Loss and accuracy of a model on a split of a data set."""

import os
from pathlib import Path
from typing import Any, Literal

import jax

from jax_resnet.classifier import Classifier
from jax_resnet.errors import UserError
from jax_resnet.pretrained import load_classifier
from jax_resnet.report.run_model import check_fits, load_run
from jax_resnet.training.config import Config, load_dataset
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
        split: as the run divided the data; a Classifier file has no validation images.
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
        dataset = load_dataset(file_config(classifier, given))
        check_fits(classifier, dataset)
    images = getattr(dataset, split)
    if not len(images):
        raise UserError(f"`split` is {split!r}, but {dataset.name} has no such images")
    model_at_precision = classifier.model.clone(dtype=dtype_on(jax.default_backend(), precision))
    scores = evaluate(
        classifier.replace(model=model_at_precision),
        to_device(images),
        precision=matmul_precision(precision),
    )
    return {"split": split} | scores


def file_config(classifier: Classifier, given: dict[str, Any]) -> Config:
    """The `Config` of a data set with all its training images in `train`."""
    if given.get("dataset") == "folder":
        given = given | {"channels": classifier.channels}
    return Config(val_fraction=0, **given)
