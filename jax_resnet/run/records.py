"""What a run's files say: its metrics, its starts, its data, its result."""

import json
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jax_resnet.errors import UserError
from jax_resnet.files import parse_json, read_json, read_text, replace_file, writing

ACCURACY = "validation_accuracy"
ENVIRONMENT = "environment"  # in `config.json`: where the run was begun, and its data
OWN_DATA = "data_set"  # beside them, the name of images that were given in Python
DATA = {  # from `Dataset.identity`, in `config.json` beside the environment
    OWN_DATA: "the names of the images",
    "images": "the numbers of images",
    "class_names": "the class names",
    "fingerprints": "the fingerprints of the images and their labels",
    "sequence": "the fingerprints of all images in order",
    "init": "the SHA-256 digits of the weights of `init`",
}


def read_lines(file: Path) -> list[dict[str, Any]]:
    """The JSON objects in a file of lines; a line without its end does not count yet.

    Raises:
        UserError: if the file is damaged.
    """
    if not file.exists():
        return []
    *lines, _unfinished = read_text(file).split("\n")
    return [parse_json(line, file) for line in lines]


def read_records(file: Path) -> list[dict[str, Any]]:
    """The lines of a `metrics.jsonl`.

    Raises:
        UserError: if the file is damaged.
    """
    records = read_lines(file)
    for record in records:
        step, accuracy = record.get("step"), record.get(ACCURACY, 0.0)
        if not isinstance(step, int) or not isinstance(accuracy, float):
            raise UserError(f"{file} is damaged: `step` is {step!r}, {ACCURACY} {accuracy!r}")
    steps = [record["step"] for record in records]
    if steps != sorted(set(steps)):
        raise UserError(f"{file} is damaged: its steps don't ascend")
    return records


def best_step(records: list[dict[str, Any]], steps: Collection[int] | None = None) -> int | None:
    """The first step, by default of all, with the highest validation accuracy."""
    validated = [r for r in records if ACCURACY in r and (steps is None or r["step"] in steps)]
    return max(validated, key=lambda record: record[ACCURACY])["step"] if validated else None


def chosen(result: dict[str, Any]) -> dict[str, Any]:
    """The scores of the state chosen on validation; of the last where there is no validation."""
    return result.get("best", result["last"])


def inconsistent(result: dict[str, Any]) -> str | None:
    """Which of the scores in a `result.json`, last or best, have another accuracy than that of
    their counts."""
    for name in ("last", "best") if "best" in result else ("last",):
        correct, count = result[name]["correct"], result[name]["count"]
        if not 0 <= correct <= count > 0 or result[name]["accuracy"] != correct / count:
            return name
    return None


def read_start_lines(file: Path) -> list[dict[str, Any]]:
    """The lines of a `starts.jsonl`.

    Raises:
        UserError: if the file is damaged.
    """
    starts = read_lines(file)
    for start in starts:
        check_versions(start, file)
    return starts


def add_start(
    file: Path, before: list[dict[str, Any]], step: int, environment: dict[str, Any]
) -> None:
    """Writes a `starts.jsonl`: the lines from before, and one that the run continues from a step,
    now and in this environment."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    starts = [*before, {"step": step, "time": now} | environment]
    with writing(file):
        replace_file(file, "".join(json.dumps(start) + "\n" for start in starts).encode())


def read_environment(config_file: Path) -> dict[str, Any]:
    """Where the run of a `config.json` was begun, and its data; empty where that is not said.

    Raises:
        UserError: if the file is damaged.
    """
    environment: Any = read_json(config_file).get(ENVIRONMENT, {})
    if not isinstance(environment, dict):
        raise UserError(f"{config_file} is damaged: its environment is not an object")
    check_versions(environment, config_file)
    return environment


def own_data(config_file: Path) -> str | None:
    """The name of a run's images if they were given in Python, and no data set's that a config
    names."""
    return read_environment(config_file).get(OWN_DATA)


def check_versions(environment: dict[str, Any], file: Path) -> None:
    """Raises a `UserError` if the versions that an environment in a file has are no object."""
    if not isinstance(versions := environment.get("versions") or {}, dict):
        raise UserError(f"{file} is damaged: its versions are {versions!r:.80}")


def refuse_other_data(config_file: Path, data: dict[str, Any]) -> None:
    """Raises a `UserError` that names what differs from the data of the run of a `config.json`;
    the runs of older versions say less of it."""
    had = read_environment(config_file)
    for name, now in data.items():
        if had.get(name, now) != now:
            raise UserError(
                f"{config_file}: {DATA[name]} were {had[name]!s:.400}, and are {now!s:.400}: "
                "expected what the run was trained on"
            )


def refuse_other_environment(config_file: Path, copy: Path) -> None:
    """Raises a `UserError` if a `config.json` has another environment than a checkpoint's copy."""
    if read_environment(config_file) != read_environment(copy):
        raise UserError(
            f"{config_file} is damaged: its environment is not that of its copy {copy}, which can "
            "take its place"
        )
