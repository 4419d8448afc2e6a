"""A run's folder: what is written, when it is safe, and how it is found again."""

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import jax

from jax_resnet.classifier import CLASSIFIER_FILE
from jax_resnet.data import Dataset
from jax_resnet.errors import UserError
from jax_resnet.files import locked, replace_file, writing
from jax_resnet.run.distributed import first_decides, is_first
from jax_resnet.training.config import Config, default_shortcut, to_json

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
        self.classifier_file = folder / CLASSIFIER_FILE
        self.curves_file = folder / "curves.png"
        self.checkpoints = folder / "checkpoints"

    @classmethod
    @contextmanager
    def open(
        cls, config: Config, dataset: Dataset, devices: Iterable[jax.Device]
    ) -> Iterator["Run"]:
        """A new run's folder, or with `config.resume` an old one's, held while the block lasts.

        Raises:
            UserError: if the run exists and is not to be resumed, had other hyper-parameters or
                other data, is finished without a checkpoint left, or is in use.
        """
        run = cls(config.folder)
        with ExitStack() as held:

            def begin() -> None:
                with writing(run.folder):
                    run.folder.mkdir(parents=True, exist_ok=True)
                held.enter_context(locked(run.folder))
                run._begin(config, dataset, devices)

            first_decides(begin)
            yield run

    def _begin(self, config: Config, dataset: Dataset, devices: Iterable[jax.Device]) -> None:
        left = [path for path in (self.metrics_file, self.checkpoints) if path.exists()]
        if self.config_file.exists():
            if not config.resume:
                raise UserError(
                    f"{self.folder} holds a run already: add --resume to go on with it, "
                    "or give this one a --name of its own"
                )
            self.refuse_changes(config)
            self.refuse_other_data(dataset)
            if self.result_file.exists() and not any(self.checkpoints.glob("[0-9]*")):
                raise UserError(
                    f"{self.folder} is finished, and holds no checkpoint to go on from: "
                    "give this run a --name of its own"
                )
        elif left:
            raise UserError(
                f"{self.config_file} is missing, but {left[0]} is there: "
                "put it back, or give this run a --name of its own"
            )
        else:
            more = {"environment": environment(dataset, devices)}
            with writing(self.folder):
                write_json(self.config_file, to_json(config) | more)

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

    def refuse_other_data(self, dataset: Dataset) -> None:
        """Raises a `UserError` unless there are as many images of each split as the run had: with
        one more, a folder's are dealt out otherwise."""
        had = self.config().get("environment", {}).get("images", dataset.counts)
        if had != dataset.counts:
            raise UserError(
                f"{self.config_file}: the numbers of images were {had}, and are {dataset.counts}: "
                "expected the data that the run was trained on"
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
    run = Run(config.folder)
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


def environment(dataset: Dataset, devices: Iterable[jax.Device]) -> dict[str, Any]:
    """What a result may depend on beside the hyper-parameters."""
    return {
        "versions": {name: _version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "devices": [device.device_kind for device in devices],
        "commit": _commit(),
        "images": dataset.counts,
    }


def _version(package: str) -> str | None:
    """None of this one where it is used from its source, not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The git commit of this package's source, if it has one; "-dirty" says that it was changed."""
    here = ["git", "-C", str(Path(__file__).parent)]
    describe = ["describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:  # an installed package may lie in a repository that is not its own
        subprocess.run(
            [*here, "ls-files", "--error-unmatch", Path(__file__).name],
            capture_output=True,
            check=True,
        )
        said = subprocess.run([*here, *describe], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return said.stdout.strip()


def write_json(path: Path, value: Any) -> None:
    """Writes a file in one piece."""
    replace_file(path, (json.dumps(value, indent=1) + "\n").encode())


def read_json(path: Path) -> Any:
    """Raises a `UserError` that names the file if it can't be read."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} can't be read: {error}") from error
