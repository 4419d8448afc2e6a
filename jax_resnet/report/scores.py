"""A model and the images it is scored on, from what a command is told."""

import os
from pathlib import Path
from typing import Any, Literal

import jax.numpy as jnp

from jax_resnet.classifier import Classifier
from jax_resnet.data import Dataset
from jax_resnet.errors import UserError
from jax_resnet.pretrained import load_classifier
from jax_resnet.run.folder import Run
from jax_resnet.training.config import Config
from jax_resnet.training.config_file import read_config
from jax_resnet.training.evaluation import evaluate, to_device
from jax_resnet.training.job import load_dataset

SplitName = Literal["test", "validation", "train"]
Precision = Literal["float32", "tf32", "bf16"]


def score(
    model: str | os.PathLike[str],
    split: SplitName = "test",
    precision: Precision = "float32",
    **data: Any,
) -> dict[str, Any]:
    """`split`, `count`, `correct`, `accuracy` and mean `loss` of a model on a split.

    Args:
        model: a run's folder, whose `config.json` says what the data and its splits are; or a
            Classifier file.
        split: as the run divided the data; a file knows of no validation images.
        precision: of the computation; anything but float32 may change answers.
        data: fields of `Config` that say what the data is and where it lies: `dataset`,
            `data_dir`, `image_size`, `split_proportions`; for a run they may move the data, not
            change it.

    Raises:
        UserError: if there is no such model, data or split, or they don't suit each other.
    """
    classifier = load_classifier(model)
    given = {name: value for name, value in data.items() if value is not None}
    is_run = Path(model).is_dir()
    if split == "validation" and not is_run and given.get("dataset") != "folder":
        raise UserError(
            f"--split validation: {model} does not say which images were kept for validation, "
            "expected the folder of the run, or --split test or train"
        )
    if is_run:
        dataset = run_dataset(classifier, Path(model), given)
    else:
        dataset = load_dataset(file_config(classifier, given))
        check_suits(classifier, dataset)
    images = getattr(dataset, split)
    if not len(images):
        raise UserError(f"--split {split}: there are no such images in {dataset.name}")
    if precision == "bf16":
        classifier = classifier.replace(model=classifier.model.clone(dtype=jnp.bfloat16))
    matmul = "float32" if precision == "float32" else "default"
    return {"split": split} | evaluate(classifier, to_device(images), precision=matmul)


def run_dataset(classifier: Classifier, folder: Path, given: dict[str, Any]) -> Dataset:
    """The data of the run in a folder, split as there, which suits its `classifier`; `given` may
    say where it lies now."""
    dataset = load_dataset(run_config(folder, given))
    check_suits(classifier, dataset)
    Run(folder).refuse_other_data(dataset)
    return dataset


def run_config(folder: Path, given: dict[str, Any]) -> Config:
    """The `Config` in a run's folder, told where the data lies now."""
    try:
        values = read_config(folder / "config.json")
    except UserError as error:
        raise UserError(str(error).removeprefix("--config ")) from error
    for name, value in given.items():
        if name != "data_dir" and values.get(name) != value:
            raise UserError(
                f"--{name.replace('_', '-')} is {value!r}, but {folder} was trained with "
                f"{values.get(name)!r}: leave the flag out"
            )
    return Config(**values | given)


def file_config(classifier: Classifier, given: dict[str, Any]) -> Config:
    """The `Config` of a data set as it comes, nothing taken from its training images."""
    if given.get("dataset") == "folder":
        given = given | {"channels": classifier.channels}
    return Config(val_fraction=0, **given)


def check_suits(classifier: Classifier, dataset: Dataset) -> None:
    """Raises a `UserError` if the classifier has other classes or takes other images."""
    classes, channels = len(classifier.class_names), classifier.channels
    height, width, found = dataset.image_shape
    if (classes, channels) != (dataset.num_classes, found):
        raise UserError(
            f"the model tells {classes} classes in images of {channels} channels, "
            f"{dataset.name} has {dataset.num_classes} classes in images of {found}"
        )
    theirs, ours = classifier.class_names, dataset.class_names
    if theirs != ours and theirs != tuple(map(str, range(classes))):
        raise UserError(
            f"the model tells {', '.join(theirs)}, {dataset.name} has {', '.join(ours)}"
        )
    if classifier.mean.ndim == 3 and classifier.mean.shape[:2] != (height, width):
        size = "x".join(map(str, classifier.mean.shape[:2]))
        raise UserError(f"the model takes {size} pixels, {dataset.name} has {height}x{width}")
