"""A second start of a run, with JAX's persistent compilation cache, compiles nothing."""

import os
import subprocess
import sys

import pytest

CODE = """
import sys
from pathlib import Path

import jax

misses = []
jax.monitoring.register_event_listener(
    lambda event, **_: misses.append(event) if event.endswith("/cache_misses") else None
)
from jax_resnet.training.config import Config, load_dataset
from jax_resnet.training.train import train

config = Config(dataset="digits", depth=8, steps=12, runs_dir=Path(sys.argv[1]), name=sys.argv[2])
train(config, load_dataset(config))
print(len(misses))
"""


@pytest.mark.slow
def test_a_second_start_compiles_nothing(tmp_path):
    environment = os.environ | {
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    compiled = []
    for name in ("first", "second"):
        words = [sys.executable, "-c", CODE, tmp_path, name]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        compiled.append(int(done.stdout))
    first, second = compiled
    assert first > 0, "the cache was not in use"
    assert second == 0, f"{second} programs were compiled again"
