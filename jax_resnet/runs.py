"""A run's folder: what is written, when it is safe, and how it is found again."""

import importlib.metadata
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN

from jax_resnet.config import Config, to_json
from jax_resnet.errors import UserError
from jax_resnet.find import FILE_NAME

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "jax-resnet-cifar")


class Run:
    """One run in its folder.

    `metrics.jsonl` gets a step's line before the step's checkpoint is written, so a checkpoint
    never lacks lines; a resumed run drops those that lie beyond its checkpoint.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config_file = folder / "config.json"
        self.metrics_file = folder / "metrics.jsonl"
        self.result_file = folder / "result.json"
        self.classifier_file = folder / FILE_NAME
        self.curves_file = folder / "curves.png"

    @classmethod
    def open(cls, config: Config) -> "Run":
        """A new run's folder, or with `config.resume` an old one's.

        Raises:
            UserError: if the run exists and is not to be resumed, or had other hyper-parameters.
        """
        run = cls(config.runs_dir / config.run_name)
        if run.config_file.exists():
            if not config.resume:
                raise UserError(
                    f"{run.folder} holds a run already: add --resume to go on with it, "
                    "or give this one a --name of its own"
                )
            run._refuse_changes(config)
            return run
        try:
            run.folder.mkdir(parents=True, exist_ok=True)
            write_json(run.config_file, to_json(config) | {"environment": environment()})
        except OSError as error:
            raise UserError(f"the run's folder {run.folder} can't be written: {error}") from error
        return run

    def config(self) -> dict[str, Any]:
        """What `config.json` holds."""
        return read_json(self.config_file)

    def _refuse_changes(self, config: Config) -> None:
        old = self.config()
        new = config.hyper_parameters()
        changed = [
            f"--{name.replace('_', '-')} was {old.get(name)!r}, is {value!r}"
            for name, value in new.items()
            if old.get(name) != value
        ]
        if changed:
            raise UserError(
                f"{self.folder} can't be resumed with other hyper-parameters: {'; '.join(changed)}"
            )

    def records(self) -> list[dict[str, Any]]:
        """The lines of `metrics.jsonl`; one cut off in the middle is no line yet."""
        if not self.metrics_file.exists():
            return []
        *lines, _unfinished = self.metrics_file.read_text().split("\n")
        try:
            return [json.loads(line) for line in lines]
        except ValueError as error:
            raise UserError(f"{self.metrics_file} is damaged: {error}") from error

    def append(self, record: dict[str, Any]) -> None:
        """Adds a line to `metrics.jsonl`, on disk when this returns."""
        with self.metrics_file.open("a") as file:
            file.write(json.dumps(record) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def drop_records_after(self, step: int) -> None:
        """Takes back the lines that the checkpoint of `step` knows nothing of."""
        kept = [json.dumps(record) + "\n" for record in self.records() if record["step"] <= step]
        _replace(self.metrics_file, "".join(kept))

    def checkpoints(self) -> ocp.CheckpointManager:
        """Keeps the last checkpoint and the best on validation; neither pushes the other out."""
        options = ocp.CheckpointManagerOptions(
            preservation_policy=AnyPreservationPolicy(
                [
                    LatestN(1),
                    BestN(get_metric_fn=_accuracy, n=1, keep_checkpoints_without_metrics=False),
                ]
            ),
            best_fn=_accuracy,  # or no metrics are stored
            best_mode="max",
            enable_async_checkpointing=False,
        )
        return ocp.CheckpointManager((self.folder / "checkpoints").absolute(), options=options)


def _accuracy(metrics: Any) -> float:
    return metrics["validation_accuracy"]


def environment() -> dict[str, Any]:
    """What a result may depend on beside the hyper-parameters."""
    return {
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "devices": [device.device_kind for device in jax.devices()],
        "commit": _commit(),
    }


def _commit() -> str | None:
    """The git commit of this package's source, if it has one."""
    try:
        command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def write_json(path: Path, value: Any) -> None:
    """Writes a file in one piece."""
    _replace(path, json.dumps(value, indent=1) + "\n")


def read_json(path: Path) -> Any:
    """Raises a `UserError` that names the file if it can't be read."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} can't be read: {error}") from error


def _replace(path: Path, text: str) -> None:
    unfinished = path.with_name(path.name + ".unfinished")
    with unfinished.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(unfinished, path)
