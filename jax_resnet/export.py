"""A `Classifier` as one file of StableHLO, which runs without this package."""

import jax
import jax.numpy as jnp
from jax import export

from jax_resnet.classifier import Classifier

PLATFORMS = ("cpu", "cuda", "tpu")


def export_classifier(classifier: Classifier, image_size: tuple[int, int] | None = None) -> bytes:
    """The classifier, weights and all, as `jax.export` serialises it for CPU, GPU and TPU.

    `jax.export.deserialize(bytearray(...)).call(images)` takes uint8 NHWC images, any number of
    them at a time, of `image_size` (height and width, by default the training images') and the
    net's channels; it gives float32 logits.

    Raises:
        ValueError: if the net can't take images of that size.
    """
    (batch,) = export.symbolic_shape("batch")
    height, width = image_size or classifier.image_size
    images = jax.ShapeDtypeStruct((batch, height, width, classifier.channels), jnp.uint8)
    exported = export.export(jax.jit(lambda x: classifier(x)), platforms=PLATFORMS)(images)
    return bytes(exported.serialize())
