"""How a process finds the others that it trains with, through `jax.distributed`."""

import os
import re
import threading
from typing import Any

import jax

from jax_resnet.errors import UserError, say
from jax_resnet.run.distributed import check_same
from jax_resnet.run.roll_call import JOIN_SECONDS, call_roll
from jax_resnet.run.watch import catch_aborts


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
        assert coordinator is not None
        assert process_id is not None
        call_roll(coordinator, num_processes, process_id)
    elif coordinator is None and not in_a_cluster(os.environ):
        refuse_other_launchers(os.environ)
        return
    catch_aborts()
    late = threading.Timer(JOIN_SECONDS, _give_up)  # JAX aborts the process where it fails
    late.daemon = True
    late.start()
    try:
        jax.distributed.initialize(initialization_timeout=2 * JOIN_SECONDS, **given)
    except (RuntimeError, ValueError) as error:
        if coordinator == "auto" and isinstance(error, ValueError):
            raise UserError(
                "`coordinator` is auto, but this is no Cloud TPU, which says where the other "
                "processes are: expected HOST:PORT, `num_processes` and `process_id`"
            ) from error
        where = f"`coordinator` {coordinator}" if coordinator else "the cluster"
        raise UserError(f"{where}: the other processes can't be found: {error}") from error
    finally:
        late.cancel()
    check_same(settings, "flags")


def _give_up() -> None:
    say(f"error: the other processes did not connect within {JOIN_SECONDS} s")
    os._exit(2)


def in_a_cluster(environment: Any) -> bool:
    """Whether these variables are of one process among several, in a way that JAX knows."""
    several = count_in("SLURM_NTASKS", environment) > 1 and "SLURM_STEP_NODELIST" in environment
    several |= (
        count_in("OMPI_COMM_WORLD_SIZE", environment) > 1 and "OMPI_MCA_orte_hnp_uri" in environment
    )
    names = environment.get("TPU_WORKER_HOSTNAMES", "")  # libtpu may put a warning there instead
    return several or re.fullmatch(r"[\w.:-]+(,[\w.:-]+)+", names) is not None


def count_in(name: str, environment: Any) -> int:
    """The number that a variable holds; 1 where it is missing or empty.

    Raises:
        UserError: if it holds something else.
    """
    text = environment.get(name) or "1"
    if not text.isdecimal():
        raise UserError(f"{name} is {text!r} in the environment, expected a number of processes")
    return int(text)


def refuse_other_launchers(environment: Any) -> None:
    """Raises a `UserError` where an MPI that JAX can't ask has started several processes:
    each would train the whole run."""
    for name in ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE"):
        if count_in(name, environment) > 1:
            raise UserError(
                f"{name} says that this is one of {environment[name]} processes, but not where the "
                "others are: expected `coordinator` HOST:PORT, `num_processes` and `process_id`"
            )
