"""The arguments of the training program as shapes, to compile it without the device."""

from typing import Any

import jax
import jax.numpy as jnp

from jax_resnet.training.config import Config
from jax_resnet.training.programs import Programs, init_state, replicated

IMAGES = 45_000


def arguments(config: Config, programs: Programs) -> Any:
    """State, totals, data and epoch, the same on every device of the programs' mesh."""
    shapes = (
        jax.eval_shape(lambda: init_state(config, 10, (32, 32, 3), programs.mesh)),
        jax.eval_shape(programs.zeros),
        (
            jax.ShapeDtypeStruct((IMAGES, 32, 32, 3), jnp.uint8),
            jax.ShapeDtypeStruct((IMAGES,), jnp.int32),
            *[jax.ShapeDtypeStruct((3,), jnp.float32)] * 2,
        ),
        jax.eval_shape(programs.draw_epoch, config.seed, 0),
    )
    everywhere = replicated(programs.mesh)
    return jax.tree.map(
        lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=everywhere), shapes
    )
