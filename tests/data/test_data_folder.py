"""A folder of images as a data set."""

import dataclasses
import os
import shutil

import numpy as np
import pytest
from folders import fill, folder_config

from jax_resnet.data import load
from jax_resnet.errors import UserError
from jax_resnet.training.begin import check_folder, load_aloud
from jax_resnet.training.recipes import RECIPES
from jax_resnet.training.train import train

NO_CLASSES = (
    "__MACOSX",
    "lost+found",
    "@eaDir",
    "#recycle",
    "$RECYCLE.BIN",
    "System Volume Information",
    ".ipynb_checkpoints",
)


def values(split, label):
    return split.images[split.labels == label][:, 0, 0, 0].tolist()


def test_train_val_and_test_folders(tmp_path):
    for split, count in (("train", 5), ("val", 2), ("test", 3)):
        fill(tmp_path / split, {"dog": count, "cat": count + 1})
    dataset = load("folder", tmp_path, image_size=(6, 9), channels=3)
    assert dataset.class_names == ("cat", "dog")
    assert dataset.image_shape == (6, 9, 3)
    assert dataset.flippable
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (11, 5, 7)
    assert values(dataset.test, 0) == [0, 1, 2, 3]
    assert values(dataset.test, 1) == [0, 1, 2]


def test_without_a_val_folder_validation_is_empty(tmp_path):
    for split in ("train", "test"):
        fill(tmp_path / split, {"a": 2, "b": 2})
    assert len(load("folder", tmp_path, image_size=(4, 4), channels=1).validation) == 0


def test_a_share_of_0_for_validation_says_what_is_taken_instead(tmp_path, capsys):
    fill(tmp_path, {"a": 20, "b": 20})
    proportions = {"split_proportions": (0.9, 0.0, 0.1)}
    load_aloud(folder_config(tmp_path, **proportions))
    assert "a share of 0.2 of those of training is taken" in capsys.readouterr().err
    load_aloud(folder_config(tmp_path, **proportions, val_fraction=0.0))
    assert "taken" not in capsys.readouterr().err


@pytest.mark.parametrize(("recipe", "fraction"), [("article", 0.1), ("paper", 0.0)])
def test_a_fraction_without_effect_is_said(tmp_path, capsys, recipe, fraction):
    fill(tmp_path, {"a": 20, "b": 20})
    config = folder_config(tmp_path, recipe=recipe, val_fraction=fraction)
    load_aloud(config)
    said = capsys.readouterr().err
    assert f"--val-fraction {fraction} has no effect: there are 4 validation images" in said
    load_aloud(dataclasses.replace(config, val_fraction=RECIPES[recipe].val_fraction))
    assert "no effect" not in capsys.readouterr().err


def test_classes_too_small_for_a_split_are_named(tmp_path, capsys):
    fill(tmp_path, {"x": 40, "y": 2, "z": 1})
    dataset = load("folder", tmp_path, image_size=(4, 4), channels=1)
    assert {*dataset.test.labels} == {0}
    said = capsys.readouterr().err
    assert "too few images of y, z for test at `split_proportions` 0.8 0.1 0.1" in said


@pytest.mark.parametrize("names", [("Train", "Test"), ("Training", "Validation"), ("testing",)])
def test_folders_that_look_like_splits_are_no_classes(tmp_path, names):
    for name in names:
        fill(tmp_path / name, {"a": 5, "b": 5})
    with pytest.raises(UserError, match=f"has .*{names[0]}.*, expected train, and test or val"):
        load("folder", tmp_path, image_size=(4, 4), channels=1)


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_validation_has_three_names(tmp_path, name):
    for split, count in (("train", 3), (name, 2), ("test", 1)):
        fill(tmp_path / split, {"a": count, "b": count})
    dataset = load("folder", tmp_path, image_size=(4, 4), channels=1)
    assert dataset.counts == {"train": 6, "validation": 4, "test": 2}


@pytest.mark.parametrize("name", ["val", "validation"])
def test_without_a_test_folder_test_is_empty(tmp_path, name):
    for split, count in (("train", 3), (name, 2)):
        fill(tmp_path / split, {"a": count, "b": count})
    dataset = load("folder", tmp_path, image_size=(4, 4), channels=1)
    assert dataset.counts == {"train": 6, "validation": 4, "test": 0}


