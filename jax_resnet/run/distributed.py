"""Several processes that train one net together, through `jax.distributed`.

Every process runs the same program on the same data. The first one prints, writes, and decides
what all must agree on.
"""

import json
import os
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from jax_resnet.errors import UserError

HEARTBEAT_SECONDS = 30  # without a heartbeat until a process counts as lost; JAX's default is 100


class ProcessLost(Exception):
    """Another process of the run has ended, or can't be reached; this one can't continue."""


def join(
    coordinator: str | None,
    num_processes: int | None,
    process_id: int | None,
    settings: dict[str, Any],
) -> None:
    """Makes this process one of several, where the arguments or the environment say so.

    Slurm, Open MPI 4 and Kubernetes' TPU slices say so in the environment; the coordinator "auto"
    lets JAX ask a Cloud TPU. To be called before JAX is used for anything else.

    Args:
        coordinator: HOST:PORT of the first process, "auto", or None.
        num_processes: how many there are.
        process_id: which of them this is.
        settings: must be the same in all of them.

    Raises:
        UserError: if the others can't be found, or have other settings.
    """
    given: dict[str, Any] = {}
    if num_processes is not None:
        given = {
            "coordinator_address": coordinator,
            "num_processes": num_processes,
            "process_id": process_id,
        }
    elif coordinator is None and not in_a_cluster(os.environ):
        refuse_other_launchers(os.environ)
        return
    try:
        jax.distributed.initialize(heartbeat_timeout_seconds=HEARTBEAT_SECONDS, **given)
    except (RuntimeError, ValueError) as error:
        where = f"`coordinator` {coordinator}" if coordinator else "the cluster"
        raise UserError(f"{where}: the other processes can't be found: {error}") from error
    ours = json.dumps(settings, sort_keys=True).encode()
    theirs = multihost_utils.process_allgather(np.uint32(zlib.crc32(ours)))
    if np.unique(theirs).size > 1:
        raise UserError(
            "the processes were given different flags, expected the same in all of them"
        )


def in_a_cluster(environment: Any) -> bool:
    """Whether these variables are of one process among several, in a way that JAX knows."""
    several = int(environment.get("SLURM_NTASKS", 1)) > 1 and "SLURM_STEP_NODELIST" in environment
    several |= (
        int(environment.get("OMPI_COMM_WORLD_SIZE", 1)) > 1
        and "OMPI_MCA_orte_hnp_uri" in environment
    )
    names = environment.get("TPU_WORKER_HOSTNAMES", "")  # libtpu may put a warning there instead
    return several or re.fullmatch(r"[\w.:-]+(,[\w.:-]+)+", names) is not None


def refuse_other_launchers(environment: Any) -> None:
    """Raises a `UserError` where an MPI that JAX can't ask has started several processes:
    each would train the whole run."""
    for name in ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE"):
        if int(environment.get(name, 1)) > 1:
            raise UserError(
                f"{name} says that this is one of {environment[name]} processes, but not where the "
                "others are: expected `coordinator` HOST:PORT, `num_processes` and `process_id`"
            )


def is_first() -> bool:
    """Whether this is the process that prints, draws and writes."""
    return jax.process_index() == 0


def first_decides(work: Callable[[], int | None]) -> int | None:
    """What `work` returns in the first process, in all; the others wait for it.

    Raises:
        UserError: in the others, if `work` raises in the first.
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
        decided = multihost_utils.broadcast_one_to_all(ours)
    if not decided[0]:
        raise UserError("the first process could not continue: see its message")
    return int(decided[2]) if decided[1] else None


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
            raise UserError(f"{reason}: try a smaller `batch_size`") from error
        if jax.process_count() == 1:
            raise
        raise ProcessLost(
            f"process {jax.process_index()} of {jax.process_count()}: another process has ended, "
            "or can't be reached; start all of them again with `resume`"
        ) from error
