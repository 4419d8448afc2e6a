"""CIFAR as this package prepares it: TFDS reads it, and every file is under a checksum."""

import sys

import numpy as np
import pytest

from jax_resnet.data.cifar import LAYOUTS
from jax_resnet.data.cifar.original import Original
from jax_resnet.data.cifar.prepare import write_tfds
from jax_resnet.data.cifar.tfds import read_tfds
from jax_resnet.errors import UserError


def random_original(name: str, counts: dict[str, int]) -> Original:
    rng = np.random.default_rng(0)
    sizes = [len(names) for names in LAYOUTS[name].names.values()]
    return Original(
        images={s: rng.integers(0, 256, (n, 32, 32, 3), np.uint8) for s, n in counts.items()},
        labels={s: rng.integers(0, sizes, (n, len(sizes)), np.uint8) for s, n in counts.items()},
    )


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_stock_tfds_reads_what_is_written(tmp_path, name, capsys):
    import tensorflow_datasets as tfds

    original = random_original(name, {"train": 60, "test": 30})
    layout = LAYOUTS[name]
    write_tfds(layout, original, tmp_path)
    assert capsys.readouterr().out == ""
    builder = tfds.builder(name, data_dir=tmp_path)
    for key, names in layout.names.items():
        assert tuple(builder.info.features[key].names) == names
    ours = read_tfds(tmp_path / name / "3.0.2")
    for split, written in original.splits.items():
        source = tfds.data_source(name, split=split, data_dir=tmp_path)
        assert len(source) == len(written)
        for index, example in enumerate(source):
            number = int(example["id"].decode().removeprefix(f"{split}_"))
            np.testing.assert_array_equal(example["image"], written.images[number])
            np.testing.assert_array_equal(ours[split].images[index], written.images[number])
            assert ours[split].labels[index] == example["label"]
            assert [example[key] for key in layout.names] == [*original.labels[split][number]]
    assert "tensorflow" not in sys.modules


def test_the_version_is_ours_where_tfds_has_a_newer_one(tmp_path, monkeypatch):
    import tensorflow_datasets as tfds

    monkeypatch.setattr(tfds.builder_cls("cifar10"), "VERSION", tfds.core.Version("3.0.9"))
    original = random_original("cifar10", {"train": 3, "test": 2})
    write_tfds(LAYOUTS["cifar10"], original, tmp_path)
    assert len(read_tfds(tmp_path / "cifar10" / "3.0.2")["train"]) == 3


def test_every_file_of_what_is_written_is_under_checksums(tmp_path):
    original = random_original("cifar100", {"train": 60, "test": 30})
    write_tfds(LAYOUTS["cifar100"], original, tmp_path)
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
        write_tfds(LAYOUTS["cifar10"], original, tmp_path)
    assert list((tmp_path / "cifar10").iterdir()) == []
