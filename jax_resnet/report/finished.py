"""Reads a run's files, and checks that every value to be drawn is there."""

from pathlib import Path
from typing import Annotated, Any, NotRequired, TypeVar

from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from jax_resnet.errors import UserError
from jax_resnet.files import read_json
from jax_resnet.run.environment import differences
from jax_resnet.run.folder import Run
from jax_resnet.run.records import inconsistent, read_environment, read_lines

Count = Annotated[int, Field(ge=0, lt=2**31)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
ROUNDING = 1e-9  # of a number of epochs
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

    step: Annotated[Count, Field(gt=0)]
    train_loss: float
    train_accuracy: float
    validation_loss: NotRequired[float]
    validation_accuracy: NotRequired[float]
    learning_rate: float
    gradient_norms: GradientNorms
    images_per_second: Positive
    epoch: Positive


class Scores(TypedDict):
    """Of one state in `result.json`."""

    step: Count
    count: Count
    correct: Count
    accuracy: Finite
    loss: Finite


class Result(TypedDict):
    """`result.json`."""

    last: Scores
    best: NotRequired[Scores]


class Environment(TypedDict):
    """What the page shows of the place where a run was begun or resumed."""

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
    if not run.result_file.exists():
        raise UserError(f"{folder} has not finished: `resume` the run")
    records = check_metrics(run.records(), run.metrics_file)
    result = checked(Result, read_json(run.result_file), run.result_file)
    if name := inconsistent(result):
        scores = result[name]
        raise UserError(
            f"{run.result_file} is damaged: {name}.accuracy is {scores['accuracy']}, but "
            f"{scores['correct']} of {scores['count']} are correct"
        )
    if (split := result["last"].get("split", "test")) != "test":
        raise UserError(
            f"{run.result_file} holds {split} scores, expected those of the test images: "
            "resume the run with `test`, if its data set has some"
        )
    if not records:
        raise UserError(f"{folder} holds no finished run: {run.metrics_file} is missing or empty")
    end, found = result["last"]["step"], records[-1]["step"]
    if found != end:
        raise UserError(
            f"{run.metrics_file} is damaged: its last line is of step {found}, expected {end}"
        )
    return records, result


def check_metrics(records: list[dict[str, Any]], file: Path) -> list[dict[str, Any]]:
    """The records, as they were read from a `metrics.jsonl` or a copy of it.

    Raises:
        UserError: if they are damaged, or lines are missing before the last one.
    """
    checked(list[Record], records, file)
    for number, record in enumerate(records, 1):
        # An epoch ends with the batch that completes it, the last one with the run.
        least = number - 1 if number == len(records) else number - ROUNDING
        batch = record["epoch"] / record["step"]
        if not least < record["epoch"] < number + batch - ROUNDING:
            raise UserError(
                f"{file} is damaged: its line {number} is of the end of epoch {record['epoch']:g}"
            )
        if record.keys() != records[0].keys():
            odd = min(record.keys() ^ records[0].keys())
            raise UserError(f"{file} is damaged: not all lines have {odd}")
    return records


def read_starts(run: Run) -> list[dict[str, Any]]:
    """Where the run began, and each other place where it was resumed, with the `step` from which.

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
