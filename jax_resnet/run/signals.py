"""Ctrl-C, SIGTERM and SIGHUP (a closed terminal): the run is saved before the process ends."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from signal import SIGINT, SIGTERM
from typing import Any

import jax

from jax_resnet.errors import UserError, say

SIGHUP = getattr(signal, "SIGHUP", None)  # which Windows lacks


class Interrupted(BaseException):
    """A signal stopped the run; what was saved is good, and can be resumed. Like
    `KeyboardInterrupt`, it is no `Exception`, so that no handler of errors catches it."""

    def __init__(self, number: int) -> None:
        self.exit_code = 128 + number
        super().__init__(signal.Signals(number).name)


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """A list that the number of the first signal is appended to, to be looked at between calls of
    JAX: an exception from a signal handler would pass through C++, which ends the process with a
    segmentation fault. A second signal ends the process."""
    caught: list[int] = []
    with _handled_by(caught.append):
        yield caught


def raise_if_stopped(signals: list[int]) -> None:
    """Raises `Interrupted` if a signal was noted."""
    if signals:
        raise Interrupted(signals[0])


@contextmanager
def raise_signals() -> Iterator[None]:
    """Raises `Interrupted` at the first signal, wherever the program is, or else at the end of the
    block; a second one ends the process. For loading data, which leaves nothing half done and does
    not call JAX."""

    noted: list[int] = []

    def stop(number: int) -> None:
        noted.append(number)
        raise Interrupted(number)

    with _handled_by(stop):
        yield
        raise_if_stopped(noted)  # within a destructor, Python drops what a handler raises


@contextmanager
def _handled_by(answer: Callable[[int], None]) -> Iterator[None]:
    # Several processes must stop at the same step: JAX handles SIGTERM itself, and tells the
    # others.
    several = jax.distributed.is_initialized()
    if threading.current_thread() is not threading.main_thread():
        raise UserError(
            "signals reach Python's main thread only: call this there, or give `train` a list, "
            "`signals`"
        )
    numbers = [SIGINT] if several else [SIGINT, SIGTERM]
    if SIGHUP is not None and signal.getsignal(SIGHUP) is not signal.SIG_IGN:  # as under nohup
        numbers.append(SIGHUP)

    def handle(number: int, _frame: Any) -> None:
        for each in numbers:  # a terminal that closes may send SIGHUP twice
            signal.signal(each, signal.SIG_IGN if each == SIGHUP else signal.SIG_DFL)
        with suppress(RuntimeError):  # the signal came within another print
            name = signal.Signals(number).name
            say("", f"{name}: stopping after the current step; another signal stops at once")
        if several:
            os.kill(os.getpid(), SIGTERM)
        else:
            answer(number)

    old = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
