"""Where `data_dir` points to."""

import errno
import os

import pytest

from jax_resnet.data import load
from jax_resnet.errors import UserError
from jax_resnet.files import refuse_lost_link


@pytest.fixture
def prepared(server, small_cifar100, tmp_path):
    """The folder of data sets with a prepared CIFAR-100; the server has nothing any more."""
    dataset = load("cifar100", tmp_path / "data")
    server.answers.clear()
    return tmp_path / "data", dataset.identity()


def test_the_folder_of_the_data_set_or_its_version_is_found(prepared, monkeypatch):
    root, identity = prepared
    for place in (root, root / "cifar100", root / "cifar100" / "3.0.2"):
        assert load("cifar100", place).identity() == identity
        monkeypatch.chdir(place)
        assert load("cifar100", ".").identity() == identity


def test_a_link_to_one_of_these_folders_is_followed(prepared, tmp_path):
    root, identity = prepared
    for place in (root, root / "cifar100", root / "cifar100" / "3.0.2"):
        link = tmp_path / f"link to {place.name}"
        link.symlink_to(place)
        assert load("cifar100", link).identity() == identity
    assert load("cifar100", root / "cifar100" / "3.0.2" / "..").identity() == identity


def test_a_folder_that_does_not_exist_is_refused_and_not_made(server, small_cifar100, tmp_path):
    for place in (tmp_path / "dta", tmp_path / "dta" / "cifar100" / "3.0.2"):
        with pytest.raises(UserError, match=f"`data_dir` is {place}, which does not exist"):
            load("cifar100", place)
    assert not (tmp_path / "dta").exists()
    assert server.asked == []


def test_the_default_place_is_made(server, small_cifar100, tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "new" / "place"))
    load("cifar100")
    assert (tmp_path / "new" / "place" / "cifar100" / "3.0.2").is_dir()
    monkeypatch.delenv("TFDS_DATA_DIR")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    load("cifar100")
    assert (tmp_path / "home" / "tensorflow_datasets" / "cifar100" / "3.0.2").is_dir()


@pytest.mark.parametrize(
    "name", ["cifar100", "cifar100/3.0.2", "cifar-100-binary", "cifar-100-python.tar.gz"]
)
def test_a_link_to_nothing_is_named_and_nothing_is_downloaded(server, tmp_path, name):
    link = tmp_path / name
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(tmp_path / "disk")
    with pytest.raises(UserError, match=f"{link} is a link to nothing"):
        load("cifar100", tmp_path)
    assert server.asked == []


def test_a_link_that_may_not_be_followed_is_not_one_to_nothing(tmp_path, monkeypatch):
    (tmp_path / "cifar100").symlink_to(tmp_path / "closed" / "cifar100")

    def fail(path, *arguments, **options):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(os, "stat", fail)
    with pytest.raises(UserError, match=r"cifar100 can't be read: .*Permission denied"):
        refuse_lost_link(tmp_path / "cifar100")
