"""Runs that count no test image, for tuning."""

import dataclasses

import numpy as np
import pytest
from support import digits, records, train

from jax_resnet.data.dataset import Split
from jax_resnet.errors import UserError
from jax_resnet.report.finished import read_finished
from jax_resnet.training import train as training
from jax_resnet.training.begin import finished
from jax_resnet.training.config import load_dataset


@pytest.fixture
def config(tmp_path):
    return digits(tmp_path / "runs", test=False, name="run")


def test_a_run_for_tuning_counts_no_test_image_until_it_is_asked_to(config):
    dataset = load_dataset(config)
    labels = np.full(7, 3, np.int32)  # no accuracy of the real test images has this denominator
    other = dataclasses.replace(dataset, test=Split(dataset.test.images[:7], labels))
    result = training.train(config, other)
    validated = records(config.folder)[-1]
    for scores in result.values():
        assert scores["split"] == "validation"
        assert scores["count"] == len(dataset.validation)
    assert result["last"]["accuracy"] == validated["validation_accuracy"]
    with pytest.raises(UserError, match="holds validation scores, expected those of the test"):
        read_finished(config.folder)
    again = dataclasses.replace(config, test=True, resume=True)
    assert finished(again) is None
    assert training.train(again, other)["last"]["count"] == 7
    assert finished(again)["last"]["split"] == "test"


def test_tuning_takes_validation_images(config):
    with pytest.raises(UserError, match="no validation images, expected at least one"):
        train(dataclasses.replace(config, val_fraction=0))


def test_without_test_images_nothing_is_begun(config):
    dataset = load_dataset(config)
    nothing = Split(dataset.test.images[:0], dataset.test.labels[:0])
    with pytest.raises(UserError, match="no test images, expected at least one, or --no-test"):
        training.train(
            dataclasses.replace(config, test=True),
            dataclasses.replace(dataset, test=nothing),
        )
    assert not config.runs_dir.exists()
