"""scikit-learn's handwritten digits: a real data set that needs no download."""

import numpy as np

from jax_resnet.data.dataset import Dataset, Split

_SPLIT_SEED = 0
_TEST_COUNT = 360


def load_digits() -> Dataset:
    """1,797 grayscale images of 8x8: 1,437 for training, 360 for testing, always the same ones.

    Brightness is 0 to 16 in the source, and scaled to 0 to 255. Mirrored digits are not digits, so
    the data set is not flippable. Source: E. Alpaydin and C. Kaynak, "Optical Recognition of
    Handwritten Digits" (its test part), as in scikit-learn.
    """
    from sklearn.datasets import load_digits as load

    digits = load()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[..., None]
    labels = digits.target.astype(np.int32)
    permutation = np.random.default_rng(_SPLIT_SEED).permutation(len(labels))
    test, train = permutation[:_TEST_COUNT], permutation[_TEST_COUNT:]
    return Dataset(
        name="digits",
        train=Split(images[train], labels[train]),
        validation=Split(images[:0], labels[:0]),
        test=Split(images[test], labels[test]),
        class_names=tuple(str(name) for name in digits.target_names),
        flippable=False,
    )
