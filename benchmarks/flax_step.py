"""The net and the step of `benchmark.py` as usually written in Flax."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from case import CHANNELS, IMAGE_SHAPE, Case
from flax.training import train_state

from jax_resnet.training.precision import compute_dtype
from jax_resnet.training.programs import replicated


class Net(nn.Module):
    """Flax's convolution, BatchNorm and max-pooling."""

    case: Case

    @nn.compact
    def __call__(self, x: Any, train: bool = False) -> Any:
        case, dtype = self.case, compute_dtype(self.case.precision)
        conv = partial(nn.Conv, use_bias=False, padding=1, dtype=dtype)
        norm = partial(nn.BatchNorm, not train, momentum=0.9, dtype=dtype)
        x = nn.relu(norm()(conv(16, (3, 3))(x)))
        for stage, channels in enumerate(CHANNELS):
            for block in range((case.depth - 2) // 6):
                strides = (2, 2) if stage > 0 and block == 0 else (1, 1)
                y = nn.relu(norm()(conv(channels, (3, 3), strides)(x)))
                y = norm()(conv(channels, (3, 3))(y))
                if case.shortcut == "conv1x1" and strides == (2, 2):
                    x = norm()(conv(channels, (1, 1), strides, padding=0)(x))
                elif case.shortcut == "zeropad" and strides == (2, 2):
                    x = nn.max_pool(x, (2, 2), (2, 2))
                    x = jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, channels - x.shape[-1])))
                x = nn.relu(y + x if case.shortcut else y)
        return nn.Dense(10)(x.mean((1, 2), dtype=jnp.float32))


class State(train_state.TrainState):
    batch_stats: Any

    @property
    def variables(self) -> Any:
        return {"params": self.params, "batch_stats": self.batch_stats}


def init(case: Case, mesh: Any) -> State:
    """A state with SGD, on all devices of a mesh."""
    tx = optax.chain(optax.add_decayed_weights(1e-4), optax.sgd(0.1, 0.9))
    net = Net(case)
    variables = net.init(jax.random.key(0), jnp.zeros((1, *IMAGE_SHAPE)))
    return jax.device_put(State.create(apply_fn=net.apply, tx=tx, **variables), replicated(mesh))


def train_step(state: State, images: Any, labels: Any) -> tuple[State, dict[str, Any]]:
    """The state after a step of gradient descent on a batch; its loss and accuracy before it."""

    def loss_of(params: Any) -> Any:
        variables = state.variables | {"params": params}
        logits, new = state.apply_fn(variables, images, train=True, mutable=["batch_stats"])
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        return losses.mean(), (logits, new["batch_stats"])

    (loss, (logits, stats)), grads = jax.value_and_grad(loss_of, has_aux=True)(state.params)
    metrics = {"loss": loss, "accuracy": (logits.argmax(-1) == labels).mean()}
    return state.apply_gradients(grads=grads, batch_stats=stats), metrics
