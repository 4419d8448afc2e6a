"""The picture of a run, drawn again as its epochs end."""

import time
from collections.abc import Mapping

from jax_resnet.errors import say
from jax_resnet.plots import draw_curves
from jax_resnet.run.distributed import is_first
from jax_resnet.run.folder import Run
from jax_resnet.training.config import Config

SECONDS = 10.0  # between two pictures: drawing takes about 0.3 s, as long as a short epoch


class Curves:
    """Draws a run's `curves.png` from its `metrics.jsonl`, with published accuracies as references;
    of several processes, the first does."""

    def __init__(self, config: Config, run: Run, references: Mapping[str, float]) -> None:
        self._config, self._run, self._references = config, run, references
        self._drawn = time.monotonic()

    def draw_if_due(self) -> None:
        """Draws, unless that was done, or the run began, less than `SECONDS` ago."""
        if time.monotonic() - self._drawn >= SECONDS:
            self.draw()

    def draw(self) -> None:
        """Draws the lines that are there. A failure is printed, and the run continues.

        Raises:
            UserError: if the lines are damaged.
        """
        self._drawn = time.monotonic()
        if is_first():
            file, config, records = self._run.curves_file, self._config, self._run.records()
            try:
                draw_curves(
                    records,
                    file,
                    config.run_name,
                    config.label_smoothing,
                    self._references,
                )
            except Exception as error:  # whatever a library has: no picture is worth a run
                say(f"{file} can't be drawn: {error}")
