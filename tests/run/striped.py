"""Images of stripes, and what a run's files hold."""

import numpy as np

from jax_resnet.data.dataset import Split


def files(folder):
    """What a run's files hold."""
    return {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def stripes(seed, count):
    """Images of two classes, and their labels."""
    images = np.random.default_rng(seed).integers(0, 100, (count, 8, 8, 3), np.uint8)
    labels = np.arange(count, dtype=np.int32) % 2
    images[labels == 1, ::2] += 150
    return Split(images, labels)
