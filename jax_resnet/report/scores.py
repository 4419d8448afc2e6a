"""Loss and accuracy of a model on a split of a data set."""

import os
from pathlib import Path
from typing import Any, Literal

import jax

from jax_resnet.classifier import Classifier
from jax_resnet.data import Dataset
from jax_resnet.errors import UserError
from jax_resnet.pretrained import load_classifier
from jax_resnet.run.folder import Run
from jax_resnet.run.records import refuse_other_data
from jax_resnet.training.config import Config, load_dataset
from jax_resnet.training.config_file import read_config
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
        model: a run's folder, which determines the data and its splits; or a Classifier file.
        split: as the run divided the data; a Classifier file has no validation images.
        precision: of the computation; other values than float32 may change predictions.
        data: fields of `Config` that name the data: `dataset`, `data_dir`, `image_size`,
            `split_proportions`. For a run only `data_dir` may differ from the run's own.

    Raises:
        UserError: if the model, the data or the split does not exist, or the model does not fit
            the data.
    """
    classifier = load_classifier(model)
    given = {name: value for name, value in data.items() if value is not None}
    if Path(model).is_dir():
        dataset = run_dataset(classifier, Path(model), given)
    else:
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


def run_dataset(classifier: Classifier, folder: Path, given: dict[str, Any]) -> Dataset:
    """The data of the run in `folder`, split as there.

    Args:
        classifier: must fit the data.
        folder: the run's.
        given: `data_dir`, where the data lies now, and fields that must equal the run's.

    Raises:
        UserError: if the run, the data or `given` does not fit.
    """
    run = Run(folder)
    values = read_config(run.config_file)
    for name, value in given.items():
        if name != "data_dir" and values.get(name) != value:
            raise UserError(
                f"`{name}` is {value!r}, but {folder} was trained with {values.get(name)!r}: "
                "leave it out"
            )
    dataset = load_dataset(Config(**values | given))
    check_fits(classifier, dataset)
    data_set = dataset.identity()
    del data_set["sequence"]  # scores don't depend on it
    refuse_other_data(run.config_file, data_set)
    return dataset


def file_config(classifier: Classifier, given: dict[str, Any]) -> Config:
    """The `Config` of a data set with all its training images in `train`."""
    if given.get("dataset") == "folder":
        given = given | {"channels": classifier.channels}
    return Config(val_fraction=0, **given)


def check_fits(classifier: Classifier, dataset: Dataset) -> None:
    """Raises a `UserError` if classes, channels or image size of the two differ; numbers are names
    like any others."""
    classes, channels = len(classifier.class_names), classifier.channels
    height, width, found = dataset.image_shape
    if (classes, channels) != (dataset.num_classes, found):
        raise UserError(
            f"the model has {classes} classes and takes images of {channels} channels, "
            f"{dataset.name} has {dataset.num_classes} classes and images of {found}"
        )
    names, expected = classifier.class_names, dataset.class_names
    if names != expected:
        raise UserError(
            f"the classes of the model are {', '.join(names)}, "
            f"those of {dataset.name} are {', '.join(expected)}"
        )
    if classifier.mean.ndim == 3 and classifier.mean.shape[:2] != (height, width):
        size = "x".join(map(str, classifier.mean.shape[:2]))
        raise UserError(
            f"the model takes images of {size} pixels, those of {dataset.name} have "
            f"{height}x{width}"
        )
