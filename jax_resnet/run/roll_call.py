"""A roll call of the processes that train together, before JAX connects them.

JAX ends a process with a segmentation fault where the coordinator's port is taken, and aborts it
where the others can't be reached or two of them have the same number. Therefore the first process
listens at the coordinator's port for the numbers of all others before JAX uses that port.
"""

import socket
import time
from collections.abc import Iterable
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
    everyone = range(1, num_processes)
    dual = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if dual else socket.AF_INET
    with ExitStack() as held:
        try:
            server = socket.create_server(("", port), family=family, dualstack_ipv6=dual)
        except OSError as error:
            return f"port {port} can't be used: {error}"
        held.enter_context(server)
        if everyone:
            say(f"waiting {JOIN_SECONDS} s at most for the processes {_join(everyone)}")
        heard: list[socket.socket] = []
        present: dict[int, socket.socket] = {}
        answer = PRESENT
        while answer == PRESENT and (missing := [n for n in everyone if _is_gone(present.get(n))]):
            if (left := deadline - time.monotonic()) <= 0:
                answer = f"`process_id` {_join(missing)} did not connect within {JOIN_SECONDS} s"
                break
            server.settimeout(left)
            try:
                other = server.accept()[0]
            except OSError:  # none came
                continue
            try:
                count, number = _hear(other, min(2.0, left))
            except (OSError, ValueError):  # something else looked whether the port is open
                other.close()
                continue
            held.enter_context(other)
            heard.append(other)
            if count != num_processes:
                answer = f"`num_processes` is {num_processes} in one process, {count} in another"
            elif not _is_gone(present.get(number)):
                answer = f"two processes have the `process_id` {number}"
            present[number] = other
        for other in heard:
            with suppress(OSError):
                other.sendall(f"{HELLO} {answer}\n".encode())
    return answer


def _hear(other: socket.socket, seconds: float) -> tuple[int, int]:
    """The count of processes and the number that another one says; a `ValueError` if it says
    something else."""
    hello, count, number = _line(other, seconds).split()
    if hello != HELLO:
        raise ValueError(hello)
    return int(count), int(number)


def _is_gone(other: socket.socket | None) -> bool:
    """Whether a process has not come, or has ended meanwhile."""
    if other is None:
        return True
    other.setblocking(False)
    try:
        return other.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
    finally:
        other.settimeout(2)


def _report(host: str, port: int, num_processes: int, process_id: int) -> str:
    """What the first process answers."""
    deadline = time.monotonic() + JOIN_SECONDS
    reason = "it closes connections"
    while True:
        try:
            with socket.create_connection((host, port), timeout=10) as first:
                first.sendall(f"{HELLO} {num_processes} {process_id}\n".encode())
                answer = _line(first, JOIN_SECONDS + 10)  # the first waits for the others
        except OSError as error:
            answer, reason = "", str(error)
        if answer.startswith(HELLO):
            return answer.removeprefix(HELLO).strip()
        if answer:
            return "another program or another run answers there"
        if time.monotonic() > deadline:
            return f"the first process is not there: {reason}"
        time.sleep(0.5)


def _line(other: socket.socket, seconds: float) -> str:
    """The only line that is sent, of up to 200 bytes; a `TimeoutError` if it comes too slowly."""
    end, text = time.monotonic() + seconds, b""
    while not text.endswith(b"\n") and len(text) < 200:
        other.settimeout(max(0.001, end - time.monotonic()))
        part = other.recv(200 - len(text))
        if not part:
            break
        text += part
    return text.decode("ascii", "replace").strip()


def _join(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(numbers)))
