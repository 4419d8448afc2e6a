"""A run's checkpoints: written by Orbax, each under checksums, the last two and the best kept."""

import itertools
import json
import os
import re
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from jax_resnet.errors import UserError, say
from jax_resnet.files import CHECKSUMS, checksums, find_damage, replace_file, writing
from jax_resnet.run.distributed import first_decides, is_first


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
        self.steps = self._find_steps(damaged)
        options = ocp.CheckpointManagerOptions(
            enable_async_checkpointing=False, cleanup_tmp_directories=True
        )
        self._manager = _Manager(self._folder, options=options)

    def _find_steps(self, damaged: Path) -> list[int]:
        """Those that the first process sees: a network folder may show others an old listing."""
        found: list[int] = []

        def find() -> int:
            found.extend(_good_steps(self._folder, damaged))
            return len(found)

        count = first_decides(find) or 0
        return [first_decides(partial(found.__getitem__, i)) or 0 for i in range(count)]

    @property
    def latest(self) -> int | None:
        return self.steps[-1] if self.steps else None

    def save(self, step: int, tree: Any, files: Iterable[Path], best: int | None) -> None:
        """Writes a checkpoint, then deletes all but the last two and that of step `best`.

        Args:
            step: of the state.
            tree: of arrays.
            files: that are copied into the checkpoint, where they exist.
            best: a step whose checkpoint stays.
        """
        folder = self._folder / str(step)

        def seal() -> None:
            for file in files:
                if file.exists():
                    replace_file(folder / file.name, file.read_bytes())
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
            raise UserError(_unreadable(self._folder / str(step), error)) from error

    def copy(self, step: int, file: Path) -> Path:
        """The copy of a file as it was at `step`."""
        return self._folder / str(step) / file.name

    def close(self) -> None:
        self._manager.close()


def all_checkpoints(folder: Path) -> list[Path]:
    """The folders of checkpoints, good or not, in the order of their steps."""
    found = (path for path in folder.glob("*") if re.fullmatch("0|[1-9][0-9]{0,9}", path.name))
    return sorted(found, key=lambda path: int(path.name))


def read_checkpoint(checkpoint: Path, like: Any) -> Any:
    """The tree of a checkpoint of a run that another process may hold: nothing is changed.

    Args:
        checkpoint: its folder.
        like: a tree of `jax.ShapeDtypeStruct`s with shardings.

    Raises:
        UserError: if it can't be read, or holds another tree.
    """
    try:
        with ocp.StandardCheckpointer() as reader:
            return reader.restore(checkpoint.absolute() / "default", like)
    except (ValueError, KeyError, OSError) as error:
        raise UserError(_unreadable(checkpoint, error)) from error


def _unreadable(checkpoint: Path, error: Exception) -> str:
    reason = str(error).strip().partition("\n")[0]  # Orbax goes on with both trees
    return (
        f"{checkpoint} can't be read, or another version of this package wrote it (starts.jsonl "
        f"says which) and it holds other arrays: {reason:.200}"
    )


def _good_steps(folder: Path, damaged: Path) -> list[int]:
    """In ascending order; Orbax deletes its own unfinished ones. Damaged ones are set aside."""
    good = []
    for checkpoint in all_checkpoints(folder):
        if (damage := find_damage(checkpoint)) is None:
            good.append(int(checkpoint.name))
            continue
        aside, numbers = damaged / checkpoint.name, itertools.count(2)
        while os.path.lexists(aside):  # an earlier one of the same step
            aside = damaged / f"{checkpoint.name}-{next(numbers)}"
        with writing(aside):
            damaged.mkdir(exist_ok=True)
            checkpoint.rename(aside)
        say(f"{damage}; the checkpoint is now {aside}")
    return good
