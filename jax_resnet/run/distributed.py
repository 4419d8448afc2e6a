"""Several processes that train one net together: what each may do, and what all agree on.

Every process runs the same program on the same data. The first one prints, writes, and decides.
"""

import json
import secrets
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from jax_resnet.errors import UserError, say
from jax_resnet.files import replace_file, writing

SHARED_SECONDS = 30.0  # until all processes must see what the first one writes


class ProcessLost(Exception):
    """Another process of the run has ended, or can't be reached; this one can't continue."""


def is_first() -> bool:
    """Whether this is the process that prints, draws and writes."""
    return jax.process_index() == 0


def say_first(line: str) -> None:
    """Says a line, of several processes in the first one."""
    if is_first():
        say(line)


def first_decides(work: Callable[[], int | None]) -> int | None:
    """What `work` returns in the first process, in all; the others wait for it.

    Raises:
        UserError: in the others, if `work` raises in the first.
        ProcessLost: if one of them has ended.
    """
    if jax.process_count() == 1:
        return work()
    answer, done = None, False
    try:
        if is_first():
            answer = work()
        done = True
    finally:
        ours = np.array([done, answer is not None, answer or 0], np.int32)
        decided = _exchange(multihost_utils.broadcast_one_to_all, ours)
    if not decided[0]:
        raise UserError("the first process could not continue: see its message")
    return int(decided[2]) if decided[1] else None


def check_same(value: Any, what: str) -> None:
    """Raises a `UserError` in all processes unless a value, of JSON's types, is the same in all of
    those where it is not None."""
    if jax.process_count() > 1:
        digest = zlib.crc32(json.dumps(value, sort_keys=True).encode())
        ours = np.array([value is not None, digest], np.uint32)
        theirs = _exchange(multihost_utils.process_allgather, ours)
        if np.unique(theirs[theirs[:, 0] == 1, 1]).size > 1:
            raise UserError(
                f"the processes were given different {what}, expected the same in all of them"
            )


def check_shared(folder: Path) -> None:
    """Raises a `UserError` in all processes unless each of them sees what the first one writes into
    the folder now; a network folder may show it late."""
    if jax.process_count() == 1:
        return
    file = folder / "shared"

    def write() -> int:
        token = secrets.randbelow(2**31)
        with writing(file):
            replace_file(file, str(token).encode())
        return token

    def is_seen() -> bool:
        with suppress(OSError):  # not there, or not readable: the others are not left waiting
            return file.read_bytes() == str(written).encode()
        return False

    written, end = first_decides(write), time.monotonic() + SHARED_SECONDS
    while not (seen := is_seen()) and time.monotonic() < end:
        time.sleep(0.2)
    try:
        check_same(seen, f"folders {folder}")
        if not seen:
            raise UserError(f"{file} can't be read, expected a folder that all processes see")
    finally:
        if is_first():
            file.unlink(missing_ok=True)


def _exchange(collective: Callable[[np.ndarray], Any], ours: np.ndarray) -> Any:
    try:
        return collective(ours)
    except (jax.errors.JaxRuntimeError, ValueError) as error:  # which of them depends on the device
        raise _lost(error) from error


def _lost(error: Exception) -> ProcessLost:
    reason = str(error).partition("\n")[0]
    return ProcessLost(
        f"process {jax.process_index()} of {jax.process_count()}: another process has ended, "
        f"or can't be reached; start all of them again with `resume` ({reason:.200})"
    )


def preempted(dispatch: int) -> bool:
    """Whether a SIGTERM to any process asks all to stop here, at the same step.

    Args:
        dispatch: 0, 1, 2 and so on, the same in every process.
    """
    return jax.process_count() > 1 and multihost_utils.reached_preemption_sync_point(dispatch)


@contextmanager
def name_runtime_errors() -> Iterator[None]:
    """Raises `ProcessLost` for what JAX raises when another process is gone, and a `UserError` for
    a lack of memory."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        reason = str(error).partition("\n")[0]
        if reason.startswith("RESOURCE_EXHAUSTED"):
            raise UserError(
                f"{reason}: try a smaller `batch_size`, or fewer or smaller images, which all lie "
                "in the device's memory"
            ) from error
        if jax.process_count() == 1:
            raise
        raise _lost(error) from error
