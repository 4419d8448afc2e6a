"""Where a run was made: versions, devices, the commit."""

import importlib.metadata
import platform
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "jax-resnet-cifar")


def environment(devices: Iterable[jax.Device]) -> dict[str, Any]:
    """What a result may depend on besides the hyper-parameters and the data."""
    return {
        "versions": {name: _version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "devices": [device.device_kind for device in devices],
        "commit": _commit(),
    }


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
