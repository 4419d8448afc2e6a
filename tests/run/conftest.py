"""A finished run on images of stripes, for the modules that copy it."""

import dataclasses
import shutil

import pytest
from striped import stripes

from jax_resnet.data.dataset import Dataset
from jax_resnet.training import train as training
from jax_resnet.training.config import Config


@pytest.fixture(scope="module")
def dataset():
    """64 training images: with batches of 32, two steps an epoch."""
    return Dataset("any", stripes(0, 64), stripes(1, 10), stripes(2, 10), ("a", "b"), True)


@pytest.fixture(scope="module")
def finished(dataset, tmp_path_factory):
    """The config of a finished run of two epochs."""
    config = Config(
        dataset="cifar10", depth=8, batch_size=32, steps=4, name="run", resume=True,
        runs_dir=tmp_path_factory.mktemp("runs"),
    )  # fmt: skip
    training.train(config, dataset)
    return config


@pytest.fixture
def config(finished, tmp_path):
    """The config of a copy of that run."""
    shutil.copytree(finished.folder, tmp_path / "run")
    return dataclasses.replace(finished, runs_dir=tmp_path)
