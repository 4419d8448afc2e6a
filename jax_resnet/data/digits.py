"""scikit-learn's handwritten digits: a real data set that needs no download."""

import numpy as np

from jax_resnet.data.dataset import Dataset, Split

_SPLIT_SEED = 0
_TEST_COUNT = 360


def load_digits() -> Dataset:
    """1,797 grayscale images of 8x8: 1,437 for training, 360 for testing, always the same ones.

    Brightness comes as 0..16 and is scaled to 0..255. A mirrored digit is no digit, so the set is
    not flippable. Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits"
    (its test part), as scikit-learn ships it.
    """
    from sklearn.datasets import load_digits as load

    digits = load()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[..., None]
    labels = digits.target.astype(np.int32)
    order = np.random.default_rng(_SPLIT_SEED).permutation(len(labels))
    test, train = order[:_TEST_COUNT], order[_TEST_COUNT:]
    return Dataset(
        name="digits",
        train=Split(images[train], labels[train]),
        validation=Split(images[:0], labels[:0]),
        test=Split(images[test], labels[test]),
        class_names=tuple(str(name) for name in digits.target_names),
        flippable=False,
    )
