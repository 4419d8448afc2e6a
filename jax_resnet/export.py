"""A `Classifier` as StableHLO, which runs without this package."""

import jax
import jax.numpy as jnp
from jax import export

from jax_resnet.classifier import Classifier

PLATFORMS = ("cpu", "cuda", "tpu")


def export_classifier(classifier: Classifier, image_size: tuple[int, int] | None = None) -> bytes:
    """The classifier and its weights, serialized by `jax.export` for CPU, GPU and TPU.

    `jax.export.deserialize(bytearray(content)).call(images)` takes one or more uint8 NHWC images,
    and returns float32 logits; for no images it raises a `ValueError`. JAX promises that versions
    up to six months newer, and three weeks older, than the exporting one run the content.

    Args:
        classifier: what is exported.
        image_size: height and width of the images, by default those in training.

    Raises:
        UserError: if `image_size` differs from that of the mean, or is out of range.
    """
    (batch,) = export.symbolic_shape("batch")
    images = jax.ShapeDtypeStruct((batch, *classifier.input_shape(image_size)), jnp.uint8)
    exported = export.export(jax.jit(lambda x: classifier(x)), platforms=PLATFORMS)(images)
    return bytes(exported.serialize())
