"""The processes of `benchmark.py`: one for each implementation, running when it is told to."""

import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

from benchmark_steps import Case, start


def describe(case: Case) -> str:
    shortcut = case.shortcut or "cnn"
    devices = f", {case.devices} devices" if case.devices > 1 else ""
    return (
        f"{case.mode}, depth {case.depth}, batch {case.batch_size}, {shortcut}, "
        f"{case.precision}{devices}"
    )


class Worker:
    """A process that runs steps when it is told to.

    Attributes:
        first: seconds of the first step, compilation included.
    """

    def __init__(self, implementation: str, case: Case) -> None:
        context = multiprocessing.get_context("spawn")  # a fresh process: JAX is not imported yet
        self.connection, theirs = context.Pipe()
        arguments = (theirs, implementation, case)
        self.process = context.Process(target=serve, args=arguments, daemon=True)
        self.process.start()
        theirs.close()
        self.first: float = self._receive()

    def seconds(self, steps: int) -> float:
        """Runs so many steps, or somewhat more, and returns how long so many took."""
        self.connection.send(steps)
        return self._receive()

    def finish(self) -> float:
        """Ends the process; returns the most memory that it had, in MiB."""
        return self.seconds(0)

    def _receive(self) -> Any:
        answer = self.connection.recv()
        if isinstance(answer, str):
            raise RuntimeError(answer)
        return answer


def serve(connection: Connection, implementation: str, case: Case) -> None:
    """What a `Worker`'s process does."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # a GPU is shared by several
    try:
        run = start(implementation, case)
        steps = 1
        while steps:
            begun = time.perf_counter()
            done = run(steps)
            connection.send((time.perf_counter() - begun) * steps / done)
            steps = connection.recv()
        connection.send(peak_memory())
    except Exception as error:
        connection.send(f"{type(error).__name__}: {error}".splitlines()[0])


def peak_memory() -> float:
    """MiB on the accelerator if there is one in use, else of this process."""
    if torch := sys.modules.get("torch"):
        if torch.cuda.is_available():
            return torch.cuda.max_memory_allocated() / 2**20
    elif found := sys.modules["jax"].local_devices()[0].memory_stats():
        return found["peak_bytes_in_use"] / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@contextmanager
def workers(case: Case, names: Sequence[str]) -> Iterator[dict[str, Worker]]:
    """Processes by name; what can't be made is said and left out."""
    made = {}
    for name in names:
        print(f"{describe(case)}: {name}", file=sys.stderr)
        try:
            made[name] = Worker(name, case)
        except (RuntimeError, EOFError) as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
    try:
        yield made
    finally:
        for worker in made.values():
            worker.process.kill()
            worker.process.join()
