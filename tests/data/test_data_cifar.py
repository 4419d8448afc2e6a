"""CIFAR from every place it may lie in, genuine and not."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support import SHARED

from jax_resnet.data import Dataset, load, statistics
from jax_resnet.data.cifar import LAYOUTS
from jax_resnet.data.cifar.names import CIFAR10_CLASSES
from jax_resnet.errors import UserError

PREPARED = SHARED / "tensorflow_datasets"
needs_cifar10 = pytest.mark.skipif(
    not (PREPARED / "cifar10").is_dir(), reason=f"no genuine CIFAR-10 in {PREPARED}"
)


@pytest.fixture(scope="module")
def genuine() -> Dataset:
    return load("cifar10", PREPARED)


def write_original(dataset: Dataset, folder: Path) -> Path:
    """Writes a CIFAR-10 `Dataset` as the authors do."""
    folder = folder / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    for split, names in LAYOUTS["cifar10"].files.items():
        images, labels = getattr(dataset, split).images, getattr(dataset, split).labels
        pixels = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
        records = np.concatenate([labels[:, None].astype(np.uint8), pixels], axis=1)
        for name, part in zip(names, np.split(records, len(names)), strict=True):
            part.tofile(folder / name)
    return folder


@pytest.fixture(scope="module")
def binary(genuine, tmp_path_factory) -> Path:
    return write_original(genuine, tmp_path_factory.mktemp("binary"))


@pytest.mark.long
@needs_cifar10
def test_prepared_cifar10_is_whole(genuine):
    assert (len(genuine.train), len(genuine.validation), len(genuine.test)) == (50_000, 0, 10_000)
    assert genuine.class_names == CIFAR10_CLASSES
    assert genuine.flippable
    mean, std = statistics(genuine.train.images, "channel")  # as published in many places
    np.testing.assert_allclose(mean, (0.49139968, 0.48215841, 0.44653091), atol=1e-7)
    np.testing.assert_allclose(std, (0.24703223, 0.24348513, 0.26158784), atol=1e-7)


@needs_cifar10
def test_prepared_cifar10_is_what_tfds_reads(genuine):
    import tensorflow_datasets as tfds

    source = tfds.data_source("cifar10", split="test", data_dir=PREPARED)
    test = genuine.test
    ours = {bytes(image): label for image, label in zip(test.images, test.labels, strict=True)}
    for index in range(0, 10_000, 100):
        assert ours[bytes(source[index]["image"])] == source[index]["label"]


@needs_cifar10
def test_loading_is_quick_and_without_tensorflow():
    code = (
        "import sys, time; from jax_resnet.data import load; load('cifar10', sys.argv[1]); "
        "print('tensorflow' in sys.modules, time.process_time() < 20)"
    )
    command = [sys.executable, "-c", code, str(PREPARED)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


@pytest.mark.long
@needs_cifar10
def test_the_original_gives_the_same_images_in_the_same_order(genuine, binary):
    dataset = load("cifar10", binary.parent)
    for split in ("train", "test"):
        ours, theirs = getattr(dataset, split), getattr(genuine, split)
        np.testing.assert_array_equal(ours.images, theirs.images)
        np.testing.assert_array_equal(ours.labels, theirs.labels)


@needs_cifar10
def test_altered_images_and_labels_are_refused(binary, tmp_path):
    folder = shutil.copytree(binary, tmp_path / binary.name)
    path = folder / "data_batch_4.bin"
    whole = path.read_bytes()
    path.write_bytes(whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:])
    with pytest.raises(UserError, match=f"{folder} is .*altered: its train images and labels"):
        load("cifar10", folder)
    path.write_bytes(whole)
    path = folder / "test_batch.bin"
    records = np.fromfile(path, np.uint8).reshape(10_000, -1)
    other = int(np.argmax(records[:, 0] != records[0, 0]))
    records[[0, other], 0] = records[[other, 0], 0]  # the classes stay as large as they were
    records.tofile(path)
    with pytest.raises(UserError, match=f"{folder} is .*altered: its test images and labels"):
        load("cifar10", folder)


@needs_cifar10
def test_broken_prepared_copies_are_refused(tmp_path):
    place = tmp_path / "cifar10" / "3.0.2"
    shutil.copytree(PREPARED / "cifar10" / "3.0.2", place, copy_function=shutil.copyfile)
    place.chmod(0o755)
    train = place / "cifar10-train.array_record-00000-of-00001"
    whole = train.read_bytes()
    train.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=f"{place} is truncated or altered"):
        load("cifar10", tmp_path)
    middle = len(whole) // 2
    train.write_bytes(whole[:middle] + bytes(64) + whole[middle + 64 :])
    with pytest.raises(UserError, match=f"{place} is truncated or altered"):
        load("cifar10", tmp_path)
    train.unlink()
    with pytest.raises(UserError, match=f"{place} is truncated or altered"):
        load("cifar10", tmp_path)


def prepared_folder(root: Path, files: dict[str, str]) -> Path:
    folder = root / "cifar10" / "3.0.2"
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def test_what_to_do_with_a_tfrecord_copy_is_said(tmp_path):
    info = json.dumps({"name": "cifar10", "version": "3.0.2", "fileFormat": "tfrecord"})
    names = ["cifar10-train.tfrecord-00000-of-00001", "cifar10-test.tfrecord-00000-of-00001"]
    prepared_folder(tmp_path, {"dataset_info.json": info} | dict.fromkeys(names, ""))
    with pytest.raises(UserError, match=r"tfrecord.*`data_dir`.*array_record"):
        load("cifar10", tmp_path)


def test_an_unfinished_preparation_is_refused(tmp_path):
    folder = prepared_folder(tmp_path, {"features.json": "{}"})
    with pytest.raises(UserError, match=f"{folder} has no array_record files"):
        load("cifar10", tmp_path)


def test_an_incomplete_folder_is_named(tmp_path):
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    (folder / "data_batch_1.bin").write_bytes(bytes(30_730_000))
    with pytest.raises(UserError, match=r"lacks data_batch_2\.bin, data_batch_3\.bin, "):
        load("cifar10", tmp_path)


def test_cifar100_takes_fine_labels_and_checks_counts(tmp_path):
    folder = tmp_path / "cifar-100-binary"
    folder.mkdir()
    (folder / "fine_label_names.txt").write_text("other\nnames\n")  # the names are known
    for file, count in (("train.bin", 50_000), ("test.bin", 10_000)):
        records = np.zeros((count, 3074), np.uint8)
        records[:, 1] = np.arange(count) % 100
        records[:, 0] = records[:, 1] // 5
        records[:, 2] = records[:, 1]
        records.tofile(folder / file)
    dataset = load("cifar100", tmp_path)
    assert dataset.num_classes == 100
    assert dataset.class_names[:2] == ("apple", "aquarium_fish")
    np.testing.assert_array_equal(dataset.test.images[:, 0, 0, 0], dataset.test.labels)
    records[0, 1] = 1
    records.tofile(folder / "test.bin")
    with pytest.raises(UserError, match=r"altered: its test images .* 100 of each class"):
        load("cifar100", folder)
    records[:-1].tofile(folder / "test.bin")
    with pytest.raises(UserError, match=r"truncated .* test\.bin should have 30740000 bytes"):
        load("cifar100", folder)


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_checksum_is_the_one_that_tfds_registered(tmp_path, name):
    import tensorflow_datasets as tfds

    layout = LAYOUTS[name]
    registered = tfds.builder(name, data_dir=tmp_path).url_infos[layout.url]
    assert (registered.size, registered.checksum) == (layout.size, layout.sha256)
