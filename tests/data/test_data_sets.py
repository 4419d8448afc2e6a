"""`load`, `split_validation` and the digits."""

import subprocess
import sys

import numpy as np
import pytest

from jax_resnet.data import DATASETS, Dataset, Split, load, split_validation
from jax_resnet.errors import UserError


def numbered(count: int, validation: int = 0) -> Dataset:
    """A data set whose every training image holds its own position."""
    images = np.arange(count, dtype=np.uint8).reshape(count, 1, 1, 1)
    train = Split(images, (np.arange(count) % 2).astype(np.int32))
    held = Split(images[:validation], train.labels[:validation])
    return Dataset("numbered", train, held, held, ("even", "odd"), flippable=False)


def test_importing_the_package_brings_no_data_library():
    code = (
        "import sys, jax_resnet.data; "
        "print([m for m in ('tensorflow_datasets', 'PIL', 'sklearn', 'tqdm') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_digits_are_complete_and_always_split_alike():
    digits, again = load("digits"), load("digits")
    assert (len(digits.train), len(digits.validation), len(digits.test)) == (1437, 0, 360)
    assert digits.image_shape == (8, 8, 1)
    assert digits.class_names == tuple("0123456789")
    assert not digits.flippable
    assert digits.train.images.max() == 255
    assert digits.train.images.min() == 0
    np.testing.assert_array_equal(digits.test.images, again.test.images)
    assert np.bincount(digits.test.labels).min() >= 20


def test_digits_are_those_of_scikit_learn():
    from sklearn.datasets import load_digits

    digits = load("digits")
    ours = np.concatenate([digits.train.images, digits.test.images])[..., 0]
    theirs = load_digits().images
    ours = np.rint(ours / 255 * 16).astype(np.uint8)
    theirs = theirs.astype(np.uint8)
    assert sorted(map(bytes, ours)) == sorted(map(bytes, theirs))


@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.5])
def test_validation_is_a_seeded_share_of_train(fraction):
    whole = numbered(200)
    split = split_validation(whole, fraction, seed=3)
    assert len(split.validation) == round(200 * fraction)
    pixels = np.concatenate([split.train.images, split.validation.images]).ravel()
    np.testing.assert_array_equal(np.sort(pixels), np.arange(200))
    for part in (split.train, split.validation):
        np.testing.assert_array_equal(part.labels, part.images.ravel() % 2)
    again = split_validation(whole, fraction, seed=3)
    np.testing.assert_array_equal(split.validation.images, again.validation.images)
    other = split_validation(whole, fraction, seed=4)
    assert not np.array_equal(split.validation.images, other.validation.images)


def test_no_validation_is_taken_for_zero_or_from_a_set_that_has_its_own():
    assert len(split_validation(numbered(20), 0.0, seed=0).validation) == 0
    own = numbered(20, validation=5)
    kept = split_validation(own, 0.5, seed=0)
    assert (len(kept.train), len(kept.validation)) == (20, 5)


@pytest.mark.parametrize("fraction", [-0.1, 1.0, float("nan"), 0.001, 0.999])
def test_a_fraction_that_leaves_a_split_empty_is_refused(fraction):
    with pytest.raises(UserError, match="--val-fraction"):
        split_validation(numbered(20), fraction, seed=0)


def test_unknown_names_and_unsuitable_options_are_refused(tmp_path):
    with pytest.raises(UserError, match=", ".join(DATASETS)):
        load("mnist")
    for options, flag in (
        ({"mirror": "http://localhost/"}, "--mirror"),
        ({"image_size": (8, 8)}, "--image-size"),
        ({"channels": 3}, "--channels"),
        ({"split_proportions": (1, 0, 0)}, "--split-proportions"),
    ):
        with pytest.raises(UserError, match=flag):
            load("digits", **options)
