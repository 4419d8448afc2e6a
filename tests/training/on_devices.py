"""Training on some of the devices; as a program, `python on_devices.py OUT DTYPE COUNT...`."""

import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from jax_resnet import Classifier, ResNet
from jax_resnet.cpu.conv import conv_general_dilated
from jax_resnet.data import load
from jax_resnet.training.config import Config
from jax_resnet.training.evaluation import evaluate, to_device
from jax_resnet.training.optimizer import make_optimizer
from jax_resnet.training.programs import make_mesh, make_programs, replicated
from jax_resnet.training.step import TrainState


def train(count, dtype):
    """Losses, weights and statistics after 20 steps, and the test images that are then right."""
    digits, dtype = load("digits"), jnp.dtype(dtype)
    mesh = make_mesh(jax.devices()[:count])
    config = Config(depth=8, batch_size=16, steps=20, pad=4, learning_rate=0.01)
    plain = ResNet(8, 10, "zeropad", dtype=dtype, param_dtype=dtype)
    conv = partial(conv_general_dilated, shards=mesh.size)
    model = plain.clone(conv_general_dilated=conv)
    state = TrainState.init(jax.random.key(0), model, make_optimizer(config), (8, 8, 1))
    constants = np.array([0.3], dtype), np.array([0.4], dtype)
    arrays = (digits.train.images[:100], digits.train.labels[:100], *constants)
    state, data = jax.device_put((state, arrays), replicated(mesh))
    programs = make_programs(config, 100, mesh)
    zeros = jax.tree.map(
        lambda x: x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x, programs.zeros()
    )
    losses = []
    for _ in range(config.steps):
        epoch = programs.draw_epoch(config.seed, state.step)
        state, totals = programs.advance(state, zeros, data, epoch)
        # XLA:CPU deadlocks with more than 32 computations in flight on several devices.
        losses.append(jax.block_until_ready(totals["loss"]))
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    classifier = Classifier(variables, *data[2:], plain, tuple("0123456789"))
    scores = evaluate(classifier, to_device(digits.test, sharding=replicated(mesh)))
    flat = traverse_util.flatten_dict(jax.device_get(variables), sep="/")
    return {"losses": np.array(losses), "correct": scores["correct"], "devices": mesh.size} | flat


if __name__ == "__main__":
    out, dtype, *counts = sys.argv[1:]
    for count in counts:
        np.savez(f"{out}/{count}.npz", **train(int(count), dtype))
