"""One step of training and one of evaluation: pure functions, for any loop."""

from typing import Annotated, Any, Literal, assert_never

import jax
import jax.numpy as jnp
import optax
from flax import struct
from flax.training import train_state
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, Key
from typing_extensions import Doc

from jax_resnet.errors import UserError, check_choice
from jax_resnet.model import ResNet

Metrics = dict[str, Any]
HEAD = "head"  # the layer whose outputs are the classes
Freeze = Annotated[
    Literal["none", "stages"],
    Doc(
        "Train all layers (none), or the last one only (stages): the others, and BatchNorm's "
        "running statistics, by which it then normalizes, stay as in the net of `init`. SGD trains "
        "the last layer."
    ),
]
# Weight of the squared difference between the logits of two views: as in Dual-Cutout of
# github.com/hysts/pytorch_image_classification.
CONSISTENCY = 0.1


class TrainState(train_state.TrainState):
    """Flax's `TrainState` (step, params, opt_state, apply_fn, tx) with BatchNorm's running
    statistics, the loss's label smoothing, and which layers are frozen. `init` makes one; `create`,
    which is Flax's, makes one of which all layers are trained. The optimizer's state is of the
    trained layers: `state.replace(freeze="none", opt_state=tx.init(state.params))` trains all."""

    batch_stats: Any
    label_smoothing: float = struct.field(pytree_node=False, default=0.0)
    freeze: Freeze = struct.field(pytree_node=False, default="none")

    @classmethod
    def init(
        cls,
        key: Key[Array, ""],
        model: ResNet,
        tx: optax.GradientTransformation,
        image_shape: tuple[int, int, int],
        label_smoothing: float = 0.0,
        freeze: Freeze = "none",
    ) -> "TrainState":
        """A fresh state.

        Args:
            key: of the weights.
            model: the net.
            tx: the optimizer; it sees only the layers that are trained.
            image_shape: height, width and channels.
            label_smoothing: the share of each target, in [0, 1), that is spread over all classes.
            freeze: see `Freeze`.

        Raises:
            UserError: for another `label_smoothing` or `freeze`.
        """
        check_choice("freeze", freeze, Freeze)
        if not 0 <= label_smoothing < 1:
            raise UserError(f"`label_smoothing` is {label_smoothing}, expected from 0 to below 1")
        variables = jax.jit(model.init)(key, jnp.zeros((1, *image_shape), model.param_dtype))
        state = cls(
            step=jnp.zeros((), jnp.int32),
            apply_fn=model.apply,
            params=variables["params"],
            tx=tx,
            opt_state=(),
            batch_stats=variables["batch_stats"],
            label_smoothing=label_smoothing,
            freeze=freeze,
        )
        return state.replace(opt_state=tx.init(state.trained))

    @property
    def variables(self) -> dict[str, Any]:
        """What `model.apply` takes."""
        return {"params": self.params, "batch_stats": self.batch_stats}

    @property
    def trained(self) -> Any:
        """The parameters that are trained."""
        match self.freeze:
            case "none":
                return self.params
            case "stages":
                return {HEAD: self.params[HEAD]}
            case _:
                assert_never(self.freeze)

    def apply_gradients(self, *, grads: Any, **fields: Any) -> "TrainState":
        """The state after an update by the gradients of the trained parameters; others keep their
        bits, which adding an update of 0 would not do for a weight of -0."""
        updates, opt_state = self.tx.update(grads, self.opt_state, self.trained)
        params = {**self.params, **optax.apply_updates(self.trained, updates)}
        step = self.step + 1
        return self.replace(step=step, params=params, opt_state=opt_state, **fields)


