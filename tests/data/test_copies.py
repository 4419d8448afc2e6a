"""Images of a folder that are in two splits, or of two classes."""

from folders import fill, folder_config
from PIL import Image

from jax_resnet.data import load
from jax_resnet.training.begin import load_aloud


def test_copies_of_training_images_are_counted(tmp_path, capsys):
    fill(tmp_path / "train", {"a": 3, "b": 2})
    (tmp_path / "val").symlink_to("train")
    for name, value in (("a", 1), ("a", 100), ("b", 2)):  # the last is one of the other class
        (tmp_path / "test" / name).mkdir(parents=True, exist_ok=True)
        Image.new("L", (9, 9), value).save(tmp_path / "test" / name / f"{value}.png")
    load("folder", tmp_path, image_size=(4, 4), channels=1)
    stderr = capsys.readouterr().err
    assert "5 of the 5 validation images are equal to training images" in stderr
    assert "1 of the 3 test images are equal to training images" in stderr


def test_copies_of_validation_images_are_counted(tmp_path, capsys):
    """The best state is chosen on them."""
    fill(tmp_path / "train", {"a": 3, "b": 2})
    for name, value in (("a", 100), ("b", 101)):
        (tmp_path / "val" / name).mkdir(parents=True)
        Image.new("L", (9, 9), value).save(tmp_path / "val" / name / "0.png")
    (tmp_path / "test").symlink_to("val")
    load("folder", tmp_path, image_size=(4, 4), channels=1)
    stderr = capsys.readouterr().err
    assert stderr.count("equal") == 1
    assert "2 of the 2 test images are equal to validation images" in stderr


def test_copies_within_training_are_counted_where_validation_is_taken_from_it(tmp_path, capsys):
    for split, count in (("train", 10), ("test", 2)):
        for name in "ab":
            (tmp_path / split / name).mkdir(parents=True)
            for i in range(count):  # each training image is there ten times
                value = {"train": 50, "test": 100 + i}[split] + (name == "b")
                Image.new("L", (9, 9), value).save(tmp_path / split / name / f"{i}.png")
    load_aloud(folder_config(tmp_path, seed=3, seeds=2))
    stderr = capsys.readouterr().err
    assert "seed 3: 4 of the 4 validation images are equal to training images" in stderr
    assert stderr.count("equal") == 1


def test_other_images_are_not_called_copies(tmp_path, capsys):
    fill(tmp_path, {"a": 20, "b": 20}, step=100)
    load("folder", tmp_path, image_size=(4, 4), channels=1)
    assert capsys.readouterr().err == ""


def test_images_of_two_classes_are_counted(tmp_path, capsys):
    fill(tmp_path / "train", {"a": 5, "b": 5}, step=100)
    fill(tmp_path / "test", {"b": 5, "a": 5}, step=100)  # so each image has the other's pixels
    load("folder", tmp_path, image_size=(4, 4), channels=1)
    said = capsys.readouterr().err
    assert "10 of the 10 test images are also training images of another class" in said
    assert "same class" not in said
