"""What comes before a run is trained: whether it may begin, goes on, or is finished; its images."""

from collections.abc import Callable
from functools import partial
from typing import Any

from jax_resnet.data import Dataset
from jax_resnet.errors import UserError
from jax_resnet.files import read_json
from jax_resnet.run.distributed import first_decides, say_first
from jax_resnet.run.folder import Run
from jax_resnet.run.records import are_consistent, chosen
from jax_resnet.run.signals import raise_signals
from jax_resnet.training.config import Config
from jax_resnet.training.config_file import refuse_changes


def load_aloud(load: Callable[[Config], Dataset], config: Config) -> Dataset:
    """`load(config)`; says which data set is loaded, and a signal raises `Interrupted`."""
    say_first(f"loading {config.dataset}")
    with raise_signals():
        return load(config)


def check_folder(config: Config) -> None:
    """Raises a `UserError`, as `train`, if the run exists and is not to be resumed, had other
    hyper-parameters, lacks files, or has test scores that would be lost.

    `train` looks at the folder again, when it holds it.
    """
    Run(config.folder).check(config.resume, partial(refuse_changes, config))
    first_decides(partial(refuse_test_scores, config))


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
    if not run.result_file.exists():
        return None
    refuse_changes(config, run.config_file)
    refuse_test_scores(config)
    result = _read_result(config)
    return result if result and _split(result) == config.scored_split else None


def result_of(run: Config) -> dict[str, Any] | None:
    """The result of a finished run, with `resume`; any other run is checked, as by
    `check_folder`.

    Raises:
        UserError: if it is not finished, and can neither begin nor go on.
    """
    if run.resume and (result := finished(run)):
        return result
    check_folder(run)
    return None


def _split(result: dict[str, Any]) -> str:
    return chosen(result).get("split", "test")  # version 0.1 scored test images alone


def _read_result(config: Config) -> dict[str, Any] | None:
    """The result, unless there is none or it is damaged: then the run writes it again."""
    try:
        result = read_json(Run(config.folder).result_file)
        return result if are_consistent(chosen(result)) else None
    except (UserError, KeyError, TypeError, AttributeError):
        return None
