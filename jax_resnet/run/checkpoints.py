"""A run's checkpoints: written by Orbax, each under checksums, the last two and the best kept."""

import errno
import itertools
import os
import re
import shutil
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from jax_resnet.checksums import CHECKSUMS, find_damage, seal
from jax_resnet.errors import UserError, say
from jax_resnet.files import reading, replace_file, writing
from jax_resnet.run.distributed import first_decides, is_first


class _Manager(ocp.CheckpointManager):
    def reached_preemption(self, step: int) -> bool:
        """Never: the training loop asks JAX itself, which counts the questions."""
        return False


class Checkpoints:
    """The checkpoints in a folder, which are good from when their checksums are written.

    A single process writes them in a thread, while the training continues; every other method waits
    until the last one is written, and raises its `UserError` if that failed.

    A checkpoint that is half written, half deleted or damaged when a run is opened is moved to
    `damaged` and named on stderr: it is never read, and never deleted. Several processes write
    and read a checkpoint together, in a folder that all of them see.
    """

    def __init__(self, folder: Path, damaged: Path) -> None:
        self._folder = folder.absolute()
        self._steps = self._find_steps(damaged)
        options = ocp.CheckpointManagerOptions(
            enable_async_checkpointing=False, cleanup_tmp_directories=True
        )
        self._manager = _Manager(self._folder, options=options)
        self._writer = ThreadPoolExecutor(1, "checkpoints")
        self._writing: Future[None] | None = None

    def _find_steps(self, damaged: Path) -> list[int]:
        """Those that the first process sees: a network folder may show others an old listing."""
        found: list[int] = []

        def find() -> int:
            found.extend(_good_steps(self._folder, damaged))
            return len(found)

        count = first_decides(find) or 0
        return [first_decides(partial(found.__getitem__, i)) or 0 for i in range(count)]

    @property
    def steps(self) -> list[int]:
        """Of the good checkpoints, in ascending order."""
        self.wait()
        return self._steps

    @property
    def latest(self) -> int | None:
        return self.steps[-1] if self.steps else None

    def save(self, step: int, tree: Any, files: Iterable[Path], best: int | None) -> None:
        """Writes a checkpoint, then deletes all but the last two and that of step `best`.

        Args:
            step: of the state.
            tree: of arrays.
            files: that are copied into the checkpoint as they are now, where they exist.
            best: a step whose checkpoint stays.
        """
        self.wait()
        with writing(self._folder):
            copies = {file.name: file.read_bytes() for file in files if file.exists()}
        if jax.process_count() > 1:  # all processes talk to each other in the same order
            self._write(step, tree, copies, best)
        else:
            self._writing = self._writer.submit(
                self._write, step, _on_one_device(tree), copies, best
            )

    def wait(self) -> None:
        """Returns when the last checkpoint is written.

        Raises:
            UserError: if it can't be.
        """
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def _write(self, step: int, tree: Any, copies: dict[str, bytes], best: int | None) -> None:
        folder = self._folder / str(step)

        def seal_with_copies() -> None:
            for name, content in copies.items():
                replace_file(folder / name, content)
            seal(folder)

        try:
            with jax.transfer_guard("allow"):  # this thread does not have the settings of the run
                self._manager.save(step, args=ocp.args.StandardSave(tree))
            first_decides(seal_with_copies)
        except (OSError, ValueError) as error:  # TensorStore's are ValueErrors
            last = f"of step {self._steps[-1]}" if self._steps else "none"
            raise UserError(
                f"{folder} can't be written: {error}; the last good checkpoint is {last}"
            ) from error
        self._steps.append(step)
        for old in [each for each in self._steps[:-2] if each != best]:
            with writing(self._folder), suppress(FileNotFoundError):  # somebody deleted it
                if is_first():
                    (self._folder / str(old) / CHECKSUMS).unlink(missing_ok=True)
                self._manager.delete(old)
            self._steps.remove(old)

    def restore(self, step: int, like: Any) -> Any:
        """The tree of `step`; `like` says shapes, dtypes and shardings.

        Raises:
            UserError: if it holds another tree.
        """
        self.wait()
        like = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        try:
            return self._manager.restore(step, args=ocp.args.StandardRestore(like))
        except (ValueError, KeyError, OSError) as error:
            raise UserError(_unreadable(self._folder / str(step), error)) from error

    def copy(self, step: int, file: Path) -> Path:
        """The copy of a file as it was at `step`."""
        return self._folder / str(step) / file.name

    def close(self) -> None:
        """Waits, and ends the thread."""
        with self._writer, closing(self._manager):
            self.wait()


