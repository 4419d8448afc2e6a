"""A run's folder: what is written to it and when, and how a run is resumed."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from jax_resnet.classifier import Classifier
from jax_resnet.classifier_file import CLASSIFIER_FILE
from jax_resnet.errors import UserError, say
from jax_resnet.files import locked, refuse_file, replace_file, write_json, writing
from jax_resnet.run.checkpoints import Checkpoints, best_is_lost, saved_step
from jax_resnet.run.distributed import check_shared, first_decides, is_first
from jax_resnet.run.environment import differences
from jax_resnet.run.records import (
    ENVIRONMENT,
    add_start,
    best_step,
    chosen,
    read_environment,
    read_records,
    read_start_lines,
    refuse_other_data,
    refuse_other_environment,
)


class Run:
    """The files in a run's folder; of several processes, only the first writes them.

    A line is appended to `metrics.jsonl` before the checkpoint of its step is written, and the
    checkpoint holds a copy of all lines: a resumed run continues from that copy. The checkpoint
    also holds a copy of `config.json`, which says of which run it is.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config_file = folder / "config.json"
        self.starts_file = folder / "starts.jsonl"
        self.metrics_file = folder / "metrics.jsonl"
        self.result_file = folder / "result.json"
        self.classifier_file = folder / CLASSIFIER_FILE
        self.curves_file = folder / "curves.png"
        self.checkpoints = folder / "checkpoints"

    @contextmanager
    def open(
        self,
        settings: dict[str, Any],
        environment: dict[str, Any],
        data: dict[str, Any],
        resume: bool,
        refuse_changes: Callable[[Path], None],
    ) -> Iterator["OpenRun"]:
        """A new run, or with `resume` an existing one, held by this process until the block ends.

        Args:
            settings: of a new run; they go into `config.json`.
            environment: where this start is made; that of the first one goes there too.
            data: from `Dataset.identity`; goes there too.
            resume: continue the run if it exists.
            refuse_changes: raises a `UserError` if a `config.json` has other settings.

        Raises:
            UserError: if the run exists and is not to be resumed, had other settings or data, is
                in use, or lacks files; or if a checkpoint is another run's.
        """

        def refuse_others(config_file: Path) -> None:
            refuse_changes(config_file)
            refuse_other_data(config_file, data)

        with ExitStack() as held:

            def begin() -> None:
                with writing(self.folder):
                    self.folder.mkdir(parents=True, exist_ok=True)
                held.enter_context(locked(self.folder))
                if self._is_begun(resume, refuse_others):
                    return
                with writing(self.folder):
                    write_json(self.config_file, settings | {ENVIRONMENT: environment | data})

            first_decides(begin)
            check_shared(self.folder)
            checkpoints = Checkpoints(self.checkpoints, self.folder / "damaged")
            run = OpenRun(self.folder, held.enter_context(closing(checkpoints)), environment)
            first_decides(lambda: run.check_checkpoints(refuse_others))
            yield run

    def check(self, resume: bool, refuse_changes: Callable[[Path], None]) -> None:
        """Raises the `UserError`s of `open` for which no data is needed, and changes nothing."""
        first_decides(lambda: int(self._is_begun(resume, refuse_changes)))

    def _is_begun(self, resume: bool, refuse_changes: Callable[[Path], None]) -> bool:
        """Whether a run is there to resume; a `UserError` if neither it nor a new one can be."""
        refuse_file(self.folder)
        refuse_file(self.checkpoints, "put the run's checkpoints back, or ")
        if not self.config_file.exists():
            self._refuse_remains()
            return False
        refuse_changes(self.config_file)
        if not resume:
            raise UserError(
                f"{self.folder} holds a run already: add `resume` to continue it, on the same "
                "data, or choose another `name`"
            )
        if self.result_file.exists() and not saved_step(self.checkpoints):
            raise UserError(self._is_over())
        return True

    def _is_over(self) -> str:
        return (
            f"{self.folder} is finished, and no good checkpoint is left to continue from: choose "
            "another `name`"
        )

    def _refuse_remains(self) -> None:
        remains = (self.metrics_file, self.starts_file, self.checkpoints, self.result_file)
        for path in (*remains, self.classifier_file, self.curves_file):
            if path.exists():
                raise UserError(
                    f"{self.config_file} is missing, but {path} exists: "
                    "put it back, or choose another `name`"
                )

    def records(self) -> list[dict[str, Any]]:
        """The lines of `metrics.jsonl`; a line without its end does not count yet."""
        return read_records(self.metrics_file)


