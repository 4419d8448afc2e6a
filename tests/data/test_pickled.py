"""CIFAR's Python version, and pickles that are none of it."""

import dataclasses
import hashlib
import io
import os
import pickle
import shutil
import struct
import tarfile
from typing import ClassVar

import numpy as np
import pytest

from jax_resnet.data import load
from jax_resnet.data.cifar import LAYOUTS
from jax_resnet.data.cifar.find import read_original
from jax_resnet.errors import UserError


class Python2Pickler(pickle._Pickler):
    """Writes bytes as Python 2 wrote its `str`."""

    dispatch: ClassVar[dict] = dict(pickle._Pickler.dispatch)

    def save_bytes(self, value):
        self.write(pickle.BINSTRING + struct.pack("<i", len(value)) + value)
        self.memoize(value)

    dispatch[bytes] = save_bytes


def python2(value):
    file = io.BytesIO()
    Python2Pickler(file, protocol=2).dump(value)
    return file.getvalue().replace(b"cnumpy._core.", b"cnumpy.core.")


def python3(value):
    return pickle.dumps(value, protocol=4)


def write_python(small_cifar100, dump):
    """The Python version of the small CIFAR-100, beside its binary version."""
    original = read_original(LAYOUTS["cifar100"], small_cifar100)
    folder = small_cifar100.parent / "python" / "cifar-100-python"
    folder.mkdir(parents=True)
    for split, labels in original.labels.items():
        images = original.splits[split].images.transpose(0, 3, 1, 2).reshape(len(labels), -1)
        batch = {
            b"batch_label": b"batch 1 of 1",
            b"coarse_labels": labels[:, 0].tolist(),
            b"fine_labels": labels[:, 1].tolist(),
            b"data": images,
            b"filenames": [b"a.png"] * len(labels),
        }
        (folder / split).write_bytes(dump(batch))
    return folder


@pytest.mark.parametrize("dump", [python2, python3])
def test_the_python_version_gives_what_the_binary_version_gives(small_cifar100, dump):
    folder = write_python(small_cifar100, dump)
    original = load("cifar100", small_cifar100)
    for place in (folder, folder.parent):
        assert load("cifar100", place).identity() == original.identity()


@pytest.mark.parametrize("place", ["", "cifar-100-python-target"])
def test_it_is_found_where_keras_unpacks_it(server, small_cifar100, tmp_path, place):
    original = load("cifar100", small_cifar100)
    keras = tmp_path / "keras" / "datasets"
    shutil.copytree(write_python(small_cifar100, python2).parent, keras / place)
    for given in {keras, keras / place, keras / place / "cifar-100-python"}:
        assert load("cifar100", given).identity() == original.identity()
    assert server.asked == []


@pytest.mark.parametrize("name", ["cifar-100-python.tar.gz", "cifar-100-python-target_archive"])
def test_keras_archive_is_found_and_has_to_be_the_authors(
    server, small_cifar100, tmp_path, monkeypatch, name
):
    original = load("cifar100", small_cifar100)
    path = tmp_path / "keras" / name
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as archive:
        archive.add(write_python(small_cifar100, python2), "cifar-100-python")
    message = f"{path} is truncated or altered, or not the original .*cifar-100-python.tar.gz"
    for given in (path, path.parent):
        with pytest.raises(UserError, match=message):
            load("cifar100", given)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    layout = dataclasses.replace(LAYOUTS["cifar100"], pickled_sha256=sha256)
    monkeypatch.setitem(LAYOUTS, "cifar100", layout)
    for given in (path, path.parent):
        assert load("cifar100", given).identity() == original.identity()
    assert server.asked == []


@pytest.mark.long
@pytest.mark.parametrize(
    "name",
    [
        "cifar-10-python.tar.gz",
        pytest.param("cifar-10-batches-py.tar.gz", marks=pytest.mark.slow),
        pytest.param("cifar-10-batches-py-target_archive", marks=pytest.mark.slow),
    ],
)
def test_an_archive_of_cifar10_is_read(tmp_path, name):
    """Up to the fingerprint, which these images do not have; two of the names are Keras'."""
    labels = np.arange(10_000) % 10
    batch = python2({b"labels": labels.tolist(), b"data": np.zeros((10_000, 3072), np.uint8)})
    path = tmp_path / name
    files = dict.fromkeys([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"], batch)
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    original = read_original(LAYOUTS["cifar10"], path)
    assert len(original.splits["train"]) == 50_000
    assert original.splits["test"].labels.tolist() == labels.tolist()
    for place in (path, tmp_path):
        with pytest.raises(UserError, match=f"{path} is truncated or altered: its train images"):
            load("cifar10", place)


class Call:
    """What a pickle would have called."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.fixture
def refused(small_cifar100):
    """Asserts that other contents of `train` are refused, with a message."""
    folder = write_python(small_cifar100, python3)

    def check(content, message):
        (folder / "train").write_bytes(content)
        with pytest.raises(UserError, match=f"{folder} is truncated or altered: .*{message}"):
            load("cifar100", folder)

    return check


def test_nothing_but_arrays_and_plain_values_is_admitted(refused, tmp_path):
    marker = tmp_path / "marker"
    for protocol in (0, 2, 4):
        for call in (Call(os.mkdir, str(marker)), Call(eval, "1"), Call(np.load, "x")):
            refused(pickle.dumps({b"data": call}, protocol=protocol), "it asks for")
    refused(pickle.dumps({b"data": np.float64(1)}), "it asks for numpy")
    refused(pickle.dumps(np.random.default_rng), "it asks for numpy.random")
    assert not marker.exists()


def test_other_values_are_refused(refused):
    labels = [i % 100 for i in range(200)]
    good = {b"fine_labels": labels, b"coarse_labels": labels}
    images = np.zeros((200, 3072), np.uint8)
    refused(python3(good), "data")
    refused(python3(good | {b"data": b"text"}), "")
    refused(python3(good | {b"data": images[:100]}), "have 100 images")
    refused(python3(good | {b"data": images.astype(np.float32)}), "array of f4, expected u1")
    refused(python3(good | {b"data": np.array([{}, {}], object)}), "array of O8, expected u1")
    refused(python3(good | {b"data": images, b"fine_labels": [-1] * 200}), "out of bounds")
    refused(python3(good | {b"data": images})[:-5000], "")
    refused(python3([good]), "holds a list")


def test_a_pickle_cannot_ask_for_a_table_of_any_length(refused):
    refused(b"\x80\x02}r\xff\xff\xff\x7f.", "refers to object 2147483647")


def test_a_folder_without_all_files_is_refused(tmp_path):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for place in (tmp_path, folder):
        with pytest.raises(UserError, match=r"not cifar-10-python\.tar\.gz: it lacks data_batch_1"):
            load("cifar10", place)
