"""Class probabilities of images, from a `Classifier`."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from jax_resnet.classifier import Classifier
from jax_resnet.errors import UserError

BATCH_SIZE = 100
PIXELS_AT_ONCE = 500 * 32 * 32


@jax.jit
def _probabilities(classifier: Classifier, images: jax.Array) -> jax.Array:
    logits = classifier(images)
    finite = jnp.isfinite(logits).all(axis=1, keepdims=True)
    return jnp.where(finite, jax.nn.softmax(logits), jnp.nan)


def predict(
    classifier: Classifier, images: UInt8[np.ndarray, "n h w c"], batch_size: int | None = None
) -> Float[np.ndarray, "n classes"]:
    """Float32 probabilities of the classes; each row sums to 1.

    Args:
        classifier: the net.
        images: uint8 NHWC; any number of them, including 0.
        batch_size: images at a time, by default `BATCH_SIZE` or fewer large ones; the last batch is
            padded, so that all use one program.

    Raises:
        UserError: if the images are not NHWC or the batch size is below 1; as a `Classifier`; or if
            logits of an image are not finite: what the net computes overflows its dtype.
    """
    if images.ndim != 4 or 0 in images.shape[1:]:
        raise UserError(f"images have shape {images.shape}, expected NHWC")
    _, height, width, _ = images.shape
    batch_size = images_at_once(BATCH_SIZE, height, width, given=batch_size)
    batch_size = min(batch_size, max(1, len(images)))
    missing = -len(images) % batch_size
    padded = np.pad(images, ((0, missing), (0, 0), (0, 0), (0, 0)))
    starts = range(0, len(padded), batch_size)
    batches = [_probabilities(classifier, padded[i : i + batch_size]) for i in starts]
    empty = np.empty((0, len(classifier.class_names)), np.float32)
    probabilities = np.concatenate([empty, *jax.device_get(batches)])[: len(images)]
    if bad := int(np.isnan(probabilities).any(axis=1).sum()):
        raise UserError(
            f"the logits of {bad} of {len(images)} images are not finite: with the classifier's "
            f"weights, mean and std they leave the range of {jnp.dtype(classifier.model.dtype)}"
        )
    return probabilities


def images_at_once(most: int, height: int, width: int, given: int | None = None) -> int:
    """How many images of this size, in pixels, are computed at a time: as many as are `given`, or
    else `most` or fewer.

    Raises:
        UserError: if the number that is given is below 1.
    """
    if given is None:
        return min(most, max(1, PIXELS_AT_ONCE // (height * width)))
    if given < 1:
        raise UserError(f"`batch_size` is {given}, expected 1 or more")
    return given
