"""An exported model, run by a process that does not know this package."""

import runpy
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from test_torch_weights import state_of

from jax_resnet import Classifier
from jax_resnet.pytorch.weights import from_torch

SCRIPT = Path(__file__).parents[1] / "scripts" / "export.py"
STRANGER = """
import sys
import jax
import numpy as np

path, *files = sys.argv[1:]
exported = jax.export.deserialize(bytearray(open(path, "rb").read()))
assert set(exported.platforms) == {"cpu", "cuda", "tpu"}, exported.platforms
for file in files:
    np.save(file.replace("images", "logits"), exported.call(np.load(file)))
assert not [name for name in sys.modules if name.startswith(("jax_resnet", "flax"))]
"""


def export(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["export.py", *map(str, arguments)])
    runpy.run_path(str(SCRIPT), run_name="__main__")


@pytest.fixture
def classifier(tmp_path):
    made, _ = from_torch(state_of(shortcut="conv1x1"))
    made.save(tmp_path / "classifier.safetensors")
    return made


def test_a_stranger_gets_our_logits_at_two_batch_sizes(classifier, tmp_path, monkeypatch):
    export(monkeypatch, tmp_path, tmp_path / "model.bin", "--height", 9, "--width", 12)
    rng, files = np.random.default_rng(0), []
    for count in (1, 5):
        files.append(tmp_path / f"images{count}.npy")
        np.save(files[-1], rng.integers(0, 256, (count, 9, 12, 3), np.uint8))
    command = [sys.executable, "-c", "import jax.export\n" + STRANGER, tmp_path / "model.bin"]
    subprocess.run([*command, *files], check=True, cwd=tmp_path)
    for file in files:
        theirs = np.load(str(file).replace("images", "logits"))
        ours = jax.jit(Classifier.__call__)(classifier, np.load(file))
        assert theirs.dtype == np.float32
        np.testing.assert_allclose(theirs, ours, rtol=1e-5, atol=1e-5)


def test_the_size_is_32x32_by_default_and_images_must_be_uint8(classifier, tmp_path, monkeypatch):
    export(monkeypatch, tmp_path, tmp_path / "model.bin")
    exported = jax.export.deserialize(bytearray((tmp_path / "model.bin").read_bytes()))
    assert str(exported.in_avals[0].shape) == "(batch, 32, 32, 3)"
    with pytest.raises(ValueError, match="uint8"):
        exported.call(np.zeros((1, 32, 32, 3), np.float32))


@pytest.mark.parametrize("flags", [("--height", 3), ("--width", 0)])
def test_sizes_that_the_net_cannot_take(classifier, tmp_path, monkeypatch, capsys, flags):
    with pytest.raises(SystemExit) as stop:
        export(monkeypatch, tmp_path, tmp_path / "model.bin", *flags)
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith("error: --height")
    assert not (tmp_path / "model.bin").exists()


def test_an_existing_file_stays(classifier, tmp_path, monkeypatch, capsys):
    (tmp_path / "model.bin").write_text("mine")
    with pytest.raises(SystemExit) as stop:
        export(monkeypatch, tmp_path, tmp_path / "model.bin")
    assert stop.value.code == 2
    assert "is there already" in capsys.readouterr().err
    assert (tmp_path / "model.bin").read_text() == "mine"
