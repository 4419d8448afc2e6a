"""The `Classifier` of a run, and its loss and accuracy, every image counted once."""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array

from jax_resnet.classifier import Classifier
from jax_resnet.data.dataset import Dataset, Split
from jax_resnet.errors import UserError
from jax_resnet.model import ResNet
from jax_resnet.predict import images_at_once
from jax_resnet.training.config import Config
from jax_resnet.training.step import eval_step

BATCH_SIZE = 500


class NotFinite(UserError):
    """A logit is infinite or NaN, or a label is none of the classes."""


def classifier_of(
    config: Config, dataset: Dataset, variables: Any, mean: Array, std: Array
) -> Classifier:
    """The classifier of a run's variables; `mean` and `std` are of its training images."""
    net = ResNet(config.depth, dataset.num_classes, config.shortcut)
    size = dataset.image_shape[:2]
    return Classifier(variables, mean, std, net, dataset.class_names, size)


class Padded(struct.PyTreeNode):
    """A split in device memory, padded to whole batches; only `count` images are real."""

    images: Any  # uint8 (padded, height, width, channels)
    labels: Any  # int32 (padded,)
    count: Any  # int32
    batch_size: int = struct.field(pytree_node=False)  # images at a time


def to_device(split: Split, batch_size: int | None = None, sharding: Any = None) -> Padded:
    """The split in device memory; the padding of the last batch is never counted.

    Raises:
        UserError: if the batch size is below 1.
    """
    _, height, width, _ = split.images.shape
    batch_size = images_at_once(BATCH_SIZE, height, width, given=batch_size)
    missing = -len(split) % batch_size
    padded = Padded(
        np.pad(split.images, ((0, missing), (0, 0), (0, 0), (0, 0))),
        np.pad(split.labels, (0, missing)),
        np.int32(len(split)),
        batch_size,
    )
    return jax.device_put(padded, sharding)


@partial(jax.jit, static_argnames="precision")
def _add_batch(
    sums: dict[str, Array], classifier: Classifier, split: Padded, precision: str
) -> dict[str, Array]:
    start, batch_size = sums["start"], split.batch_size
    images = jax.lax.dynamic_slice_in_dim(split.images, start, batch_size)
    labels = jax.lax.dynamic_slice_in_dim(split.labels, start, batch_size)
    mask = start + jnp.arange(batch_size, dtype=start.dtype) < split.count
    batch = eval_step(classifier(images, precision), labels, mask)
    added = {name: sums[name] + batch[name].astype(sums[name].dtype) for name in batch}
    return {"start": start + batch_size} | added


@jax.jit
def _zeros() -> dict[str, Array]:
    counts = {name: jnp.int32(0) for name in ("start", "count", "correct")}
    return counts | {"loss": jnp.float32(0)}


def evaluate(classifier: Classifier, split: Padded, precision: str = "float32") -> dict[str, Any]:
    """`count`, `correct`, `accuracy` and mean `loss` over all images of a split.

    Args:
        classifier: the one to evaluate.
        split: from `to_device`, whose batch size has no effect on the counts.
        precision: of matrix products, as in `jax.default_matmul_precision`.

    Raises:
        UserError: if the split is empty.
        NotFinite: if a logit is not finite, or a label is not one of the classifier's classes.
    """
    if not len(split.labels):
        raise UserError("the split has no images, expected at least one")
    sums = _zeros()
    for _ in range(len(split.labels) // split.batch_size):
        sums = _add_batch(sums, classifier, split, precision)
    done, expected = jax.device_get((sums, split.count))
    assert done["count"] == expected, f"{done['count']} of {expected} images were counted"
    count, correct, loss = int(done["count"]), int(done["correct"]), float(done["loss"])
    if not math.isfinite(loss):
        classes = len(classifier.class_names)
        raise NotFinite(
            "the loss is not finite: a logit is infinite or NaN, or a label is not in "
            f"[0, {classes}), the classes of the classifier"
        )
    return {"count": count, "correct": correct, "accuracy": correct / count, "loss": loss / count}
