"""Class probabilities of images, from a `Classifier`."""

import jax
import numpy as np
from jaxtyping import Float, UInt8

from jax_resnet.classifier import Classifier
from jax_resnet.errors import UserError
from jax_resnet.model import SMALLEST_IMAGE

BATCH_SIZE = 100


@jax.jit
def _probabilities(classifier: Classifier, images: jax.Array) -> jax.Array:
    return jax.nn.softmax(classifier(images))


def predict(
    classifier: Classifier, images: UInt8[np.ndarray, "n h w c"], batch_size: int = BATCH_SIZE
) -> Float[np.ndarray, "n classes"]:
    """Float32 probabilities of the classes; each row sums to 1.

    Args:
        classifier: what predicts.
        images: uint8 NHWC; any number of them, none included.
        batch_size: images at a time; the last batch is filled up, so all share one program.
    """
    batch_size = min(batch_size, max(1, len(images)))
    missing = -len(images) % batch_size
    padded = np.pad(images, ((0, missing), (0, 0), (0, 0), (0, 0)))
    starts = range(0, len(padded), batch_size)
    batches = [_probabilities(classifier, padded[i : i + batch_size]) for i in starts]
    empty = np.empty((0, len(classifier.class_names)), np.float32)
    return np.concatenate([empty, *jax.device_get(batches)])[: len(images)]


def input_shape(
    classifier: Classifier, image_size: tuple[int, int] | None = None
) -> tuple[int, int, int]:
    """Height, width and channels of the images that a classifier takes.

    A mean by pixel says the size; where it is by channel, any size will do, and `image_size` or
    else that of the training images is taken.

    Raises:
        UserError: if `image_size` is not what the classifier's mean says, or is too small.
    """
    own = classifier.mean.shape[:2] if classifier.mean.ndim == 3 else None
    height, width = image_size or own or classifier.image_size
    if own and (height, width) != own:
        raise UserError(
            f"--image-size is {height} {width}, expected {own[0]} {own[1]}, the model's"
        )
    if not all(SMALLEST_IMAGE <= side <= 4096 for side in (height, width)):
        raise UserError(f"--image-size is {height} {width}, expected {SMALLEST_IMAGE} to 4096 each")
    return height, width, classifier.channels
