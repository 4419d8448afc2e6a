"""Bfloat16 where the device computes in it; float32, with a word, where it does not."""

import jax
import jax.numpy as jnp
import pytest

from jax_resnet.training.config import Config
from jax_resnet.training.precision import dtype_on
from jax_resnet.training.programs import init_state, make_mesh

LINE = "bf16 is computed in float32 on CPU\n"


def test_a_net_on_cpu_computes_in_float32_and_says_so(capsys):
    config = Config(depth=8, dataset="digits", precision="bf16")
    state = init_state(config, 10, (8, 8, 1), make_mesh(jax.devices("cpu")))
    images = jnp.zeros((1, 8, 8, 1))
    assert "bf16" not in str(jax.make_jaxpr(state.apply_fn)(state.variables, images))
    assert capsys.readouterr().err == LINE


@pytest.mark.parametrize("platform", ["gpu", "tpu"])
def test_an_accelerator_computes_in_bfloat16(platform, capsys):
    assert dtype_on(platform, "bf16") == jnp.bfloat16
    assert dtype_on(platform, "default") == dtype_on(platform, "float32") == jnp.float32
    assert not capsys.readouterr().err


@pytest.mark.parametrize("precision", ["default", "float32", "tf32"])
def test_other_precisions_on_cpu_need_no_word(precision, capsys):
    assert dtype_on("cpu", precision) == jnp.float32
    assert not capsys.readouterr().err
