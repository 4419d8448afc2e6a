"""Ctrl-C and SIGTERM: the run is saved before the process ends."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from signal import SIGINT, SIGTERM
from typing import Any

import jax


class Interrupted(BaseException):
    """A signal stopped the run; what was saved is good, and can be resumed. Like
    `KeyboardInterrupt`, it is no `Exception`, so that no handler of errors catches it."""

    def __init__(self, number: int) -> None:
        self.exit_code = 128 + number
        super().__init__(signal.Signals(number).name)


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """A list that the first SIGINT or SIGTERM is appended to; a second one ends the process."""
    caught: list[int] = []

    def note(number: int) -> None:
        caught.append(number)
        print(f"\n{signal.Signals(number).name}: saving a checkpoint", file=sys.stderr)

    with _handled_by(note):
        yield caught


@contextmanager
def raise_signals() -> Iterator[None]:
    """Raises `Interrupted` at the first SIGINT or SIGTERM, wherever the program is; a second one
    ends the process. For work that leaves nothing half done: loading, compiling, evaluating."""

    def stop(number: int) -> None:
        raise Interrupted(number)

    with _handled_by(stop):
        yield


@contextmanager
def _handled_by(answer: Callable[[int], None]) -> Iterator[None]:
    # Several processes must stop at the same step: JAX handles SIGTERM itself, and tells the
    # others.
    numbers = (SIGINT, SIGTERM) if jax.process_count() == 1 else (SIGINT,)

    def handle(number: int, _frame: Any) -> None:
        for each in numbers:
            signal.signal(each, signal.SIG_DFL)
        if SIGTERM in numbers:
            answer(number)
        else:
            os.kill(os.getpid(), SIGTERM)

    old = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
