"""The processes of a run watch each other: JAX would end one that has lost another by an abort."""

import ctypes
import itertools
import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import jax
from jax._src import distributed  # nothing public gives the key-value store

from jax_resnet.errors import say

BEAT_SECONDS = 2
LOST_SECONDS = 20  # without a sign of life until a process counts as lost; JAX's own are 100
KEY, DONE = "jax_resnet/alive", "done"
LEFT = "jax_resnet/left"


def leave(code: int, seconds: float) -> None:
    """Ends this process of several after an error: JAX's own exit would wait for the others.

    Where the first process ends, JAX aborts the others: it gives them `seconds` to leave before.
    """
    state: Any = distributed.global_state  # JAX itself may find no device here
    deadline = time.monotonic() + seconds
    with suppress(jax.errors.JaxRuntimeError):
        if state.process_id == 0:
            while time.monotonic() < deadline:
                if len(state.client.key_value_dir_get(LEFT)) == state.num_processes - 1:
                    break
                time.sleep(0.2)
        elif code == 2:  # else the first process may be the one that is lost
            state.client.key_value_set(f"{LEFT}/{state.process_id}", "", allow_overwrite=True)
    os._exit(code)


@ctypes.CFUNCTYPE(None, ctypes.c_int)
def _aborted(_signal: int) -> None:
    say(
        f"error: process {distributed.global_state.process_id}: JAX has aborted it, as another "
        "process has ended; start all of them again to continue the run"
    )
    os._exit(1)


def catch_aborts() -> None:
    """Ends this process with a message and exit code 1 where JAX calls C's `abort`, for which
    Python's own signal handlers come too late."""
    if hasattr(signal, "SIGHUP"):  # not on Windows
        ctypes.CDLL(None).signal(signal.SIGABRT, _aborted)


@contextmanager
def watch() -> Iterator[None]:
    """Ends this process, with a message and exit code 1, soon after another one is lost: frozen,
    killed or out of reach."""
    client = distributed.global_state.client
    if client is None:
        yield
        return
    me, stop = jax.process_index(), threading.Event()
    heard = {i: time.monotonic() for i in range(jax.process_count()) if i != me}
    # Where the first process ends, JAX aborts the others: they leave before it.
    limit = LOST_SECONDS + (5 if me == 0 else 0)

    def beat() -> None:
        seen: dict[str, str] = {}
        for number in itertools.count():
            with suppress(jax.errors.JaxRuntimeError):  # for a moment, or the first one is lost
                client.key_value_set(f"{KEY}/{me}", str(number), allow_overwrite=True)
                for key, value in client.key_value_dir_get(KEY):
                    other = int(key.rpartition("/")[2])
                    if other != me and seen.get(key) != value:
                        seen[key] = value
                        heard[other] = math.inf if value == DONE else time.monotonic()
            if stop.wait(BEAT_SECONDS):
                break

    def judge() -> None:
        while not stop.wait(1):
            lost = [str(i) for i, last in heard.items() if time.monotonic() - last > limit]
            if lost:
                say(
                    f"error: process {me} has not heard from process {', '.join(lost)} for "
                    f"{limit} s; start all of them again to continue the run"
                )
                os._exit(1)

    threads = [threading.Thread(target=work, daemon=True) for work in (beat, judge)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(BEAT_SECONDS)
    with suppress(jax.errors.JaxRuntimeError):  # not after an error: the others wait in vain
        client.key_value_set(f"{KEY}/{me}", DONE, allow_overwrite=True)