def test_two_folders_of_validation_are_refused(tmp_path):
    for split in ("train", "valid", "validation", "test"):
        fill(tmp_path / split, {"a": 2, "b": 2})
    with pytest.raises(UserError, match="valid and validation: expected one folder of validation"):
        load("folder", tmp_path, image_size=(4, 4), channels=1)


def test_a_split_of_another_name_is_refused(tmp_path):
    for split in ("train", "dev", "test"):
        fill(tmp_path / split, {"a": 2, "b": 2})
    (tmp_path / ".cache").mkdir()
    with pytest.raises(UserError, match=r"has dev beside .*: expected train, test and one of val"):
        load("folder", tmp_path, image_size=(4, 4), channels=1)
    (tmp_path / "dev").rename(tmp_path / "val")
    assert len(load("folder", tmp_path, image_size=(4, 4), channels=1).validation) == 4


def test_each_class_is_divided_in_proportion_and_always_alike(tmp_path):
    fill(tmp_path, {"a": 40, "b": 20})
    options = {"image_size": (4, 4), "channels": 1, "split_proportions": (0.5, 0.25, 0.25)}
    dataset = load("folder", tmp_path, **options)
    for split, counts in (("train", [20, 10]), ("validation", [10, 5]), ("test", [10, 5])):
        assert np.bincount(getattr(dataset, split).labels).tolist() == counts
    splits = (dataset.train, dataset.validation, dataset.test)
    for label, count in ((0, 40), (1, 20)):
        assert sorted(v for split in splits for v in values(split, label)) == list(range(count))
    assert values(dataset.train, 0) != list(range(20))
    copy = tmp_path.parent / "copy"
    shutil.copytree(tmp_path, copy)
    np.testing.assert_array_equal(load("folder", copy, **options).test.images, dataset.test.images)


def test_litter_is_passed_over_and_stray_files_are_named(tmp_path, capsys):
    fill(tmp_path, {"a": 10, "b": 10}, step=100)
    for name in ("a/.DS_Store", "a/Thumbs.db", "labels.txt", ".cache"):
        (tmp_path / name).write_bytes(b"x")
    for name in (*NO_CLASSES, "a/@eaDir", "b/__MACOSX"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.png").write_bytes(b"x")
    dataset = load("folder", tmp_path, image_size=(4, 4), channels=1)
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (16, 2, 2)
    assert dataset.class_names == ("a", "b")
    said = capsys.readouterr().err
    assert said == f"{tmp_path}: not read, because folders are its classes: labels.txt\n"


def test_litter_beside_the_splits_and_their_classes_is_passed_over(tmp_path):
    for split in ("train", "test"):
        fill(tmp_path / split, {"a": 2, "b": 2})
    for name in (*NO_CLASSES, *(f"train/{name}" for name in NO_CLASSES)):
        (tmp_path / name).mkdir()
    dataset = load("folder", tmp_path, image_size=(4, 4), channels=1)
    assert dataset.class_names == ("a", "b")


@pytest.mark.parametrize("name", ["\x1b[31mred", "two\nlines", os.fsdecode(b"\xff")])
def test_a_class_whose_name_is_no_text_is_refused(tmp_path, name):
    fill(tmp_path, {"a": 10, name: 10})
    with pytest.raises(UserError, match=r": the name .*(UTF-8|control characters), rename"):
        load("folder", tmp_path, image_size=(4, 4), channels=1)


def test_all_bad_files_are_listed_at_once(tmp_path):
    fill(tmp_path, {"a": 10, "b": 10})
    (tmp_path / "a/notes.txt").write_text("no image")
    (tmp_path / "b/empty.png").touch()
    (tmp_path / "b/deeper").mkdir()
    with pytest.raises(
        UserError, match=r"(?s)3 files.*notes\.txt.*b/deeper.*b/empty\.png"
    ) as caught:
        load("folder", tmp_path, image_size=(4, 4), channels=1)
    assert "000.png" not in str(caught.value)


def test_classes_must_agree(tmp_path):
    fill(tmp_path / "train", {"a": 2, "b": 2})
    fill(tmp_path / "test", {"a": 2, "c": 2})
    with pytest.raises(UserError, match="train and test differ in b, c"):
        load("folder", tmp_path, image_size=(4, 4), channels=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": None}, "`image_size`"),
        ({"image_size": (0, 4)}, "`image_size`"),
        ({"image_size": (4, 2**40)}, "`image_size`"),
        ({"channels": None}, "`channels`"),
        ({"channels": 4}, "`channels` is 4"),
        ({"channels": 3.0}, "`channels` is 3.0"),
        ({"split_proportions": ()}, "`split_proportions` is "),
        ({"split_proportions": np.array([0.5, 0.5])}, "`split_proportions` is "),
        ({"split_proportions": (0.8, 0.1)}, "`split_proportions` is 0.8 0.1, expected"),
        ({"split_proportions": (0.8, 0.1, 0.2)}, "sum to 1"),
        ({"split_proportions": (1.2, -0.1, -0.1)}, "at least 0"),
        ({"split_proportions": (float("nan"), 0.5, 0.5)}, "sum to 1"),
        ({"split_proportions": (0.01, 0.49, 0.5)}, "leaves none .* for training"),
        ({"split_proportions": (0.98, 0.01, 0.01)}, "leaves none .* for val"),
        ({"mirror": "http://localhost/"}, "`mirror`"),
    ],
)
def test_unsuitable_options_are_refused(tmp_path, options, message):
    fill(tmp_path, {"a": 4, "b": 4})
    with pytest.raises(UserError, match=message):
        load("folder", tmp_path, **({"image_size": (4, 4), "channels": 1} | options))


