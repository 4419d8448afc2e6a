"""A roll call of the processes that train together, before JAX connects them.

JAX ends a process with a segmentation fault where the coordinator's port is taken, and aborts it
where the others can't be reached or two of them have the same number. Therefore the first process
listens at the coordinator's port for the numbers of all others before JAX uses that port.
"""

import socket
import time
from contextlib import ExitStack, suppress

from jax_resnet.errors import UserError, say

JOIN_SECONDS = 120  # until the processes must have found each other
HELLO = "jax_resnet"
PRESENT = "all are present"


def call_roll(coordinator: str, num_processes: int, process_id: int) -> None:
    """Returns when all processes have called it.

    Args:
        coordinator: HOST:PORT of the first process.
        num_processes: how many there are.
        process_id: which of them this is.

    Raises:
        UserError: if they don't all come, or two have the same `process_id`.
    """
    host, _, port = coordinator.rpartition(":")
    try:
        if process_id == 0:
            answer = _gather(int(port), num_processes)
        else:
            answer = _report(host.strip("[]"), int(port), num_processes, process_id)
    except OSError as error:
        raise UserError(f"`coordinator` is {coordinator}, but {error}") from error
    if answer != PRESENT:
        raise UserError(f"`coordinator` is {coordinator}, but {answer}")


def _gather(port: int, num_processes: int) -> str:
    """What the first process answers to all others when they have come, or don't come."""
    deadline = time.monotonic() + JOIN_SECONDS
    missing = set(range(1, num_processes))
    dual = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if dual else socket.AF_INET
    with ExitStack() as held:
        try:
            server = socket.create_server(("", port), family=family, dualstack_ipv6=dual)
        except OSError as error:
            return f"port {port} can't be used: {error}"
        held.enter_context(server)
        if missing:
            say(f"waiting {JOIN_SECONDS} s at most for the processes {_join(missing)}")
        others = []
        answer = PRESENT
        while missing and answer == PRESENT:
            server.settimeout(max(0.1, deadline - time.monotonic()))
            try:
                other = held.enter_context(server.accept()[0])
                other.settimeout(2)
                hello, *numbers = _line(other).split()
                count, number = map(int, numbers)
            except TimeoutError:
                if time.monotonic() > deadline:
                    answer = (
                        f"`process_id` {_join(missing)} did not connect within {JOIN_SECONDS} s"
                    )
                continue
            except (OSError, ValueError):  # something else looked whether the port is open
                continue
            if hello != HELLO:
                continue
            others.append(other)
            if count != num_processes:
                answer = f"`num_processes` is {num_processes} in one process, {count} in another"
            elif number not in missing:
                answer = f"two processes have the `process_id` {number}"
            missing.discard(number)
        for other in others:
            with suppress(OSError):
                other.sendall(f"{HELLO} {answer}\n".encode())
    return answer


def _report(host: str, port: int, num_processes: int, process_id: int) -> str:
    """What the first process answers."""
    deadline = time.monotonic() + JOIN_SECONDS
    reason = "it closes connections"
    while True:
        try:
            with socket.create_connection((host, port), timeout=10) as first:
                first.settimeout(JOIN_SECONDS + 10)  # the first waits so long for the others
                first.sendall(f"{HELLO} {num_processes} {process_id}\n".encode())
                answer = _line(first)
        except OSError as error:
            answer, reason = "", str(error)
        if answer.startswith(HELLO):
            return answer.removeprefix(HELLO).strip()
        if answer:
            return "another program or another run answers there"
        if time.monotonic() > deadline:
            return f"the first process is not there: {reason}"
        time.sleep(0.5)


def _line(other: socket.socket) -> str:
    with other.makefile("rb") as file:
        return file.readline(200).decode("ascii", "replace").strip()


def _join(numbers: set[int]) -> str:
    return ", ".join(map(str, sorted(numbers)))