def train_step(
    state: TrainState, images: Float[Array, "views h w c"], labels: Int[Array, " n"]
) -> tuple[TrainState, Metrics]:
    """One step down the gradient of the mean cross-entropy.

    Args:
        state: jit with `donate_argnums=0` to update it in place.
        images: normalized and augmented, NHWC; or two views of each image, all first ones before
            all second ones, and then `CONSISTENCY` times the mean squared difference of their
            logits is added to the loss.
        labels: in `[0, num_classes)`.

    Returns:
        The next state, and metrics of the batch before the step: `loss` (smoothing included),
        `accuracy`, and `gradient_norms`, the L2 norm of the gradient of each part of the net, 0 of
        a frozen one; all float32 scalars for a float32 net.

    Raises:
        UserError: if the images are not one or two for each label, or as `cross_entropy`.
    """
    count = len(labels)
    if not count or len(images) not in (count, 2 * count):
        raise UserError(
            f"`images` are {len(images)}, expected one or two for each of the labels, {count}"
        )
    views = len(images) // count
    labels = jnp.tile(labels, views)

    def loss_fn(trained: Any) -> tuple[Array, tuple[Array, Any]]:
        variables = {**state.variables, "params": {**state.params, **trained}}
        train = state.freeze == "none"
        logits, updates = state.apply_fn(variables, images, train=train, mutable=["batch_stats"])
        loss = cross_entropy(logits, labels, state.label_smoothing).mean()
        if views == 2:
            first, second = jnp.split(logits, 2)
            loss += CONSISTENCY * ((first - second) ** 2).mean()
        return loss, (logits, updates["batch_stats"])

    grad_fn = jax.value_and_grad(loss_fn, has_aux=True)
    (loss, (logits, batch_stats)), grads = grad_fn(state.trained)
    frozen = jnp.zeros((), loss.dtype)
    metrics = {
        "loss": loss,
        "accuracy": _is_correct(logits, labels).mean(),
        "gradient_norms": {
            part: jnp.linalg.norm(ravel_pytree(grads[part])[0]) if part in grads else frozen
            for part in state.params
        },
    }
    return state.apply_gradients(grads=grads, batch_stats=batch_stats), metrics


def eval_step(
    logits: Float[Array, "n classes"], labels: Int[Array, " n"], mask: Bool[Array, " n"]
) -> Metrics:
    """Sums over the images that `mask` admits.

    Args:
        logits: float.
        labels: in `[0, classes)`.
        mask: false for an image that only fills the batch.

    Returns:
        `count` and `correct`, of JAX's default integer type, and `loss`, the sum of the
        cross-entropies without label smoothing, in the logits' dtype.

    Raises:
        UserError: as `cross_entropy`; or if `mask` has another shape or dtype.
    """
    losses = cross_entropy(logits, labels)
    if mask.shape != labels.shape or mask.dtype != bool:
        raise UserError(f"`mask` is {mask.dtype}{mask.shape}, expected bool{labels.shape}")
    return {
        "count": mask.sum(),
        "correct": (_is_correct(logits, labels) & mask).sum(),
        "loss": jnp.where(mask, losses, 0).sum(),
    }


def cross_entropy(
    logits: Float[Array, "n classes"], labels: Int[Array, " n"], smoothing: float = 0.0
) -> Float[Array, " n"]:
    """Cross-entropy of each image, in the logits' dtype.

    With label smoothing (Szegedy et al., 2016, section 7) the target of the image's class is
    `1 - smoothing + smoothing / classes`, and that of each other class `smoothing / classes`.

    Args:
        logits: float.
        labels: in `[0, classes)`; the cross-entropy of another one is infinite.
        smoothing: in [0, 1).

    Raises:
        UserError: if the labels are not integers, one for each row of logits: `(n, 1)` for example.
    """
    if labels.shape != logits.shape[:-1] or not jnp.issubdtype(labels.dtype, jnp.integer):
        raise UserError(
            f"`labels` are {labels.dtype}{labels.shape}, expected integers, {logits.shape[:-1]}"
        )
    one_hot = jax.nn.one_hot(_of_32_bits(labels), logits.shape[-1], dtype=logits.dtype)
    losses = optax.softmax_cross_entropy(logits, optax.smooth_labels(one_hot, smoothing))
    return jnp.where(one_hot.any(axis=-1), losses, jnp.inf)


def _is_correct(logits: Array, labels: Array) -> Array:
    labels = _of_32_bits(labels)
    return logits.argmax(axis=-1).astype(labels.dtype) == labels


def _of_32_bits(labels: Array) -> Array:
    """Labels of at least 32 bits: in fewer, the numbers of many classes are not distinct."""
    return labels if jnp.iinfo(labels.dtype).bits >= 32 else labels.astype(jnp.int32)
