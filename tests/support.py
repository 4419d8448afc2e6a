"""What the tests share: paths, a small training command, and when two runs are equal."""

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import jax
import numpy as np
from flax import traverse_util

from jax_resnet import Classifier
from jax_resnet.training import loop
from jax_resnet.training import train as training
from jax_resnet.training.config import Config, load_dataset

ROOT = Path(__file__).parents[1]
SCRIPTS = ROOT / "scripts"
SHARED = ROOT.parent / "shared"  # CIFAR-10 and PyTorch recordings; tests skip where it is absent
TIMING = {"images_per_second"}
# Before JAX 0.8, `jax.experimental` had it.
enable_x64 = (jax if hasattr(jax, "enable_x64") else jax.experimental).enable_x64


def command(folder, *flags):
    """The words of a small training run in `folder`."""
    small = ["--dataset", "digits", "--depth", "8", "--batch-size", "64", "--runs-dir", folder]
    return [sys.executable, SCRIPTS / "train.py", *map(str, small), *flags]


def run_command(folder, *flags):
    """That command, finished."""
    return subprocess.run(command(folder, *flags), capture_output=True, text=True, check=False)


def records(folder):
    """The lines of a run's metrics, without how long they took."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in TIMING} for line in lines]


def assert_same_run(one, other):
    """Two runs on digits have the same metrics, results and, to the bit, weights."""
    assert records(one) == records(other)
    assert (one / "result.json").read_text() == (other / "result.json").read_text()
    ours, theirs = (Classifier.load(folder / "classifier.safetensors") for folder in (one, other))
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 1), np.uint8)
    np.testing.assert_array_equal(ours(images), theirs(images))


def digits(folder, **fields):
    """A run of two epochs, of nine steps each, and a bit; all modules share its compilation."""
    return Config(**{"dataset": "digits", "depth": 8, "steps": 24, "runs_dir": folder} | fields)


def train(config, **how):
    """Trains on the data set that `config` names."""
    return training.train(config, load_dataset(config), **how)


@contextmanager
def sigterm_at(step, monkeypatch):
    """In the block, one SIGTERM comes when `step` was dispatched; yields the steps that were."""
    update, seen = loop.Progress.update, []
    once = iter([signal.SIGTERM])  # a second one would end the process at once

    def update_then_stop(self, now, totals):
        update(self, now, totals)
        seen.append(now)
        if now == step and (number := next(once, None)):
            os.kill(os.getpid(), number)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Progress, "update", update_then_stop)
        yield seen


def with_unbiased_variances(variables, kept, batch, size):
    """PyTorch's running variances, n / (n - 1) of each batch's, from Flax's, of n values a batch.

    Args:
        variables: of a net whose steps had batches of `batch` images of `size` x `size` pixels.
        kept: the share of the initial 1 that both still hold; the rest is in proportion.
        batch: the number of images.
        size: in pixels.
    """

    def correct(path, value):
        if path[-1] != "var":
            return value
        stage = int(path[1][-1]) if path[1].startswith("stage") else 1
        n = batch * (size >> (stage - 1)) ** 2
        return kept + (value - kept) * n / (n - 1)

    return traverse_util.path_aware_map(correct, variables)
