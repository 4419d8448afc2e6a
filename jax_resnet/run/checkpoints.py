"""A run's checkpoints: written by Orbax, each under checksums, the last two and the best kept."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from jax_resnet.errors import UserError
from jax_resnet.files import CHECKSUMS, checksums, find_damage, replace_file
from jax_resnet.run.distributed import first_decides, is_first

LINES = "metrics.jsonl"  # there too


class _Manager(ocp.CheckpointManager):
    def reached_preemption(self, step: int) -> bool:
        """Never: the training loop asks JAX itself, which counts the questions."""
        return False


class Checkpoints:
    """The checkpoints in a folder, which are good from when their checksums are written.

    A checkpoint that is half written, half deleted or damaged when a run is opened is moved to
    `damaged` and named on stderr: it is never read, and never deleted. Several processes write
    and read a checkpoint together, in a folder that all of them see.

    Attributes:
        steps: of the good checkpoints, in ascending order.
    """

    def __init__(self, folder: Path, damaged: Path) -> None:
        self._folder = folder.absolute()
        first_decides(lambda: _set_damaged_aside(self._folder, damaged))
        self.steps = [int(folder.name) for folder in _step_folders(self._folder)]
        options = ocp.CheckpointManagerOptions(
            enable_async_checkpointing=False, cleanup_tmp_directories=True
        )
        self._manager = _Manager(self._folder, options=options)

    @property
    def latest(self) -> int | None:
        return self.steps[-1] if self.steps else None

    def save(self, step: int, tree: Any, lines: bytes, best: int | None) -> None:
        """Writes a checkpoint, then deletes all but the last two and that of step `best`.

        Args:
            step: of the state.
            tree: of arrays.
            lines: of `metrics.jsonl` so far.
            best: a step whose checkpoint stays.
        """
        folder = self._folder / str(step)

        def seal() -> None:
            replace_file(folder / LINES, lines)
            replace_file(folder / CHECKSUMS, json.dumps(checksums(folder), indent=1).encode())

        try:
            self._manager.save(step, args=ocp.args.StandardSave(tree))
            first_decides(seal)
        except (OSError, ValueError) as error:  # TensorStore's are ValueErrors
            last = "none" if self.latest is None else f"of step {self.latest}"
            raise UserError(
                f"{folder} can't be written: {error}; the last good checkpoint is {last}"
            ) from error
        self.steps.append(step)
        for old in [each for each in self.steps[:-2] if each != best]:
            if is_first():
                (self._folder / str(old) / CHECKSUMS).unlink()
            self._manager.delete(old)
            self.steps.remove(old)

    def restore(self, step: int, like: Any) -> Any:
        """The tree of `step`; `like` says shapes, dtypes and shardings.

        Raises:
            UserError: if it holds another tree.
        """
        like = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        try:
            return self._manager.restore(step, args=ocp.args.StandardRestore(like))
        except (ValueError, KeyError, OSError) as error:
            raise UserError(f"{self._folder / str(step)} can't be read: {error}") from error

    def lines(self, step: int) -> bytes:
        """`metrics.jsonl` as it was at `step`."""
        return (self._folder / str(step) / LINES).read_bytes()

    def close(self) -> None:
        self._manager.close()


def _step_folders(folder: Path) -> list[Path]:
    """In ascending order; Orbax's own unfinished ones, which it deletes, are none."""
    return sorted((p for p in folder.glob("[0-9]*") if p.name.isdigit()), key=lambda p: int(p.name))


def _set_damaged_aside(folder: Path, where: Path) -> None:
    for checkpoint in _step_folders(folder):
        if (damage := find_damage(checkpoint)) is not None:
            where.mkdir(exist_ok=True)
            aside = where / checkpoint.name
            if aside.exists():
                shutil.rmtree(aside)
            print(f"{damage}; the checkpoint is now {checkpoint.rename(aside)}", file=sys.stderr)
