"""What a run says of where it was made."""

import shutil
import subprocess
from pathlib import Path

import jax
import numpy as np
import pytest

from jax_resnet.run import environment
from jax_resnet.run.progress import unused_accelerators


def test_a_package_that_is_not_installed_has_no_version(monkeypatch):
    """As when the scripts run from a source tree, with nothing but its requirements installed."""
    monkeypatch.setattr(environment, "PACKAGES", ("numpy", "jax-resnet-nowhere"))
    versions = environment.environment(jax.devices())["versions"]
    assert versions == {"numpy": np.__version__, "jax-resnet-nowhere": None}


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_commit_is_that_of_this_source(tmp_path, monkeypatch):
    """Not of a repository in which the package is installed."""
    author = ["-c", "user.name=a", "-c", "user.email=a@b.c"]

    def git(*words):
        command = ["git", "-C", tmp_path, *author, *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def commit():
        return environment.environment(jax.devices())["commit"]

    source = tmp_path / "environment.py"
    source.write_text("1")
    monkeypatch.setattr(environment, "__file__", str(source))
    assert commit() is None
    git("init")
    git("commit", "--allow-empty", "-m", "theirs")
    assert commit() is None
    git("add", source)
    git("commit", "-m", "ours")
    assert commit() == git("rev-parse", "HEAD")
    source.write_text("2")
    assert commit() == git("rev-parse", "HEAD") + "-dirty"


def test_an_accelerator_that_jax_does_not_use_is_named(tmp_path):
    for name in ("nvidia0", "nvidiactl", "accel0"):
        (tmp_path / name).touch()
    named = [Path(each).name for each in unused_accelerators("cpu", tmp_path)]
    assert named == ["accel0", "nvidia0"]
    assert unused_accelerators("gpu", tmp_path) == []
