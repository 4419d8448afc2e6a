"""The package with its base dependencies alone, in a virtual environment."""

import os
import shutil
import subprocess
import sys
import venv

import numpy as np
import pytest
from PIL import Image
from support import ROOT

pytestmark = pytest.mark.slow

USE_THE_NET = """
import jax, jax.numpy as jnp, numpy as np
import jax_resnet

assert jax_resnet.__version__ != "0+unknown"
model = jax_resnet.resnet20(num_classes=3)
shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
assert shapes["params"]["head"]["bias"].shape == (3,)
logits = jax_resnet.pretrained("cnn20")(np.zeros((2, 32, 32, 3), np.uint8))
assert logits.shape == (2, 10)
"""


def run(*words, **options):
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    words = [str(word) for word in words]
    return subprocess.run(words, env=environment, capture_output=True, text=True, **options)


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """A function that runs Python in an environment where only the package is installed."""
    if run(sys.executable, "-m", "pip", "index", "versions", "numpy").returncode:
        pytest.skip("no package index answers")
    folder = tmp_path_factory.mktemp("light")
    source = folder / "source"  # a copy, so that the build leaves nothing beside the original
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "jax_resnet", source / "jax_resnet", ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    venv.create(folder / "venv", with_pip=True)
    interpreter = folder / "venv" / "bin" / "python"
    done = run(interpreter, "-m", "pip", "install", "--quiet", source)
    assert done.returncode == 0, done.stderr

    def run_python(*words):
        return run(interpreter, *words, cwd=folder)

    return run_python


def test_the_net_and_the_pretrained_weights(python):
    done = python("-c", USE_THE_NET)
    assert done.returncode == 0, done.stderr


def test_predictions_for_an_image_file(python, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    done = python("-m", "jax_resnet", "predict", "cnn20", tmp_path / "image.png")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("%") == 3


def test_a_command_that_needs_more_names_the_extra_in_one_sentence(python):
    done = python("-m", "jax_resnet", "train", "--dataset", "digits")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
    assert "[train]" in done.stderr
