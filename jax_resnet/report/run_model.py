"""The `Classifier` of a run's folder and the data of the run, which fit each other."""

import dataclasses
from pathlib import Path
from typing import Any

from jax_resnet.classifier import Classifier
from jax_resnet.data import DATASETS, Dataset
from jax_resnet.errors import UserError, as_words
from jax_resnet.pretrained import is_unfinished, load_classifier
from jax_resnet.run.folder import Run
from jax_resnet.run.records import own_data, refuse_other_data
from jax_resnet.training.config import Config, load_dataset
from jax_resnet.training.config_file import read_config
from jax_resnet.training.unfinished import from_checkpoint


@dataclasses.dataclass(frozen=True)
class RunModel:
    """A run's classifier and data.

    Attributes:
        classifier: the run's result; of a run that has not finished, that of a checkpoint.
        dataset: split as in the run.
        step: of the checkpoint; None of a finished run.
    """

    classifier: Classifier
    dataset: Dataset
    step: int | None = None


def load_run(folder: Path, given: dict[str, Any]) -> RunModel:
    """The classifier and the data of the run in `folder`.

    Args:
        folder: the run's.
        given: as for `run_dataset`.

    Raises:
        UserError: if the run has no classifier and no checkpoint, or as `run_dataset`.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder, expected the folder of a run")
    if not is_unfinished(folder):
        classifier = load_classifier(folder)
        return RunModel(classifier, run_dataset(classifier, folder, given))
    dataset = run_dataset(None, folder, given)
    classifier, step = from_checkpoint(folder, dataset)
    return RunModel(classifier, dataset, step)


def run_dataset(classifier: Classifier | None, folder: Path, given: dict[str, Any]) -> Dataset:
    """The data of the run in `folder`, split as there.

    Args:
        classifier: must fit the data; None if it is yet to be read.
        folder: the run's.
        given: `data_dir`, where the data lies now, and fields that must equal the run's.

    Raises:
        UserError: if the run, the data or `given` does not fit.
    """
    run = Run(folder)
    values = read_config(run.config_file)
    for name, value in given.items():
        if name != "data_dir" and values.get(name) != value:
            own = values.get(name)
            how = "without it" if own is None else f"with {as_words(own)}"
            raise UserError(
                f"`{name}` is {as_words(value)}, but {folder} was trained {how}: leave it out"
            )
    if own := own_data(run.config_file):
        way = (
            "the command evaluate scores it with `images` and `labels`"
            if classifier
            else "resume it"
        )
        raise UserError(
            f"{folder} is trained on the images {own!r}, which were given in Python: expected a "
            f"run that loaded one of {', '.join(DATASETS)}; {way}"
        )
    dataset = load_dataset(Config(**values | given))
    if classifier is not None:
        check_fits(classifier, dataset)
    data_set = dataset.identity()
    del data_set["sequence"]  # scores don't depend on it
    refuse_other_data(run.config_file, data_set)
    return dataset


def check_fits(classifier: Classifier, dataset: Dataset) -> None:
    """Raises a `UserError` if classes, channels or image size of the two differ; class names
    that are numbers are compared as names too."""
    classes, channels = len(classifier.class_names), classifier.channels
    height, width, found = dataset.image_shape
    if (classes, channels) != (dataset.num_classes, found):
        raise UserError(
            f"the model has {classes} classes and takes images of {channels} channels, "
            f"{dataset.name} has {dataset.num_classes} classes and images of {found}"
        )
    names, expected = tuple(classifier.class_names), dataset.class_names
    if names != expected:
        raise UserError(
            f"the classes of the model are {', '.join(names)}, "
            f"those of {dataset.name} are {', '.join(expected)}"
        )
    fixed = classifier.fixed_size
    if fixed and fixed != (height, width):
        size = "x".join(map(str, fixed))
        raise UserError(
            f"the model takes images of {size} pixels, those of {dataset.name} have "
            f"{height}x{width}"
        )
