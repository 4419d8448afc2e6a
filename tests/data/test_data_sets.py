"""`load`, `split_validation` and the digits."""

import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from jax_resnet.data import Dataset, DatasetName, Split, load, split_validation, statistics
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
        "heavy = ('tensorflow_datasets', 'PIL', 'pyarrow', 'sklearn', 'tqdm'); "
        "print([m for m in heavy if m in sys.modules])"
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
    assert digits.identity()["sequence"] == "5f7821224ec6115a9d84d06f3876bcd1"
    validated = split_validation(digits, 0.2, seed=0).identity()["sequence"]
    assert validated == "ce4692219a9b5d54265db875d9cf319a", "other validation images are drawn"
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
    with pytest.raises(UserError, match="`val_fraction` is"):
        split_validation(numbered(20), fraction, seed=0)


@pytest.mark.parametrize("seed", [-1, 0.5, None])
def test_a_seed_that_draws_nothing_is_refused(seed):
    with pytest.raises(UserError, match=f"`seed` is {seed}"):
        split_validation(numbered(20), 0.2, seed=seed)


def test_unknown_names_and_unsuitable_options_are_refused(tmp_path):
    names = get_args(get_args(DatasetName)[0])
    with pytest.raises(UserError, match=f"`dataset` is mnist, expected one of {', '.join(names)}"):
        load("mnist")
    of_a_folder = {"image_size": (8, 8), "channels": 3, "split_proportions": (1, 0, 0)}
    for name in ("cifar10", "cifar100", "digits", "folder"):
        options = {"mirror": "http://localhost/"} if name in ("digits", "folder") else {}
        options |= {} if name == "folder" else of_a_folder
        for option, value in options.items():
            with pytest.raises(UserError, match=f"`{option}` is .* with `dataset` {name}"):
                load(name, tmp_path, **{option: value})


@pytest.mark.parametrize("place", ["gs://bucket/tfds", "~nobody-of-this-name/tfds"])
def test_a_place_of_data_sets_that_is_no_folder_is_refused(tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TFDS_DATA_DIR", place)
    with pytest.raises(UserError, match=rf"\$TFDS_DATA_DIR is '{place}', expected a folder"):
        load("cifar10")
    assert not list(tmp_path.iterdir())


def test_a_home_directory_that_does_not_exist_is_named():
    for name, options in (("cifar10", {}), ("folder", {"image_size": (8, 8), "channels": 3})):
        with pytest.raises(UserError, match="`data_dir` is '~nobody-of-this-name/a', expected"):
            load(name, "~nobody-of-this-name/a", **options)


def test_images_and_labels_of_another_kind_are_refused():
    images, labels = np.zeros((2, 4, 4, 3), np.uint8), np.zeros(2, np.int32)
    with pytest.raises(UserError, match="`images` has type float64"):
        Split(images / 255, labels)
    with pytest.raises(UserError, match=r"`labels` has .* shape \(1,\)"):
        Split(images, labels[:1])
    split = Split(images, labels + 2)
    with pytest.raises(UserError, match="`train` has labels from 2 to 2, expected from 0 to 1"):
        Dataset("mine", split, split, split, ("a", "b"), flippable=True)
    with pytest.raises(UserError, match="`class_names` has a name twice: a b a"):
        Dataset("mine", split, split, split, ("a", "b", "a"), flippable=True)
    with pytest.raises(UserError, match="`class_names` is 'abc', expected a sequence of names"):
        Dataset("mine", split, split, split, "abc", flippable=True)
    for name in (None, "", Path("mine")):
        with pytest.raises(UserError, match=r"`name` is .*, expected text"):
            Dataset(name, split, split, split, ("a", "b", "c"), flippable=True)


@pytest.mark.parametrize("names", [["a", "b"], np.array(["a", "b"])])
def test_names_of_classes_become_a_tuple_of_text(names):
    split = Split(np.zeros((2, 4, 4, 3), np.uint8), np.zeros(2, np.int32))
    given = Dataset("mine", split, split, split, names, flippable=True).class_names
    assert given == ("a", "b")
    assert {*map(type, given)} == {str}


@pytest.mark.parametrize(
    ("option", "value"), [("split_proportions", "0.8 0.1 0.1"), ("channels", True)]
)
def test_options_of_another_type_are_refused(option, value, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "image.png").write_bytes(b"")
    options = {"image_size": (8, 8), "channels": 3, option: value}
    with pytest.raises(UserError, match=f"`{option}` is {value}, expected"):
        load("folder", tmp_path, **options)


@pytest.mark.parametrize("shape", [(2, 4, 4, 1), (2, 5, 4, 3)])
def test_images_of_another_shape_than_those_of_training_are_refused(shape):
    train, test = (
        Split(np.zeros(each, np.uint8), np.zeros(2, np.int32)) for each in ((2, 4, 4, 3), shape)
    )
    with pytest.raises(UserError, match=r"`test` has images of .*, expected \(4, 4, 3\) as in"):
        Dataset("mine", train, train, test, ("a", "b"), flippable=True)


def test_statistics_by_something_else_are_refused():
    with pytest.raises(
        UserError, match="`normalization` is 'image', expected one of 'channel', 'pi"
    ):
        statistics(np.zeros((2, 4, 4, 3), np.uint8), "image")


def test_statistics_are_by_channel_or_the_mean_by_pixel():
    images = np.random.default_rng(0).integers(0, 256, (9, 4, 5, 3), dtype=np.uint8)
    mean, std = statistics(images, "channel")
    np.testing.assert_allclose(mean, images.mean((0, 1, 2)) / 255)
    np.testing.assert_allclose(std, images.std((0, 1, 2)) / 255)
    mean, std = statistics(images, "pixel")
    np.testing.assert_allclose(mean, images.mean(0) / 255)
    assert std.tolist() == [1, 1, 1]


@pytest.mark.parametrize("value", [0, 11, 21, 255])
def test_images_of_one_value_can_be_divided_by_their_deviation(value):
    """Their variance can come out below 0: then its root would be NaN, and so all activations."""
    images = np.full((7, 5, 5, 3), value, np.uint8)
    mean, std = statistics(images, "channel")
    np.testing.assert_allclose(mean, value / 255)
    np.testing.assert_allclose(std, 1e-3)
