"""Images that `train` is given in Python, instead of a data set that a `Config` names."""

import dataclasses
import json
import math

import numpy as np
import pytest
from support import digits

from jax_resnet.data import Dataset, Split
from jax_resnet.data.dataset import loaded
from jax_resnet.errors import UserError
from jax_resnet.training import curves
from jax_resnet.training import train as training
from jax_resnet.training.begin import result_of
from jax_resnet.training.config import Config, load_dataset
from jax_resnet.training.published import PUBLISHED, STEPS


def test_they_are_recorded_by_their_name_and_found_nowhere_else(call, tmp_path):
    mine = dataclasses.replace(load_dataset(digits(tmp_path)), name="mine")
    config = Config(
        depth=8, steps=2, batch_size=32, pad=0, flip="none", runs_dir=tmp_path, name="own"
    )
    assert training.train(config, mine)["last"]["count"] == 360
    config_file = json.loads((tmp_path / "own" / "config.json").read_text())
    assert config_file["environment"]["data_set"] == "mine"
    again = training.train(dataclasses.replace(config, resume=True), mine)
    assert again["last"]["step"] == 2
    with pytest.raises(UserError, match=r"the images 'mine', .* not on cifar10: choose another"):
        result_of(dataclasses.replace(config, resume=True))  # as `compare` and `--seeds` ask
    code, _, stderr = call("evaluate.py", tmp_path / "own")
    assert code == 2
    assert "'mine', which were given in Python: expected a run that loaded one of cifar10" in stderr
    for name, array in (("x", mine.test.images), ("y", mine.test.labels)):
        np.save(tmp_path / f"{name}.npy", array)
    files = ("--images", tmp_path / "x.npy", "--labels", tmp_path / "y.npy")
    assert call("evaluate.py", tmp_path / "own", *files)[0] == 0


def test_the_curves_have_no_published_accuracy_of_other_images(monkeypatch, tmp_path):
    drawn = []
    monkeypatch.setattr(curves, "SECONDS", math.inf)  # one picture a run, however long it takes
    monkeypatch.setattr(curves, "draw_curves", lambda *words: drawn.append(words[-1]))
    image = np.zeros((4, 4, 4, 3), np.uint8)
    split = Split(image, np.int32([0, 1, 0, 1]))
    monkeypatch.setitem(PUBLISHED[f"the article, {STEPS}"], ("zeropad", 8), 0.5)
    config = Config(depth=8, steps=1, batch_size=4, val_fraction=0.0, runs_dir=tmp_path)
    mine = Dataset("mine", split, split, split, ("a", "b"), flippable=True)
    cifar = dataclasses.replace(mine, name="cifar10")
    for number, images in enumerate((mine, cifar, loaded(cifar))):  # equal but for what they are
        training.train(dataclasses.replace(config, name=str(number)), images)
    assert [*map(len, drawn)] == [0, 0, 1]
    assert drawn[-1] == {"the article, 64,000 steps, on test 0.5000": 0.5}


def test_images_of_a_data_sets_name_are_ones_own_where_they_were_replaced(tmp_path):
    config = digits(tmp_path, name="half", steps=4, resume=True)
    whole = load_dataset(config)
    half = Split(whole.train.images[:600], whole.train.labels[:600])
    training.train(config, dataclasses.replace(whole, train=half))
    with pytest.raises(UserError, match="trained on the images 'digits', which were given in Pyth"):
        result_of(config)  # as `compare` and `--seeds` ask
    other = dataclasses.replace(config, name="whole")
    training.train(other, whole)
    assert result_of(other), "a run on the images of `load_dataset` is not taken for one on them"
