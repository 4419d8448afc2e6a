"""The arguments of the training program as shapes, to compile it without the device."""

from typing import Any

import jax
import jax.numpy as jnp

from jax_resnet import ResNet
from jax_resnet.gpu.conv import conv_general_dilated
from jax_resnet.training import TrainState
from jax_resnet.training.config import Config
from jax_resnet.training.dispatch import GPUS
from jax_resnet.training.precision import compute_dtype
from jax_resnet.training.programs import Programs, replicated
from jax_resnet.training.recipes import make_optimizer

IMAGES = 45_000


def arguments(config: Config, programs: Programs) -> Any:
    """State, totals, data and epoch, the same on every device of the programs' mesh."""
    fields: dict[str, Any] = {"dtype": compute_dtype(config.precision)}
    if programs.mesh.devices.flat[0].platform in GPUS:
        fields["conv_general_dilated"] = conv_general_dilated
    model = ResNet(config.depth, 10, config.shortcut, **fields)
    tx = make_optimizer(config)
    shapes = (
        jax.eval_shape(lambda key: TrainState.init(key, model, tx, (32, 32, 3)), jax.random.key(0)),
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
