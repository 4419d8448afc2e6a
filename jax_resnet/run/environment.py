"""Where a run is made: versions, devices, cores, the commit; and what is the same everywhere."""

import importlib.metadata
import os
import platform
import re
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import experimental
from jax.sharding import Mesh

from jax_resnet.errors import UserError

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "jax-resnet-cifar")
# Variables that change how XLA computes: its options, and the number of its threads.
VARIABLES = ("XLA_FLAGS", "LIBTPU_INIT_ARGS", "NVIDIA_TF32_OVERRIDE", "NPROC")


@contextmanager
def pinned() -> Iterator[None]:
    """JAX's settings that a run expects, whatever this process's are: 32 bits, Threefry, `jit`, no
    mesh but the run's own, and transfers from and to the host.

    Raises:
        UserError: if all seeds have an offset, which can't be undone here.
    """
    if offset := getattr(jax.config, "jax_random_seed_offset", 0):
        raise UserError(
            f"JAX_RANDOM_SEED_OFFSET is {offset}, expected 0: a run depends on its `seed` alone"
        )
    # Before JAX 0.8, `jax.experimental` had it.
    enable_x64: Any = (jax if hasattr(jax, "enable_x64") else experimental).enable_x64
    with (
        enable_x64(False),
        jax.default_prng_impl("threefry2x32"),
        jax.threefry_partitionable(True),
        jax.disable_jit(False),
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
        jax.transfer_guard("allow"),
        jax.set_mesh(Mesh(np.empty((), object), ())),
    ):
        yield


def environment(devices: Iterable[jax.Device]) -> dict[str, Any]:
    """What a result may depend on besides the hyper-parameters and the data."""
    return {
        "versions": {name: _version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "devices": [device.device_kind for device in devices],
        "local_devices": jax.local_device_count(),  # on a CPU they share its threads
        "cpu": _cpu(),
        "cores": _cores(),
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
        "commit": _commit(),
    }


def differences(before: dict[str, Any], now: dict[str, Any]) -> str:
    """What differs between two environments; what the older one does not say counts as the same."""
    before, now = ({**each, **(each.get("versions") or {})} for each in (before, now))
    return "; ".join(
        f"{name} was {before[name]!r:.200}, is {value!r:.200}"
        for name, value in now.items()
        if name != "versions" and before.get(name, value) != value
    )


def _cores() -> int:
    """As many as this process may use; XLA on CPUs divides its work among them, and so rounds."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        return os.cpu_count() or 1


def _cpu() -> str:
    """The CPU's model and its vector extensions; both decide how XLA computes on it."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or platform.machine()
    model = re.search(r"model name\s*:\s*(.*)", text)
    vectors = re.findall(r"\b(?:avx512f|avx512_bf16|avx2|amx_tile|sve2?)\b", text)
    return " ".join([model[1] if model else platform.machine(), *dict.fromkeys(vectors)])


def _version(package: str) -> str | None:
    """None where this package is used from its source, not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The git commit of this package's source, if it has one; "-dirty" says that it was changed."""
    here = ["git", "-C", str(Path(__file__).parent)]
    try:  # an installed package may lie in another project's repository
        subprocess.run(
            [*here, "ls-files", "--error-unmatch", Path(__file__).name],
            capture_output=True,
            check=True,
        )
        describe = [*here, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        return subprocess.run(describe, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
