"""A run's folder: what is written to it and when, and how a run is resumed."""

import json
import os
import sys
from collections.abc import Collection, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from jax_resnet.classifier import CLASSIFIER_FILE, Classifier
from jax_resnet.errors import UserError
from jax_resnet.files import locked, read_json, replace_file, write_json, writing
from jax_resnet.plots import draw_curves
from jax_resnet.run.checkpoints import Checkpoints
from jax_resnet.run.distributed import first_decides, is_first

ACCURACY = "validation_accuracy"


class Run:
    """The files in a run's folder; of several processes, only the first writes them.

    A line is appended to `metrics.jsonl` before the checkpoint of its step is written, and the
    checkpoint holds a copy of all lines: a resumed run continues from that copy.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config_file = folder / "config.json"
        self.metrics_file = folder / "metrics.jsonl"
        self.result_file = folder / "result.json"
        self.classifier_file = folder / CLASSIFIER_FILE
        self.curves_file = folder / "curves.png"
        self.checkpoints = folder / "checkpoints"

    @contextmanager
    def open(
        self, settings: dict[str, Any], environment: dict[str, Any], resume: bool
    ) -> Iterator["OpenRun"]:
        """A new run, or with `resume` an existing one, held by this process until the block ends.

        Args:
            settings: of a new run; they go into `config.json`.
            environment: where a new run is made, and under "images" the counts of its data.
            resume: continue the run if it exists.

        Raises:
            UserError: if the run exists and is not to be resumed, had other numbers of images, is
                in use, or lacks files.
        """
        with ExitStack() as held:

            def begin() -> None:
                with writing(self.folder):
                    self.folder.mkdir(parents=True, exist_ok=True)
                held.enter_context(locked(self.folder))
                if self.config_file.exists():
                    self._refuse(resume)
                    self.refuse_other_data(environment["images"])
                    return
                self._refuse_remains()
                with writing(self.folder):
                    write_json(self.config_file, settings | {"environment": environment})

            first_decides(begin)
            checkpoints = Checkpoints(self.checkpoints, self.folder / "damaged")
            yield OpenRun(self.folder, held.enter_context(closing(checkpoints)))

    def _refuse(self, resume: bool) -> None:
        if not resume:
            raise UserError(
                f"{self.folder} holds a run already: add `resume` to continue it, "
                "or choose another `name`"
            )
        if self.result_file.exists() and not any(self.checkpoints.glob("[0-9]*")):
            raise UserError(
                f"{self.folder} is finished, and no checkpoint is left to continue from: "
                "choose another `name`"
            )

    def _refuse_remains(self) -> None:
        for path in (self.metrics_file, self.checkpoints):
            if path.exists():
                raise UserError(
                    f"{self.config_file} is missing, but {path} exists: "
                    "put it back, or choose another `name`"
                )

    def config(self) -> dict[str, Any]:
        """What `config.json` holds."""
        return read_json(self.config_file)

    def records(self) -> list[dict[str, Any]]:
        """The lines of `metrics.jsonl`; a line without its end does not count yet."""
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

    def refuse_other_data(self, counts: dict[str, int]) -> None:
        """Raises a `UserError` unless there are as many images of each split as the run had: a
        folder with other images is split in another way."""
        had = self.config().get("environment", {}).get("images", counts)
        if had != counts:
            raise UserError(
                f"{self.config_file}: the numbers of images were {had}, and are {counts}: "
                "expected the data that the run was trained on"
            )


class OpenRun(Run):
    """A run that this process holds, and writes if it is the first one."""

    def __init__(self, folder: Path, checkpoints: Checkpoints) -> None:
        super().__init__(folder)
        self._saved = checkpoints

    @property
    def latest(self) -> int | None:
        """The step of the last good checkpoint."""
        return self._saved.latest

    @property
    def best(self) -> int | None:
        """The step of the checkpoint that is best on validation, if any was validated."""
        return self._best_of(self._saved.steps)

    def _best_of(self, steps: Collection[int]) -> int | None:
        """The first of `steps` with the highest validation accuracy."""

        def best() -> int | None:
            validated = [r for r in self.records() if r["step"] in steps and ACCURACY in r]
            return max(validated, key=lambda r: r[ACCURACY])["step"] if validated else None

        return first_decides(best)

    def append(self, record: dict[str, Any]) -> None:
        """Adds a line to `metrics.jsonl`, on disk when this returns."""
        if is_first():
            with writing(self.metrics_file), self.metrics_file.open("a") as file:
                file.write(json.dumps(record) + "\n")
                file.flush()
                os.fsync(file.fileno())

    def save(self, step: int, tree: Any) -> None:
        """Writes the checkpoint of a step, unless it exists."""
        if step != self.latest:
            lines = self.metrics_file.read_bytes() if self.metrics_file.exists() else b""
            self._saved.save(step, tree, lines, self._best_of({*self._saved.steps, step}))

    def resume(self, tree: Any) -> Any:
        """The tree of the last good checkpoint, or the one given if there is none.

        `metrics.jsonl` becomes what it was at that checkpoint: later lines are dropped, missing
        or damaged ones are restored.
        """
        step = self.latest
        self._restore_lines(b"" if step is None else self._saved.lines(step))
        if step is None:
            return tree
        if is_first():
            print(f"resuming {self.folder} at step {step}", file=sys.stderr)
        return self.restore(step, tree)

    def restore(self, step: int, tree: Any) -> Any:
        """The tree of a checkpoint; `tree` says its structure, shapes, dtypes and shardings."""
        return self._saved.restore(step, tree)

    def draw_curves(self, title: str) -> None:
        """Draws `curves.png`."""
        if is_first():
            with writing(self.curves_file):
                draw_curves(self.records(), self.curves_file, title)

    def finish(self, classifier: Classifier, result: dict[str, Any]) -> None:
        """Writes the `Classifier`, then `result.json`."""
        if is_first():
            with writing(self.folder):
                classifier.save(self.classifier_file)
                write_json(self.result_file, result)

    def _restore_lines(self, lines: bytes) -> None:
        if is_first():
            with writing(self.metrics_file):
                found = self.metrics_file.read_bytes() if self.metrics_file.exists() else b""
                if not found.startswith(lines):
                    print(f"{self.metrics_file} was damaged and is restored", file=sys.stderr)
                replace_file(self.metrics_file, lines)


def chosen(result: dict[str, Any]) -> dict[str, Any]:
    """The scores of the state chosen on validation; of the last where there is no validation."""
    return result.get("best", result["last"])