def test_folders_laid_out_otherwise_are_refused(tmp_path):
    def refused(folder, message, **options):
        with pytest.raises(UserError, match=message):
            load("folder", folder, image_size=(4, 4), channels=1, **options)

    refused(None, "`data_dir`")
    refused(tmp_path / "missing", "missing")
    fill(tmp_path / "one", {"a": 2})
    refused(tmp_path / "one", "has 1 subfolders")
    fill(tmp_path / "empty", {"a": 2, "b": 0})
    refused(tmp_path / "empty", "no images in b")
    fill(tmp_path / "untested" / "train", {"a": 2, "b": 2})
    refused(tmp_path / "untested", "no folder test")
    fill(tmp_path / "split" / "train", {"a": 2, "b": 2})
    fill(tmp_path / "split" / "test", {"a": 2, "b": 2})
    refused(tmp_path / "split", "already split", split_proportions=(0.8, 0.1, 0.1))


@pytest.mark.parametrize("name", ["cat", "train", "val", "labels.csv"])
def test_a_link_to_nothing_is_no_class_that_is_absent(tmp_path, name):
    """As where the disk of a class is not mounted: the net would have fewer classes."""
    folders = ("train", "test") if name in ("train", "val") else ("",)
    for folder in folders:
        if folder != name:
            fill(tmp_path / folder, {"a": 20, "b": 20})
    (tmp_path / name).symlink_to(tmp_path / "gone" / name)
    with pytest.raises(UserError, match=f"{tmp_path / name} is a link to nothing"):
        load("folder", tmp_path, image_size=(4, 4), channels=1)


@pytest.mark.parametrize("place", ["", "runs", "a/runs", "../link/runs"])
def test_a_run_among_its_images_is_refused(tmp_path, place):
    """Its folder would be a class when the run is resumed."""
    fill(tmp_path / "images", {"a": 20, "b": 20})
    (tmp_path / "link").symlink_to(tmp_path / "images")
    config = folder_config(tmp_path / "images", runs_dir=tmp_path / "images" / place)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(
        UserError, match=r"`runs_dir` is .* would lie among the images of .*/images: "
    ):
        check_folder(config)
    with pytest.raises(UserError, match="`runs_dir` is "):
        train(config, load_aloud(config))
    assert sorted(tmp_path.rglob("*")) == before


def test_a_run_beside_images_that_are_in_train_is_none_of_them(tmp_path):
    fill(tmp_path / "train", {"a": 2})
    (tmp_path / "labels.csv").write_text("id,label\n")
    for place in (
        "runs",
        "train/.runs",
        "train/a/.runs",
        "train/@tmp",
        "../runs",
        "train/a/b/../../../runs",
    ):
        check_folder(folder_config(tmp_path, runs_dir=tmp_path / place))
    with pytest.raises(UserError, match="`runs_dir` is "):
        check_folder(folder_config(tmp_path, runs_dir=tmp_path / "train" / "runs"))
