"""Two virtual CPU devices, so that every test of training is one of sharding too; and one cache of
compiled programs for all tests and the commands that they start."""

import os
from pathlib import Path

CACHE = Path(__file__).parents[1] / ".pytest_cache" / "jax"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(CACHE))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")

import jax  # noqa: E402  the cache is read from the environment at import

jax.config.update("jax_num_cpu_devices", 2)
