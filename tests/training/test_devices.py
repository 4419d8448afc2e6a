"""How many devices there are does not change what is computed on them."""

import os
import re
import subprocess
import sys

import jax
import numpy as np
import on_devices
import pytest
from on_devices import train
from support import enable_x64

from jax_resnet.data import load
from jax_resnet.errors import UserError
from jax_resnet.training.config import Config
from jax_resnet.training.programs import device_data, init_state, make_mesh, make_programs


def assert_agree(one, other, bound):
    for name, array in one.items():
        if name not in ("devices", "correct"):
            assert other[name].dtype == array.dtype
            error = np.abs(other[name] - array).max() / np.abs(array).max()
            assert error < bound, f"{name} on {other['devices']} devices differs by {error:.1e}"
    assert other["correct"] == one["correct"]


def test_one_device_and_two_agree():
    with enable_x64(True):
        one, two = (train(count, "float64") for count in (1, 2))
    assert (one["devices"], two["devices"]) == (1, 2)
    assert_agree(one, two, 1e-9)


# In float32, sums over devices are in another order: 6e-7 was measured.
@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "bound"), [("float64", 1e-9), ("float32", 1e-5)])
def test_one_device_and_two_and_eight_agree(tmp_path, dtype, bound):
    environment = os.environ | {
        "JAX_NUM_CPU_DEVICES": "8",
        "JAX_ENABLE_X64": str(dtype == "float64"),
    }
    words = [sys.executable, on_devices.__file__, tmp_path, dtype, "1", "2", "8"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    one, two, eight = (dict(np.load(tmp_path / f"{count}.npz")) for count in (1, 2, 8))
    assert (one["devices"], two["devices"], eight["devices"]) == (1, 2, 8)
    assert_agree(one, two, bound)
    assert_agree(one, eight, bound)


def test_devices_speak_only_to_add_up():
    """Sums, once each for what needs the whole batch: statistics, their gradients, the loss, the
    kernels' gradients. No image, no weight and no activation goes from device to device."""
    config = Config(dataset="digits", depth=8, batch_size=16, steps=20)
    digits, mesh = load("digits"), make_mesh()
    programs = make_programs(config, len(digits.train), mesh)
    state = init_state(config, 10, digits.image_shape, mesh)
    data = device_data(digits.train, config.normalization, mesh)
    epoch = programs.draw_epoch(config.seed, state.step)
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
