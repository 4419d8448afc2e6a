"""Ctrl-C and SIGTERM: the run is saved before the process ends."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Interrupted(Exception):
    """A signal came; the run is saved and can be resumed."""

    def __init__(self, number: int) -> None:
        self.exit_code = 128 + number
        super().__init__(signal.Signals(number).name)


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """A list that the first SIGINT or SIGTERM is put in; a second one ends the process at once."""
    caught: list[int] = []

    def handle(number: int, _frame: Any) -> None:
        caught.append(number)
        for each in old:
            signal.signal(each, signal.SIG_DFL)
        print(f"\n{signal.Signals(number).name}: saving a checkpoint", file=sys.stderr)

    old = {each: signal.signal(each, handle) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
