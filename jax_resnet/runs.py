"""A run's folder: what is written, when it is safe, and how it is found again."""

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import jax

from jax_resnet.config import Config, default_shortcut, to_json
from jax_resnet.errors import UserError
from jax_resnet.find import FILE_NAME
from jax_resnet.hosts import first_decides, is_first
from jax_resnet.lock import locked
from jax_resnet.output import replace_file, writing

ACCURACY = "validation_accuracy"
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "jax-resnet-cifar")


class Run:
    """One run in its folder, one process at a time; of a run's many processes, only the first
    writes there.

    `metrics.jsonl` gets a step's line before the step's checkpoint is written, with which a copy
    of all lines is kept; a resumed run goes on from that copy.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config_file = folder / "config.json"
        self.metrics_file = folder / "metrics.jsonl"
        self.result_file = folder / "result.json"
        self.classifier_file = folder / FILE_NAME
        self.curves_file = folder / "curves.png"

    @classmethod
    @contextmanager
    def open(cls, config: Config) -> Iterator["Run"]:
        """A new run's folder, or with `config.resume` an old one's, held while the block lasts.

        Raises:
            UserError: if the run exists and is not to be resumed, had other hyper-parameters, or
                is in use.
        """
        run = cls(config.runs_dir / config.run_name)
        with ExitStack() as held:

            def begin() -> None:
                with writing(run.folder):
                    run.folder.mkdir(parents=True, exist_ok=True)
                held.enter_context(locked(run.folder))
                run._begin(config)

            first_decides(begin)
            yield run

    def _begin(self, config: Config) -> None:
        if self.config_file.exists():
            if not config.resume:
                raise UserError(
                    f"{self.folder} holds a run already: add --resume to go on with it, "
                    "or give this one a --name of its own"
                )
            self.refuse_changes(config)
        elif self.metrics_file.exists():
            raise UserError(
                f"{self.config_file} is missing, but {self.metrics_file} is there: "
                "put it back, or give this run a --name of its own"
            )
        else:
            with writing(self.folder):
                write_json(self.config_file, to_json(config) | {"environment": environment()})

    def config(self) -> dict[str, Any]:
        """What `config.json` holds."""
        return read_json(self.config_file)

    def refuse_changes(self, config: Config) -> None:
        """Raises a `UserError` that names the hyper-parameters that are not the run's."""
        old = self.config()
        if not isinstance(old, dict):
            raise UserError(f"{self.config_file} is damaged: it holds no JSON object")
        if old.get("shortcut") is None:
            old["shortcut"] = default_shortcut(str(old.get("model")))
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
        try:
            *lines, _unfinished = self.metrics_file.read_text().split("\n")
            records = [json.loads(line) for line in lines]
            steps = [record["step"] for record in records]
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise UserError(f"{self.metrics_file} is damaged: {error}") from error
        if steps != sorted(set(steps)):
            raise UserError(f"{self.metrics_file} is damaged: its steps don't ascend")
        return records

    def append(self, record: dict[str, Any]) -> None:
        """Adds a line to `metrics.jsonl`, on disk when this returns."""
        if not is_first():
            return
        with writing(self.metrics_file), self.metrics_file.open("a") as file:
            file.write(json.dumps(record) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def put_back(self, lines: bytes) -> None:
        """Makes `metrics.jsonl` what it was when a checkpoint was written: later lines go, and
        missing or damaged ones come back."""
        if not is_first():
            return
        with writing(self.metrics_file):
            found = self.metrics_file.read_bytes() if self.metrics_file.exists() else b""
            if not found.startswith(lines):
                print(f"{self.metrics_file} was damaged, and is restored", file=sys.stderr)
            replace_file(self.metrics_file, lines)

    def best_step(self, steps: Collection[int]) -> int | None:
        """The first of `steps` with the highest validation accuracy, if any was validated."""
        return first_decides(lambda: self._best_step(steps))

    def _best_step(self, steps: Collection[int]) -> int | None:
        validated = [r for r in self.records() if r["step"] in steps and ACCURACY in r]
        return max(validated, key=lambda r: r[ACCURACY])["step"] if validated else None


def finished(config: Config) -> dict[str, Any] | None:
    """The result of the run that `config` describes, if it has one that can be read.

    Raises:
        UserError: if that run had other hyper-parameters.
    """
    run = Run(config.runs_dir / config.run_name)
    if not run.result_file.exists():
        return None
    run.refuse_changes(config)
    try:
        return read_json(run.result_file)
    except UserError:
        return None


def chosen(result: dict[str, Any]) -> dict[str, Any]:
    """The scores of the state chosen on validation; of the last where there is no validation."""
    return result.get("best", result["last"])


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
    replace_file(path, (json.dumps(value, indent=1) + "\n").encode())


def read_json(path: Path) -> Any:
    """Raises a `UserError` that names the file if it can't be read."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} can't be read: {error}") from error
