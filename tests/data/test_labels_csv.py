"""A folder of images of all classes, with a table of their classes."""

import numpy as np
import pytest
from PIL import Image

from jax_resnet.data import load
from jax_resnet.errors import UserError

LABELS = {str(i): "cat" if i % 3 else "dog" for i in range(30)}


@pytest.fixture(params=["", "train"])
def place(tmp_path, request):
    """Where the images are: thirty gray ones, their value their id."""
    folder = tmp_path / request.param
    folder.mkdir(exist_ok=True)
    for name in LABELS:
        Image.new("L", (4, 4), int(name)).save(folder / f"{name}.png")
    write(tmp_path, LABELS.items())
    return folder


def write(root, rows, name="labels.csv", header="id,label"):
    lines = [header, *(",".join(row) for row in rows)]
    (root / name).write_text("\n".join(lines) + "\n")


def read(root, **options):
    return load("folder", root, **({"image_size": (4, 4), "channels": 1} | options))


def values(split, label):
    return split.images[split.labels == label][:, 0, 0, 0].tolist()


def test_the_images_of_each_class_are_divided(place, tmp_path):
    dataset = read(tmp_path)
    assert dataset.class_names == ("cat", "dog")
    assert dataset.counts == {"train": 24, "validation": 3, "test": 3}
    splits = (dataset.train, dataset.validation, dataset.test)
    for label, name in enumerate(dataset.class_names):
        found = sorted(value for split in splits for value in values(split, label))
        assert found == [int(key) for key, each in LABELS.items() if each == name]
    halves = read(tmp_path, split_proportions=(0.5, 0, 0.5))
    assert halves.counts == {"train": 15, "validation": 0, "test": 15}


def test_it_is_the_same_in_any_order_of_rows_and_as_class_folders(place, tmp_path):
    dataset = read(tmp_path)
    write(tmp_path, reversed(LABELS.items()))
    assert read(tmp_path).identity() == dataset.identity()
    for name, label in LABELS.items():
        folder = tmp_path / "folders" / label
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.png").write_bytes((place / f"{name}.png").read_bytes())
    same = read(tmp_path / "folders")
    assert same.identity() == dataset.identity()
    np.testing.assert_array_equal(same.test.images, dataset.test.images)


def test_kaggles_table_has_a_name_of_its_own(place, tmp_path):
    dataset = read(tmp_path)
    (tmp_path / "labels.csv").rename(tmp_path / "trainLabels.csv")
    assert read(tmp_path).identity() == dataset.identity()
    write(tmp_path, LABELS.items())
    with pytest.raises(UserError, match=r"has labels\.csv and trainLabels\.csv, expected one"):
        read(tmp_path)


def test_tables_of_other_programs_are_read(place, tmp_path):
    dataset = read(tmp_path)
    lines = ["\ufeffid,label", *(f'"{key}", {label} ' for key, label in LABELS.items()), "", ""]
    (tmp_path / "labels.csv").write_bytes("\r\n".join(lines).encode())
    assert read(tmp_path).identity() == dataset.identity()


@pytest.mark.parametrize("place", ["train"], indirect=True)
def test_what_is_beside_train_is_not_read_as_stderr_says(place, tmp_path, capsys):
    read(tmp_path)
    assert capsys.readouterr().err == ""
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "1.png").write_bytes(b"x")
    (tmp_path / "sampleSubmission.csv").touch()
    assert sum(read(tmp_path).counts.values()) == 30
    line = f"{tmp_path}: not read, because labels.csv is of train: sampleSubmission.csv, test\n"
    assert capsys.readouterr().err == line


def test_images_and_rows_must_agree(place, tmp_path):
    rows = list(LABELS.items())
    write(tmp_path, rows[:-5])
    with pytest.raises(UserError, match=r"no row for 25\.png, 26\.png, 27\.png and 2 more in"):
        read(tmp_path)
    write(tmp_path, [*rows, ("30", "cat"), ("../29", "cat")])
    with pytest.raises(UserError, match=r"has no 30\.png, \.\./29\.png, expected an image for"):
        read(tmp_path)
    write(tmp_path, [*rows, ("7", "dog")])
    with pytest.raises(UserError, match=r"labels\.csv, line 32, has the id 7 again"):
        read(tmp_path)
    write(tmp_path, rows)
    (place / "cat").mkdir()
    with pytest.raises(UserError, match=r"no row for cat in"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "begins with None, expected id, label"),
        ("0,cat\n1,dog\n", "begins with 0, cat, expected id, label"),
        ("id;label\n0;cat\n", "begins with id;label, expected id, label"),
        ("id,label\n0,cat,dog\n", "line 2, is 0, cat, dog, expected an id and its label"),
        ("id,label\n0,cat\n1,\n", "line 3, is 1, , expected an id and its label"),
        ('id,label\n0,"cat', "line 2, can't be read: "),
        ("id,label\n" + "".join(f"{i},cat\n" for i in range(30)), "has 1 classes, expected 2"),
        ("id,label\n0,caf\xe9\n", "is damaged: 'utf-8' codec"),
    ],
)
def test_another_table_is_refused(place, tmp_path, text, message):
    (tmp_path / "labels.csv").write_bytes(text.encode("latin1"))
    with pytest.raises(UserError, match=f"labels.csv.* ?{message}") as caught:
        read(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_label_with_control_characters_is_refused(place, tmp_path):
    write(tmp_path, (LABELS | {"0": "\x1b[31mred"}).items())
    with pytest.raises(UserError, match=r"labels\.csv, line 2: the label .* control characters"):
        read(tmp_path, split_proportions=(1, 0, 0))
