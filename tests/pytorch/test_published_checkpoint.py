"""A published checkpoint of PyTorch, through the command `convert`, to its published accuracy."""

import json
import pickle
from collections import OrderedDict

import numpy as np
import pytest
from support import SHARED

from jax_resnet.pytorch.files import read_state_dict

CHECKPOINT = SHARED / "reference" / "akamaster_resnet20.th"
DATA = SHARED / "tensorflow_datasets"


class OldFormat(pickle.Unpickler):
    """PyTorch's format before 2020, read without PyTorch; no other names than these are called."""

    KNOWN = {  # noqa: RUF012
        ("collections", "OrderedDict"): OrderedDict,
        ("torch._utils", "_rebuild_tensor"): lambda key, start, size, _: (key, start, size),
        ("torch", "FloatStorage"): "float32",
    }

    def find_class(self, module, name):
        return self.KNOWN[module, name]

    def persistent_load(self, saved):
        _, dtype, key, *_ = saved
        assert dtype == "float32"
        return key


def read_old_format(path):
    """The state dict of a checkpoint: four pickles, the storages' keys, the storages."""
    with path.open("rb") as file:
        *_, checkpoint = (OldFormat(file).load() for _ in range(4))
        storages = {}
        for key in OldFormat(file).load():
            count = int(np.fromfile(file, "<i8", 1)[0])
            storages[key] = np.fromfile(file, "<f4", count)
    return {
        name: storages[key][start : start + int(np.prod(size))].reshape(size)
        for name, (key, start, size) in checkpoint["state_dict"].items()
    }


@pytest.mark.slow
@pytest.mark.skipif(not CHECKPOINT.exists(), reason="no published checkpoint on this machine")
@pytest.mark.skipif(not DATA.exists(), reason="no CIFAR-10 on this machine")
def test_the_published_checkpoint_scores_what_is_published(call, tmp_path):
    """PyTorch: 9,173 of 10,000. Ours, on CPU: 9,173 as well, no image either way."""
    source, model = tmp_path / "resnet20.npz", tmp_path / "resnet20.safetensors"
    np.savez(source, **read_old_format(CHECKPOINT))
    code, stdout, _ = call("convert.py", source, model)
    assert (code, "akamaster ResNet-20, shortcut subsample" in stdout) == (0, True)
    code, stdout, _ = call("evaluate.py", model, "--data-dir", DATA, "--json")
    result = json.loads(stdout)
    assert (code, result["split"], result["count"]) == (0, "test", 10_000)
    assert abs(result["correct"] - 9_173) <= 2, f"{result['correct']} correct, PyTorch 9173"


@pytest.mark.skipif(not CHECKPOINT.exists(), reason="no published checkpoint on this machine")
def test_the_checkpoint_as_pytorch_reads_it(call, tmp_path):
    pytest.importorskip("torch", reason="PyTorch is not installed")
    state = read_state_dict(CHECKPOINT)
    ours = read_old_format(CHECKPOINT)
    assert state.keys() == ours.keys()
    for name, array in ours.items():
        np.testing.assert_array_equal(array, state[name])
    assert call("convert.py", CHECKPOINT, tmp_path / "model")[0] == 0
