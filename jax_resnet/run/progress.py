"""What a person sees of a run in progress."""

import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from jax_resnet.errors import say
from jax_resnet.run.distributed import is_first

SECONDS = 10.0  # between two looks at the loss; each look waits for the device


def announce(
    name: str, dataset: str, counts: dict[str, int], devices: Sequence[jax.Device]
) -> None:
    """Says what the run runs on, and on what data."""
    if not is_first():
        return
    processes = f" in {jax.process_count()} processes" if jax.process_count() > 1 else ""
    say(
        f"{name}: {len(devices)} x {devices[0].device_kind} ({devices[0].platform}){processes}; "
        f"{dataset}: {counts['train']} training, {counts['validation']} validation, "
        f"{counts['test']} test images"
    )
    if unused := unused_accelerators(devices[0].platform):
        say(
            f"warning: {', '.join(unused)} was found, but this JAX runs on the CPU: "
            "see https://docs.jax.dev/en/latest/installation.html"
        )


def unused_accelerators(platform: str, dev: Path = Path("/dev")) -> list[str]:
    """Device files of GPUs and TPUs that JAX does not use on `platform`."""
    if platform != "cpu":
        return []
    return sorted(
        str(each) for kind in ("nvidia[0-9]*", "kfd", "accel*") for each in dev.glob(kind)
    )


class Progress:
    """A bar with step, loss, accuracy, images/s and time left; a line an epoch where stderr is
    no terminal."""

    def __init__(self, steps: int, batch_size: int, step: int, label: str = "") -> None:
        self.steps = steps
        self.batch_size = batch_size
        self.is_terminal = is_first() and sys.stderr is not None and sys.stderr.isatty()
        self.looked = time.monotonic()
        self.bar = tqdm(
            total=steps, initial=step, unit="step", disable=not self.is_terminal,
            dynamic_ncols=True, desc=label.strip() or None,
        )  # fmt: skip

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def update(self, step: int, totals: dict[str, Any]) -> None:
        """Moves the bar; now and then fetches the epoch's loss and accuracy so far."""
        if not self.is_terminal:
            return
        self.bar.update(step - self.bar.n)
        if time.monotonic() - self.looked > SECONDS:
            sums = jax.device_get({k: totals[k] for k in ("steps", "loss", "accuracy")})
            self.looked = time.monotonic()
            rate = self.bar.format_dict["rate"] or 0.0
            loss, accuracy = (np.mean(sums[k] / sums["steps"]) for k in ("loss", "accuracy"))
            self.bar.set_postfix(
                loss=f"{loss:.3f}",
                accuracy=f"{accuracy:.3f}",
                images_per_second=f"{rate * self.batch_size:.0f}",
            )

    def epoch(self, record: dict[str, Any], label: str = "") -> None:
        """Prints the epoch's line, after `label`."""
        if not is_first():
            return
        parts = [f"{label}step {record['step']:>6}/{self.steps}"]
        for split in ("train", "validation"):
            if f"{split}_loss" in record:
                loss, accuracy = record[f"{split}_loss"], record[f"{split}_accuracy"]
                parts.append(f"{split} loss {loss:.3f} accuracy {accuracy:.4f}")
        parts.append(f"rate {record['learning_rate']:.2g}")
        parts.append(f"{record['images_per_second']:.0f} images/s")
        with suppress(OSError), tqdm.external_write_mode(sys.stderr):
            say("  ".join(parts))
