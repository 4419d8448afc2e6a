"""`import jax_resnet`: its cost, its version, its refusal, and its types."""

import inspect
import os
import subprocess
import sys
from importlib import metadata

import pytest

import jax_resnet


def python(code, *folders):
    """Runs code in another process, `folders` first on its path."""
    path = os.pathsep.join([*map(str, folders), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_import_brings_no_training_libraries():
    heavy = ["optax", "orbax", "tensorflow", "tensorflow_datasets", "matplotlib", "pydantic", "PIL"]
    done = python(f"import sys, jax_resnet; print([m for m in {heavy} if m in sys.modules])")
    assert done.stdout.strip() == "[]"


def test_the_version_is_that_of_the_distribution():
    assert jax_resnet.__version__ == metadata.version("jax-resnet-cifar")


@pytest.mark.parametrize("name", ["jax_resnet-0.0.4", "Jax_ResNet-0.0.4"])
def test_the_other_distribution_of_this_name_is_refused(tmp_path, name):
    folder = tmp_path / f"{name}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: jax-resnet\nVersion: 0.0.4\n")
    done = python("import jax_resnet", tmp_path)
    assert done.returncode == 1
    message = done.stderr.splitlines()[-1]
    assert message.startswith("ImportError: PyPI's `jax-resnet` is installed")
    assert "pip uninstall jax-resnet jax-resnet-cifar" in message


@pytest.mark.parametrize("depth", [20, 32, 44, 56, 110])
def test_help_on_a_net_of_one_depth_reads_well(depth):
    function = getattr(jax_resnet, f"resnet{depth}")
    assert f"depth {depth}," in inspect.getdoc(function)
    assert "shortcut: 'Shortcut' = 'zeropad'" in str(inspect.signature(function))


TYPED = """
from typing import assert_type

import jax.numpy as jnp
import numpy as np

from jax_resnet import Classifier, ResNet, pretrained, resnet20

assert_type(pretrained(), tuple[str, ...])
classifier = assert_type(pretrained("cnn20"), Classifier)
classifier(np.zeros((1, 32, 32, 3), np.uint8)).argmax(-1)
classifier(jnp.zeros((1, 32, 32, 3), jnp.uint8)).argmax(-1)
classifier([1, 2, 3])  # type: ignore[arg-type]
assert_type(resnet20(num_classes=7, shortcut="conv1x1", dtype=jnp.bfloat16), ResNet)
assert_type(resnet20(shortcut=None), ResNet)
resnet20(shortcut="identity")  # type: ignore[arg-type]
"""


@pytest.mark.slow
def test_calls_are_typed(tmp_path, pytestconfig):
    api = pytest.importorskip("mypy.api", reason="mypy is not installed")
    (tmp_path / "typed.py").write_text(TYPED)
    flags = ["--ignore-missing-imports", "--warn-unused-ignores", "--cache-dir"]
    cache = pytestconfig.cache.mkdir("mypy")  # of what mypy found in jax and flax
    flags += [str(cache), "--disable-error-code", "name-defined"]
    stdout, stderr, code = api.run([*flags, str(tmp_path / "typed.py")])
    assert code == 0, stdout + stderr
