"""CIFAR from every place it may lie in, genuine and not."""

import gzip
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from support import SHARED

from jax_resnet.data import Dataset, Split, load, statistics
from jax_resnet.data.cifar import CIFAR10_CLASSES, LAYOUTS
from jax_resnet.data.cifar.original import Original
from jax_resnet.data.cifar.prepare import write_tfds
from jax_resnet.data.cifar.tfds import read_tfds
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
    (folder / "batches.meta.txt").write_text("\n".join(dataset.class_names) + "\n\n")
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


def archive(path: Path, members: list[tuple[str, bytes, bytes]]) -> Path:
    """A .tar.gz of `(name, type, content)`; the content of a link is where it points to."""
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        for name, kind, content in members:
            member = tarfile.TarInfo(name)
            member.type = kind
            if kind == tarfile.REGTYPE:
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
            else:
                member.linkname = content.decode()
                tar.addfile(member)
    return path


FIRST = "cifar-10-batches-bin/data_batch_1.bin"


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([(FIRST, tarfile.SYMTYPE, b"/etc/passwd")], "it lacks .*data_batch_1"),
        ([(FIRST, tarfile.LNKTYPE, b"/etc/passwd")], "it lacks .*data_batch_1"),
        ([(FIRST, tarfile.FIFOTYPE, b"")], "it lacks .*data_batch_1"),
        ([(FIRST, tarfile.REGTYPE, b"short")], "it lacks .*data_batch_2"),
        ([("../evil", tarfile.REGTYPE, b"x"), ("/evil", tarfile.REGTYPE, b"x")], "it lacks"),
    ],
)
def test_unsafe_archives_are_refused_and_nothing_is_written(tmp_path, members, message):
    place = tmp_path / "data"
    place.mkdir()
    path = archive(place / "cifar-10-binary.tar.gz", members)
    with pytest.raises(UserError, match=f"{path} is .*{message}"):
        load("cifar10", place)
    assert [file.name for file in tmp_path.rglob("*")] == ["data", path.name]


def header(size: int, kind: bytes = tarfile.REGTYPE, name: str = FIRST) -> bytes:
    """The header of a member of any size, up to 2^88 bytes."""
    member = tarfile.TarInfo(name)
    member.type = kind
    block = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    block[124:136] = b"\x80" + size.to_bytes(11, "big")
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@pytest.mark.parametrize(
    "content",
    [
        header(2**28),
        header(2**63 - 1),
        header(2**88 - 1),
        header(2**27) + bytes(2**27) + header(2**27),
        header(3 * 2**30, tarfile.GNUTYPE_LONGNAME) + b"a" * 2**20,
        header(3 * 2**30, tarfile.XHDTYPE) + b"a" * 2**20,
    ],
    ids=["large", "2^63", "2^88", "together", "long name", "long attributes"],
)
def test_no_more_is_read_of_an_archive_than_the_genuine_one_has(tmp_path, content):
    path = tmp_path / "cifar-10-binary.tar.gz"
    path.write_bytes(gzip.compress(content + bytes(1024), 1))
    with pytest.raises(UserError, match=f"{path} is truncated .* more than 268435456 bytes"):
        load("cifar10", path)


def test_an_archive_that_ends_within_a_file_is_refused(tmp_path):
    path = tmp_path / "cifar-10-binary.tar.gz"
    for content in (header(1000), header(1000) + bytes(512), header(0)[:100]):
        path.write_bytes(gzip.compress(content))
        with pytest.raises(UserError, match=f"{path} is truncated"):
            load("cifar10", path)


def test_long_names_and_links_beside_the_files_are_passed_over(tmp_path):
    files = dict.fromkeys((*LAYOUTS["cifar10"].files["train"], "test_batch.bin"), b"content")
    files["batches.meta.txt"] = b"names"
    path = tmp_path / "cifar-10-binary.tar.gz"
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as tar:
        for name, content in {"ü" * 200: b"x", **files}.items():
            member = tarfile.TarInfo(f"./cifar-10-batches-bin/{name}")
            member.size, member.mtime = len(content), 0.5  # which needs an extended header
            tar.addfile(member, io.BytesIO(content))
            link = tarfile.TarInfo("link")
            link.type, link.linkname, link.size = tarfile.SYMTYPE, name, 5000
            tar.addfile(link)
    with pytest.raises(UserError, match="153650000 bytes, but 35 are there"):
        load("cifar10", path)


def test_a_folder_with_an_enormous_file_is_refused(tmp_path):
    with (tmp_path / "data_batch_1.bin").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(UserError, match=r"data_batch_1\.bin has more than 268435456 bytes"):
        load("cifar10", tmp_path)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "cifar-10-binary.tar.gz")
    with pytest.raises(UserError, match="no regular file"):
        load("cifar10", tmp_path)


def test_archives_that_are_none_are_refused(tmp_path):
    path = tmp_path / "cifar-10-binary.tar.gz"
    whole = archive(tmp_path / "a.tar.gz", [("a", tarfile.REGTYPE, bytes(99999))]).read_bytes()
    for content in (b"", b"<html>not found</html>", whole[:100], whole[:-20] + bytes(20)):
        path.write_bytes(content)
        with pytest.raises(UserError, match=f"{path} is (truncated or altered|not cifar)"):
            load("cifar10", path)
    with pytest.raises(UserError, match=r"`data_dir` is .*does not exist"):
        load("cifar10", tmp_path / "elsewhere" / "cifar-10-binary.tar.gz")


