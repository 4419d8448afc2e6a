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
    """A signal came; what the run had come to is saved, and it can be resumed. As with
    `KeyboardInterrupt`, no handler of errors takes it for one."""

    def __init__(self, number: int) -> None:
        self.exit_code = 128 + number
        super().__init__(signal.Signals(number).name)


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """A list that the first SIGINT or SIGTERM is put in; a second one ends the process at once."""
    caught: list[int] = []

    def note(number: int) -> None:
        caught.append(number)
        print(f"\n{signal.Signals(number).name}: saving a checkpoint", file=sys.stderr)

    with _handled_by(note):
        yield caught


@contextmanager
def raise_signals() -> Iterator[None]:
    """Raises `Interrupted` where the program is at the first SIGINT or SIGTERM; a second one ends
    the process at once. For what leaves nothing half done: loading, compiling, evaluating."""

    def stop(number: int) -> None:
        raise Interrupted(number)

    with _handled_by(stop):
        yield


@contextmanager
def _handled_by(answer: Callable[[int], None]) -> Iterator[None]:
    # Of several processes all must stop at one step: JAX's engine listens for SIGTERM itself, and
    # tells the others.
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
