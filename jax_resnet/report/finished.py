"""The files of a run, whose shapes are checked: what is drawn from them is there."""

from pathlib import Path
from typing import Annotated, Any, NotRequired, TypeVar

from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from jax_resnet.errors import UserError
from jax_resnet.files import read_json
from jax_resnet.run.environment import differences
from jax_resnet.run.folder import Run
from jax_resnet.run.records import read_environment, read_lines

Count = Annotated[int, Field(ge=0, lt=2**31)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
T = TypeVar("T")


class GradientNorms(TypedDict):
    """L2 norm of the gradient of each part of the net."""

    stem_conv: float
    stem_norm: float
    stage1: float
    stage2: float
    stage3: float
    head: float


class Record(TypedDict):
    """A line of `metrics.jsonl`."""

    step: Count
    train_loss: float
    train_accuracy: float
    validation_loss: NotRequired[float]
    validation_accuracy: NotRequired[float]
    learning_rate: float
    gradient_norms: GradientNorms
    images_per_second: NonNegative


class Scores(TypedDict):
    """Of one state in `result.json`."""

    step: Count
    count: Count
    correct: Count
    accuracy: float
    loss: float


class Result(TypedDict):
    """`result.json`."""

    last: Scores
    best: NotRequired[Scores]


class Environment(TypedDict):
    """What the page shows of the place where a run was begun, or went on."""

    devices: Annotated[list[str], Field(min_length=1)]
    python: str
    versions: dict[str, str | None]
    commit: str | None


class Start(Environment):
    """The first line of a `starts.jsonl`, or one that differs from the line before."""

    step: Count


def checked(kind: Any, value: T, path: Path) -> T:
    """The value, as it was read from `path`.

    Raises:
        UserError: which says what is damaged, if it is not of a kind.
    """
    try:
        TypeAdapter(kind).validate_python(value, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UserError(f"{path} is damaged: {where}: {first['msg']}") from None
    return value


def read_finished(folder: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The metrics and the result of a finished run.

    Raises:
        UserError: if it has not finished, or they are damaged.
    """
    run = Run(folder)
    records = read_metrics(run)
    result = checked(Result, read_json(run.result_file), run.result_file)
    if (split := result["last"].get("split", "test")) != "test":
        raise UserError(
            f"{run.result_file} holds {split} scores, expected those of the test images: "
            "resume the run with `test`"
        )
    if not records:
        raise UserError(f"{folder} holds no finished run: {run.metrics_file} is empty")
    return records, result


def read_metrics(run: Run) -> list[dict[str, Any]]:
    """The metrics of each epoch.

    Raises:
        UserError: if they are damaged.
    """
    return checked(list[Record], run.records(), run.metrics_file)


def read_starts(run: Run) -> list[dict[str, Any]]:
    """Where the run was begun, and each other place where it went on, with the `step` from which.

    Raises:
        UserError: if a file is damaged.
    """
    begun: dict[str, Any] = {"step": 0} | checked(
        Environment, read_environment(run.config_file), run.config_file
    )
    starts = [begun]
    for start in checked(list[Start], read_lines(run.starts_file), run.starts_file):
        starts = [each for each in starts if each["step"] < start["step"]]  # the others were lost
        place = {name: value for name, value in start.items() if name not in ("step", "time")}
        if not starts or differences(starts[-1], place):
            starts.append(start)
    return starts
