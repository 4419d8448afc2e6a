"""A trace of some steps, for Perfetto or XProf."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jax

from jax_resnet.errors import UserError, say
from jax_resnet.run.distributed import is_first

SKIPPED = 3  # the first steps, which are not yet like all others


class Profile:
    """Records `steps` steps after the first few into `folder`, of several processes in the first;
    nothing where `steps` is 0. A failure is printed, and the run continues."""

    def __init__(self, folder: Path, steps: int, first_step: int) -> None:
        if steps and folder.exists() and not folder.is_dir():
            raise UserError(f"`profile` needs the folder {folder}, but that is a file")
        self.folder = folder
        self.steps = steps if is_first() else 0
        self.start = first_step + SKIPPED
        self.stop = 0
        self.is_on = False

    def __enter__(self) -> "Profile":
        return self

    def __exit__(self, error: object, *_: object) -> None:
        if self.is_on:
            self._end()
        elif self.steps and error is None:
            say(f"no step was recorded: {SKIPPED} are left out at first, and no more were made")

    def update(self, step: int) -> None:
        """Starts or stops as `step` has been dispatched; a dispatch may be of many steps."""
        if self.steps and not self.is_on and step >= self.start:
            with self._saying():
                jax.profiler.start_trace(self.folder, create_perfetto_trace=True)
                self.is_on, self.stop = True, step + self.steps
        elif self.is_on and step >= self.stop:
            self._end()

    def _end(self) -> None:
        self.is_on, self.steps = False, 0
        with self._saying():
            jax.profiler.stop_trace()

    @contextmanager
    def _saying(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, RuntimeError) as error:  # TensorFlow's come as RuntimeErrors
            self.steps = 0
            reason = str(error).partition("\n")[0]
            say(f"{self.folder}: no trace can be recorded: {reason}")