def test_an_incomplete_folder_is_named(tmp_path):
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    (folder / "data_batch_1.bin").write_bytes(bytes(30_730_000))
    with pytest.raises(UserError, match=r"lacks batches\.meta\.txt, data_batch_2\.bin, "):
        load("cifar10", tmp_path)


def test_cifar100_takes_fine_labels_and_checks_counts(tmp_path):
    folder = tmp_path / "cifar-100-binary"
    folder.mkdir()
    for file, count in (("coarse_label_names.txt", 20), ("fine_label_names.txt", 100)):
        (folder / file).write_text("".join(f"name {i}\n" for i in range(count)))
    for file, count in (("train.bin", 50_000), ("test.bin", 10_000)):
        records = np.zeros((count, 3074), np.uint8)
        records[:, 1] = np.arange(count) % 100
        records[:, 0] = records[:, 1] // 5
        records[:, 2] = records[:, 1]
        records.tofile(folder / file)
    dataset = load("cifar100", tmp_path)
    assert dataset.num_classes == 100
    assert dataset.class_names[7] == "name 7"
    np.testing.assert_array_equal(dataset.test.images[:, 0, 0, 0], dataset.test.labels)
    records[0, 1] = 1
    records.tofile(folder / "test.bin")
    with pytest.raises(UserError, match=r"altered: its test images .* 100 of each class"):
        load("cifar100", folder)
    records[:-1].tofile(folder / "test.bin")
    with pytest.raises(UserError, match=r"truncated .* test\.bin should have 30740000 bytes"):
        load("cifar100", folder)


def test_an_archive_of_cifar100_must_be_the_original(tmp_path):
    path = archive(tmp_path / "cifar-100-binary.tar.gz", [])
    with pytest.raises(UserError, match=f"{path} is truncated or altered: .* SHA-256"):
        load("cifar100", tmp_path)


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_checksum_is_the_one_that_tfds_registered(tmp_path, name):
    import tensorflow_datasets as tfds

    layout = LAYOUTS[name]
    registered = tfds.builder(name, data_dir=tmp_path).url_infos[layout.url]
    assert (registered.size, registered.checksum) == (layout.size, layout.sha256)


def random_original(name: str, counts: dict[str, int]) -> Original:
    rng = np.random.default_rng(0)
    sizes = {"label": 10} if name == "cifar10" else {"coarse_label": 20, "label": 100}
    labels = {s: rng.integers(0, [*sizes.values()], (n, len(sizes))) for s, n in counts.items()}
    return Original(
        splits={
            s: Split(
                rng.integers(0, 256, (n, 32, 32, 3), np.uint8), labels[s][:, -1].astype(np.int32)
            )
            for s, n in counts.items()
        },
        labels={s: rows.astype(np.uint8) for s, rows in labels.items()},
        names={key: tuple(f"{key} {i}" for i in range(size)) for key, size in sizes.items()},
    )


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_stock_tfds_reads_what_is_written(tmp_path, name, capsys):
    import tensorflow_datasets as tfds

    original = random_original(name, {"train": 60, "test": 30})
    write_tfds(name, original, tmp_path)
    assert capsys.readouterr().out == ""
    builder = tfds.builder(name, data_dir=tmp_path)
    assert tuple(builder.info.features["label"].names) == original.names["label"]
    ours, names = read_tfds(tmp_path / name / "3.0.2")
    assert names == original.names["label"]
    for split, written in original.splits.items():
        source = tfds.data_source(name, split=split, data_dir=tmp_path)
        assert len(source) == len(written)
        for index, example in enumerate(source):
            number = int(example["id"].decode().removeprefix(f"{split}_"))
            np.testing.assert_array_equal(example["image"], written.images[number])
            np.testing.assert_array_equal(ours[split].images[index], written.images[number])
            assert ours[split].labels[index] == example["label"]
            assert [example[key] for key in original.names] == [*original.labels[split][number]]
    assert "tensorflow" not in sys.modules


def test_every_file_of_what_is_written_is_under_checksums(tmp_path):
    write_tfds("cifar100", random_original("cifar100", {"train": 60, "test": 30}), tmp_path)
    folder = tmp_path / "cifar100" / "3.0.2"
    files = [path for path in folder.iterdir() if path.name != "sha256.json"]
    assert len(files) > 4
    for path in files:
        good = path.read_bytes()
        path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
        with pytest.raises(UserError, match=f"{path} is damaged"):
            read_tfds(folder)
        path.write_bytes(good)
    read_tfds(folder)


def test_an_interrupted_preparation_leaves_nothing(tmp_path):
    original = random_original("cifar10", {"train": 60, "test": 30})
    original.labels["test"] = original.labels["test"][:10]
    with pytest.raises(ValueError, match="shorter"):
        write_tfds("cifar10", original, tmp_path)
    assert list((tmp_path / "cifar10").iterdir()) == []
