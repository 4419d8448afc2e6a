"""A `Classifier` as StableHLO, which runs without this package."""

import jax
import jax.numpy as jnp
from jax import export

from jax_resnet.classifier import MAX_IMAGE_SIZE, Classifier
from jax_resnet.errors import UserError
from jax_resnet.model import MIN_IMAGE_SIZE

PLATFORMS = ("cpu", "cuda", "tpu")


def export_classifier(classifier: Classifier, image_size: tuple[int, int] | None = None) -> bytes:
    """The classifier and its weights, serialised by `jax.export` for CPU, GPU and TPU.

    `jax.export.deserialize(bytearray(content)).call(images)` takes one or more uint8 NHWC images,
    and returns float32 logits; for no images it raises a `ValueError`. JAX promises that versions
    up to six months newer, and three weeks older, than the exporting one run the content.

    Args:
        classifier: what is exported.
        image_size: height and width of the images, by default those in training.

    Raises:
        UserError: if the images are too small for the net, or too large.
        UserError: if `classifier.mean` is by pixel, and of another size.
    """
    (batch,) = export.symbolic_shape("batch")
    height, width = image_size or classifier.image_size
    if not all(MIN_IMAGE_SIZE <= side <= MAX_IMAGE_SIZE for side in (height, width)):
        raise UserError(
            f"`image_size` is {height} {width}, expected {MIN_IMAGE_SIZE} to {MAX_IMAGE_SIZE} each"
        )
    images = jax.ShapeDtypeStruct((batch, height, width, classifier.channels), jnp.uint8)
    exported = export.export(jax.jit(lambda x: classifier(x)), platforms=PLATFORMS)(images)
    return bytes(exported.serialize())