class OpenRun(Run):
    """A run that this process holds, and writes if it is the first one."""

    def __init__(self, folder: Path, checkpoints: Checkpoints, environment: dict[str, Any]) -> None:
        super().__init__(folder)
        self._saved = checkpoints
        self._environment = environment

    @property
    def latest(self) -> int | None:
        """The step of the last good checkpoint."""
        return self._saved.latest

    @property
    def best(self) -> int | None:
        """The step of the checkpoint that is best on validation, if any was validated."""
        return first_decides(lambda: best_step(self.records(), self._saved.steps))

    @property
    def lost(self) -> int | None:
        """The step that is better on validation than `best`, if its checkpoint is lost."""
        return first_decides(lambda: self._find_lost(self.metrics_file))

    def _find_lost(self, metrics_file: Path) -> int | None:
        step = best_step(read_records(metrics_file))
        return None if step in self._saved.steps else step

    def check_checkpoints(self, refuse_others: Callable[[Path], None]) -> None:
        """Raises a `UserError` if a checkpoint is another run's, or has another environment; or if
        the run is finished and its best one is lost, or all are."""
        is_new = "fingerprints" in read_environment(self.config_file)  # older runs have no copies
        for step in self._saved.steps:
            copy = self._saved.copy(step, self.config_file)
            if is_new or copy.exists():
                refuse_others(copy)
                refuse_other_environment(self.config_file, copy)
        if self.result_file.exists():
            if self.latest is None:
                raise UserError(self._is_over())
            lost = self._find_lost(self._saved.copy(self.latest, self.metrics_file))
            if lost is not None:
                raise UserError(
                    f"{self.folder} is finished, and {best_is_lost(lost)}: "
                    f"{self.result_file.name} and {self.classifier_file.name} stay as they are"
                )

    def append(self, record: dict[str, Any]) -> None:
        """Adds a line to `metrics.jsonl`, on disk when this returns."""
        if is_first():
            with writing(self.metrics_file), self.metrics_file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
                file.flush()
                os.fsync(file.fileno())

    def save(self, step: int, tree: Any) -> None:
        """Writes the checkpoint of a step, unless it exists, while the caller continues."""
        if step != self.latest:
            steps = {*self._saved.steps, step}
            best = first_decides(lambda: best_step(self.records(), steps))
            self._saved.save(step, tree, [self.metrics_file, self.config_file], best)

    def wait(self) -> None:
        """Returns when the last checkpoint is written; a `UserError` if it can't be."""
        self._saved.wait()

    def resume(self, tree: Any) -> Any:
        """The tree of the last good checkpoint, or the one given if there is none.

        `metrics.jsonl` becomes what it was at that checkpoint: later lines are dropped, missing
        or damaged ones are restored. `starts.jsonl` gets a line.
        """
        step = self.latest
        if step is not None:
            tree = self.restore(step, tree)
        first_decides(self._begin)
        return tree

    def restore(self, step: int, tree: Any) -> Any:
        """The tree of a checkpoint; `tree` says its structure, shapes, dtypes and shardings."""
        return self._saved.restore(step, tree)

    def finish(self, classifier: Classifier, result: dict[str, Any]) -> None:
        """Writes the `Classifier`, then `result.json`."""
        if is_first():
            if (lost := chosen(result).get("lost_step")) is not None:
                say(f"{self.folder}: {best_is_lost(lost)}; {self.result_file.name} says so")
            with writing(self.folder):
                classifier.save(self.classifier_file)
                write_json(self.result_file, result)

    def _begin(self) -> None:
        starts, step = read_start_lines(self.starts_file), self.latest
        before = starts[-1] if starts else read_environment(self.config_file)
        if changes := differences(before, self._environment):
            say(f"{self.folder}: results may differ: since the last start, {changes}")
        self._restore_lines()
        if step is not None:
            say(f"resuming {self.folder} at step {step}")
        if (lost := self._find_lost(self.metrics_file)) is not None:
            say(f"{self.folder}: {best_is_lost(lost)}; the run continues without it")
        add_start(self.starts_file, starts, step or 0, self._environment)

    def _restore_lines(self) -> None:
        with writing(self.metrics_file):
            found = self.metrics_file.read_bytes() if self.metrics_file.exists() else b""
            copy = None if self.latest is None else self._saved.copy(self.latest, self.metrics_file)
            lines = copy.read_bytes() if copy is not None and copy.exists() else b""
            if not found.startswith(lines):
                say(f"{self.metrics_file} was damaged and is restored")
            if self.latest is None and (dropped := found.count(b"\n")):
                say(
                    f"{self.folder} has no checkpoint and starts again: the metrics of {dropped} "
                    "epochs are dropped"
                )
            replace_file(self.metrics_file, lines)
