"""The processes of `benchmark.py`: one for each implementation, which runs steps on request."""

import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

from case import Case
from steps import start


class Worker:
    """A process that runs steps on request.

    Attributes:
        first: seconds of the first step, compilation included.

    Raises:
        RuntimeError: if the process fails; in `__init__`, if the implementation can't be made.
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
        """Runs at least `steps` steps, and returns the seconds that `steps` of them took."""
        self.connection.send(steps)
        return self._receive()

    def finish(self) -> float:
        """Ends the process; returns its peak memory in MiB."""
        return self.seconds(0)

    def _receive(self) -> Any:
        answer = self.connection.recv()
        if isinstance(answer, str):
            raise RuntimeError(answer)
        return answer


def serve(connection: Connection, implementation: str, case: Case) -> None:
    """Runs in the process of a `Worker`."""
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
    """Peak memory in MiB, of the accelerator if one is used, else of this process."""
    if torch := sys.modules.get("torch"):
        if torch.cuda.is_available():
            return torch.cuda.max_memory_allocated() / 2**20
    elif found := sys.modules["jax"].local_devices()[0].memory_stats():
        return found["peak_bytes_in_use"] / 2**20
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


@contextmanager
def workers(case: Case, names: Sequence[str]) -> Iterator[dict[str, Worker]]:
    """Processes by implementation; one that can't be made is reported and left out."""
    made = {}
    for name in names:
        print(f"{case}: {name}", file=sys.stderr)
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
