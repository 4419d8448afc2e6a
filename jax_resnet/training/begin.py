"""What comes before training: whether a run may begin, continues, or is finished; its images."""

from functools import partial
from typing import Any

from jax_resnet.data import Dataset
from jax_resnet.data.copies import say_copies
from jax_resnet.data.folder import refuse_among_images
from jax_resnet.errors import UserError, say
from jax_resnet.files import read_json
from jax_resnet.run.distributed import first_decides, is_first, say_first
from jax_resnet.run.folder import Run
from jax_resnet.run.records import chosen, inconsistent, own_data
from jax_resnet.run.signals import raise_signals
from jax_resnet.training.config import Config, divide, load_images
from jax_resnet.training.config_file import refuse_changes
from jax_resnet.training.recipes import RECIPES


def load_aloud(config: Config) -> Dataset:
    """`load_images(config)`; prints which data set is loaded and, of a folder, what is unexpected
    about its validation images. A signal raises `Interrupted`."""
    say_first(f"loading {config.dataset}")
    with raise_signals():
        images = load_images(config)
        if config.dataset == "folder" and is_first():
            say_validation(images, config)
        return images


def say_validation(images: Dataset, config: Config) -> None:
    """Prints a line if a folder's own validation images leave `val_fraction` without effect, if the
    flags leave none, or if those taken from the training images have copies there (of several
    seeds, for the first one)."""
    share = config.val_fraction
    if count := len(images.validation):
        if share != RECIPES[config.recipe].val_fraction:
            say(f"--val-fraction {share} has no effect: there are {count} validation images")
        return
    if not share:
        return
    if config.split_proportions:
        say(
            f"--split-proportions leaves no validation images: a share of {share} of those of "
            "training is taken, which --val-fraction 0 would not do"
        )
    dataset = divide(images, config)
    source = f"{config.data_dir}, seed {config.seed}"
    say_copies(source, within=False, training=dataset.train, validation=dataset.validation)


def check_folder(config: Config) -> None:
    """Raises a `UserError`, as `train`, if the run exists and is not to be resumed, had other
    hyper-parameters, lacks files, has test scores that would be lost, or lies among images.

    `train` looks at the folder again, when it holds it.
    """
    first_decides(partial(refuse_place, config))
    Run(config.folder).check(config.resume, partial(refuse_changes, config))
    first_decides(partial(refuse_test_scores, config))


def refuse_place(config: Config) -> None:
    """Raises a `UserError` if the run's folder would lie among the images of `dataset` folder."""
    if config.dataset == "folder" and config.data_dir is not None:
        refuse_among_images(config.folder, config.data_dir)


def refuse_test_scores(config: Config) -> None:
    """Raises a `UserError` if the run has test scores, which with `test` off those of validation
    would replace."""
    if not config.test and (result := _read_result(config)) and _split(result) == "test":
        raise UserError(
            f"{config.folder} has test scores, which those of validation would replace: expected "
            "`test`, or another `name`"
        )


def finished(config: Config) -> dict[str, Any] | None:
    """The result of the run that `config` describes, if it has one of `config.scored_split` that
    can be read.

    Raises:
        UserError: if that run had other hyper-parameters, or as `refuse_test_scores`.
    """
    run = Run(config.folder)
    if not (run.result_file.exists() and run.config_file.exists()):
        return None
    refuse_changes(config, run.config_file)
    refuse_test_scores(config)
    result = _read_result(config)
    return result if result and _split(result) == config.scored_split else None


def result_of(run: Config) -> dict[str, Any] | None:
    """The result of a finished run, with `resume`; any other run is checked, as by
    `check_folder`.

    Raises:
        UserError: if it is not finished, and can neither begin nor continue; or if it was trained
            on other images than those that `dataset` names.
    """
    if run.resume and (result := finished(run)):
        if own := own_data(Run(run.folder).config_file):
            raise UserError(
                f"{run.folder} was trained on the images {own!r}, which were given in Python, not "
                f"on {run.dataset}: choose another `name`"
            )
        return result
    check_folder(run)
    return None


def _split(result: dict[str, Any]) -> str:
    return chosen(result).get("split", "test")  # version 0.1 scored test images alone


def _read_result(config: Config) -> dict[str, Any] | None:
    """The result, unless there is none or it is damaged: then the run writes it again."""
    try:
        result = read_json(Run(config.folder).result_file)
        return None if inconsistent(result) else result
    except (UserError, KeyError, TypeError, AttributeError):
        return None
