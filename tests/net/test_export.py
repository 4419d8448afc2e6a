"""An exported model, run by a process without this package."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_resnet import Classifier, ResNet
from jax_resnet.export import export_classifier

WITHOUT_THIS_PACKAGE = """
import sys
import jax.export
import numpy as np

path, *files = sys.argv[1:]
exported = jax.export.deserialize(bytearray(open(path, "rb").read()))
assert set(exported.platforms) == {"cpu", "cuda", "tpu"}, exported.platforms
for file in files:
    np.save(file.replace("images", "logits"), exported.call(np.load(file)))
assert not [name for name in sys.modules if name.startswith(("jax_resnet", "flax"))]
"""


@pytest.fixture
def classifier(tmp_path):
    """One of ten classes, saved in `tmp_path` as in a run's folder."""
    model = ResNet(8, 10, "conv1x1")
    variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
    mean, std = jnp.array([0.5, 0.4, 0.3]), jnp.full(3, 0.2)
    classifier = Classifier(variables, mean, std, model, tuple("abcdefghij"))
    classifier.save(tmp_path / "classifier.safetensors")
    return classifier


def test_the_logits_are_the_classifiers_at_two_batch_sizes(classifier, tmp_path, call):
    file = tmp_path / "model.bin"
    assert call("export.py", tmp_path, file, "--image-size", 9, 12)[0] == 0
    rng, files = np.random.default_rng(0), []
    for count in (1, 5):
        files.append(tmp_path / f"images{count}.npy")
        np.save(files[-1], rng.integers(0, 256, (count, 9, 12, 3), np.uint8))
    command = [sys.executable, "-c", WITHOUT_THIS_PACKAGE, file, *files]
    subprocess.run(command, check=True, cwd=tmp_path)
    for file in files:
        theirs = np.load(str(file).replace("images", "logits"))
        ours = jax.jit(Classifier.__call__)(classifier, np.load(file))
        assert theirs.dtype == np.float32
        np.testing.assert_allclose(theirs, ours, rtol=1e-5, atol=1e-5)


def test_the_size_is_32x32_by_default_and_images_must_be_uint8(classifier, tmp_path, call):
    assert call("export.py", tmp_path, tmp_path / "model.bin")[0] == 0
    exported = jax.export.deserialize(bytearray((tmp_path / "model.bin").read_bytes()))
    assert str(exported.in_avals[0].shape) == "(batch, 32, 32, 3)"
    with pytest.raises(ValueError, match="uint8"):
        exported.call(np.zeros((1, 32, 32, 3), np.float32))


@pytest.mark.parametrize("size", [(3, 32), (32, 0), (2**40, 32), (-1, 32)])
def test_sizes_that_the_net_cannot_take(classifier, tmp_path, call, size):
    code, _, stderr = call("export.py", tmp_path, tmp_path / "model.bin", "--image-size", *size)
    assert (code, stderr.startswith("error: ")) == (2, True)
    assert f"--image-size is {size[0]} {size[1]}, expected" in stderr
    assert not (tmp_path / "model.bin").exists()


def test_no_images_are_refused_with_the_reason(classifier):
    exported = jax.export.deserialize(bytearray(export_classifier(classifier)))
    with pytest.raises(ValueError, match="Expected value >= 1 for dimension variable 'batch'"):
        exported.call(np.zeros((0, 32, 32, 3), np.uint8))


def test_an_existing_file_stays(classifier, tmp_path, call):
    (tmp_path / "model.bin").write_text("mine")
    code, _, stderr = call("export.py", tmp_path, tmp_path / "model.bin")
    assert (code, "exists" in stderr) == (2, True)
    assert (tmp_path / "model.bin").read_text() == "mine"
