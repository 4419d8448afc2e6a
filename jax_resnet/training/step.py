"""One step of training and one of evaluation: pure functions, for any loop."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from flax.training import train_state
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, Key

from jax_resnet.errors import UserError
from jax_resnet.model import ResNet

Metrics = dict[str, Any]
CONSISTENCY = 0.1  # weight of the squared difference between the logits of two views


class TrainState(train_state.TrainState):
    """Flax's `TrainState` (step, params, opt_state, apply_fn, tx) with BatchNorm's running
    statistics and the loss's label smoothing."""

    batch_stats: Any
    label_smoothing: float = struct.field(pytree_node=False, default=0.0)

    @classmethod
    def init(
        cls,
        key: Key[Array, ""],
        model: ResNet,
        tx: optax.GradientTransformation,
        image_shape: tuple[int, int, int],
        label_smoothing: float = 0.0,
    ) -> "TrainState":
        """A fresh state; `image_shape` is (height, width, channels)."""
        variables = jax.jit(model.init)(key, jnp.zeros((1, *image_shape), model.param_dtype))
        state = cls.create(
            apply_fn=model.apply,
            params=variables["params"],
            tx=tx,
            batch_stats=variables["batch_stats"],
            label_smoothing=label_smoothing,
        )
        return state.replace(step=jnp.zeros((), jnp.int32))

    @property
    def variables(self) -> dict[str, Any]:
        """What `model.apply` takes."""
        return {"params": self.params, "batch_stats": self.batch_stats}


def train_step(
    state: TrainState, images: Float[Array, "views h w c"], labels: Int[Array, " n"]
) -> tuple[TrainState, Metrics]:
    """One step down the gradient of the mean cross-entropy.

    Args:
        state: jit with `donate_argnums=0` to update it in place.
        images: normalised and augmented, NHWC; or two views of each image, all first ones before
            all second ones, and then `CONSISTENCY` times the mean squared difference of their
            logits is added to the loss.
        labels: in `[0, num_classes)`.

    Returns:
        The next state, and metrics of the batch before the step: `loss` (smoothing included),
        `accuracy`, and `gradient_norms`, the L2 norm of the gradient of each part of the net.
    """
    views, rest = divmod(len(images), len(labels))
    if rest or views not in (1, 2):
        raise UserError(
            f"`images` are {len(images)}, expected one or two for each of the labels, {len(labels)}"
        )
    labels = jnp.tile(labels, views)

    def loss_fn(params: Any) -> tuple[Array, tuple[Array, Any]]:
        variables = {"params": params, "batch_stats": state.batch_stats}
        logits, updates = state.apply_fn(variables, images, train=True, mutable=["batch_stats"])
        loss = cross_entropy(logits, labels, state.label_smoothing).mean()
        if views == 2:
            first, second = jnp.split(logits, 2)
            loss += CONSISTENCY * ((first - second) ** 2).mean()
        return loss, (logits, updates["batch_stats"])

    grad_fn = jax.value_and_grad(loss_fn, has_aux=True)
    (loss, (logits, batch_stats)), grads = grad_fn(state.params)
    metrics = {
        "loss": loss,
        "accuracy": (logits.argmax(axis=-1) == labels).mean(),
        "gradient_norms": {
            part: jnp.linalg.norm(ravel_pytree(grad)[0]) for part, grad in grads.items()
        },
    }
    return state.apply_gradients(grads=grads, batch_stats=batch_stats), metrics


def eval_step(
    logits: Float[Array, "n classes"], labels: Int[Array, " n"], mask: Bool[Array, " n"]
) -> Metrics:
    """Sums over the images that `mask` admits: `count`, `correct`, and `loss`."""
    return {
        "count": mask.sum(),
        "correct": ((logits.argmax(axis=-1) == labels) & mask).sum(),
        "loss": jnp.where(mask, cross_entropy(logits, labels), 0).sum(),
    }


def cross_entropy(
    logits: Float[Array, "n classes"], labels: Int[Array, " n"], smoothing: float = 0.0
) -> Float[Array, " n"]:
    """Cross-entropy of each image; `smoothing` of each target is spread over all classes."""
    targets = optax.smooth_labels(
        jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype), smoothing
    )
    return optax.softmax_cross_entropy(logits, targets)