@jax.jit
def _copy(tree: Any) -> Any:
    return jax.tree.map(jnp.copy, tree)


def _on_one_device(tree: Any) -> Any:
    """A copy of arrays that every device holds, as the next step donates them.

    What several devices hold, Orbax splits by programs of its own. On CPU devices these and the
    training's, from two threads, can wait for each other until XLA ends the process.
    """
    assert all(array.is_fully_replicated for array in jax.tree.leaves(tree))
    return jax.tree.map(lambda array: array.addressable_data(0), _copy(tree))


def all_checkpoints(folder: Path) -> list[Path]:
    """The folders of checkpoints, good or not, in the order of their steps.

    Raises:
        UserError: if the folder that holds them can't be read.
    """
    with reading(folder):
        names = os.listdir(folder) if folder.exists() else []
    steps = [int(name) for name in names if re.fullmatch("0|[1-9][0-9]{0,9}", name)]
    return [folder / str(step) for step in sorted(steps)]


def saved_step(folder: Path) -> int:
    """The step of the newest checkpoint that is wholly written; 0 if there is none."""
    whole = (path for path in all_checkpoints(folder) if (path / CHECKSUMS).exists())
    return max((int(path.name) for path in whole), default=0)


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
        if not checkpoint.exists():
            raise UserError(
                f"{checkpoint} is there no more: the run that goes on has deleted it, try again"
            ) from error
        raise UserError(_unreadable(checkpoint, error)) from error


def _unreadable(checkpoint: Path, error: Exception) -> str:
    reason = str(error).strip().partition("\n")[0]  # Orbax prints both trees after that
    return (
        f"{checkpoint} can't be read, or another version of this package wrote it (starts.jsonl "
        f"says which) and it holds other arrays: {reason:.200}"
    )


def _good_steps(folder: Path, damaged: Path) -> list[int]:
    """In ascending order; Orbax deletes its own unfinished ones. Damaged ones are set aside."""
    good = []
    found = {path: _damage(path) for path in all_checkpoints(folder)}  # before one is moved
    for checkpoint, damage in found.items():
        if damage is None:
            good.append(int(checkpoint.name))
            continue
        aside, numbers = damaged / checkpoint.name, itertools.count(2)
        while os.path.lexists(aside):  # an earlier one of the same step
            aside = damaged / f"{checkpoint.name}-{next(numbers)}"
        with writing(aside):
            damaged.mkdir(exist_ok=True)
            _move(checkpoint, aside)
        say(f"{damage}; the checkpoint is now {aside}")
    return good


def _damage(checkpoint: Path) -> str | None:
    try:
        return find_damage(checkpoint)
    except UserError as error:
        raise UserError(
            f"{error}; if that lasts, move {checkpoint} away: the run then continues from another"
        ) from error


def _move(checkpoint: Path, aside: Path) -> None:
    try:
        checkpoint.rename(aside)
    except OSError as error:
        if error.errno != errno.EXDEV:  # `checkpoints` may be a link to another disk
            raise
        shutil.move(checkpoint, aside)


def best_is_lost(step: int) -> str:
    """What is said where the best checkpoint, that of a step, can't be read."""
    return f"the checkpoint of step {step}, the best on validation, is damaged or missing"
