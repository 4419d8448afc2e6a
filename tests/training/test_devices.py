"""How many devices there are does not change what is computed on them."""

import os
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_resnet.data import load
from jax_resnet.errors import UserError
from jax_resnet.training.config import Config
from jax_resnet.training.programs import device_data, init_state, make_mesh, make_programs

CODE = """
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jax_resnet import Classifier, ResNet
from jax_resnet.training.config import Config
from jax_resnet.cpu.conv import conv_general_dilated
from jax_resnet.data import Split, load
from jax_resnet.training.evaluation import evaluate, to_device
from jax_resnet.training.recipes import make_optimizer
from jax_resnet.training.programs import make_mesh, make_programs, replicated
from jax_resnet.training.step import TrainState

out, dtype = sys.argv[1:]
digits, dtype = load("digits"), jnp.dtype(dtype)
mesh = make_mesh()
config = Config(depth=8, batch_size=16, steps=20, pad=4, learning_rate=0.01)
model = ResNet(8, 10, "zeropad", dtype=dtype, param_dtype=dtype,
               conv_general_dilated=partial(conv_general_dilated, shards=mesh.size))
state = TrainState.init(jax.random.key(0), model, make_optimizer(config), (8, 8, 1))
arrays = (digits.train.images[:100], digits.train.labels[:100], np.array([0.3], dtype),
          np.array([0.4], dtype))
data = jax.device_put(arrays, replicated(mesh))
state = jax.device_put(state, replicated(mesh))
programs = make_programs(config, 100, mesh)
zeros = jax.tree.map(
    lambda x: x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x, programs.zeros()
)
losses = []
for step in range(config.steps):
    state, totals = programs.advance(state, zeros, data, programs.draw_epoch(state.step))
    # XLA:CPU deadlocks with more than 32 computations in flight on several devices.
    losses.append(jax.block_until_ready(totals["loss"]))
variables = {"params": state.params, "batch_stats": state.batch_stats}
plain = ResNet(8, 10, "zeropad", dtype=dtype, param_dtype=dtype)
classifier = Classifier(variables, *data[2:], plain, tuple("0123456789"))
scores = evaluate(classifier, to_device(digits.test, sharding=replicated(mesh)))
flat = traverse_util.flatten_dict(variables, sep="/")
np.savez(out, losses=np.array(losses), correct=scores["correct"], devices=mesh.size, **flat)
"""


def run(folder, devices, dtype):
    """Losses, weights and statistics after 20 steps, and the test images that are then right."""
    out = folder / f"{devices}-{dtype}.npz"
    environment = os.environ | {
        "JAX_NUM_CPU_DEVICES": str(devices),
        "JAX_ENABLE_X64": str(dtype == "float64"),
    }
    words = [sys.executable, "-c", CODE, str(out), dtype]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    arrays = dict(np.load(out))
    assert arrays.pop("devices") == devices
    return arrays


# In float32, sums over devices are in another order: 6e-7 was measured.
@pytest.mark.parametrize(
    ("counts", "dtype", "bound"),
    [
        ((2,), "float64", 1e-9),
        pytest.param((2, 8), "float64", 1e-9, marks=pytest.mark.slow),
        pytest.param((2, 8), "float32", 1e-5, marks=pytest.mark.slow),
    ],
)
def test_one_and_more_devices_agree(tmp_path, counts, dtype, bound):
    one = run(tmp_path, 1, dtype)
    for devices in counts:
        other = run(tmp_path, devices, dtype)
        for name, array in one.items():
            assert other[name].dtype == array.dtype
            error = np.abs(other[name] - array).max() / np.abs(array).max()
            assert error < bound, f"{name} on {devices} devices differs by {error:.1e}"
        assert other["correct"] == one["correct"]


def test_devices_speak_only_to_add_up():
    """Sums, once each for what needs the whole batch: statistics, their gradients, the loss, the
    kernels' gradients. No image, no weight and no activation goes from device to device."""
    config = Config(dataset="digits", depth=8, batch_size=16, steps=20)
    digits, mesh = load("digits"), make_mesh()
    programs = make_programs(config, len(digits.train), mesh)
    state = init_state(config, 10, digits.image_shape, mesh)
    data = device_data(digits.train, config.normalization, mesh)
    epoch = programs.draw_epoch(jnp.asarray(state.step))
    (program,) = programs.advance.programs
    text = program.lower(state, programs.zeros(), data, epoch).compile().as_text()
    found = set(re.findall(r"(all-\w+|collective-\w+|reduce-scatter)(?:-start)?\(", text))
    assert jax.device_count() > 1
    assert found == {"all-reduce"}, f"the step holds {found}"
    layers = 7 + 1  # convolutions, each with a BatchNorm, and the head
    count = len(re.findall(r" all-reduce(?:-start)?\(", text))
    assert 0 < count <= 5 * layers, f"{count} sums over the devices for {layers} layers"


def test_a_batch_that_devices_do_not_divide_is_refused():
    with pytest.raises(UserError, match=r"`batch_size` 15 can't be split over 2.*a multiple of 2"):
        make_programs(Config(batch_size=15), 100, make_mesh())
