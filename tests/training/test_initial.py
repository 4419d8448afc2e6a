"""Runs that start from trained weights, and why a finished run has no more steps."""

import dataclasses
import json
import shutil
import signal

import jax
import numpy as np
import pytest
from support import digits, run_command

from jax_resnet import Classifier, ResNet
from jax_resnet.data.dataset import Dataset, Split
from jax_resnet.errors import UserError
from jax_resnet.run.signals import Interrupted
from jax_resnet.training.config import Config, load_dataset
from jax_resnet.training.train import train


@pytest.fixture(scope="module")
def dataset():
    return load_dataset(Config(dataset="digits"))


@pytest.fixture(scope="module")
def trained(dataset, tmp_path_factory):
    """The config of a finished run on digits."""
    config = digits(tmp_path_factory.mktemp("runs"), name="trained")
    train(config, dataset)
    return config


@pytest.fixture
def config(trained, tmp_path):
    """One step from that run's net, at a rate of 0."""
    weights = str(trained.folder)
    return dataclasses.replace(
        trained, runs_dir=tmp_path, name="next", steps=1, learning_rate=0.0, init=weights
    )


def params(config):
    return Classifier.load(config.folder / "classifier.safetensors").variables["params"]


def test_a_run_starts_from_trained_weights_and_statistics(config, trained, dataset):
    result = train(config, dataset)
    jax.tree.map(np.testing.assert_array_equal, params(config), params(trained))
    assert result["last"]["accuracy"] > 0.7, "without its statistics it would guess"
    written = json.loads((config.folder / "config.json").read_text())
    assert written["init"] == str(trained.folder)
    assert len(written["environment"]["init"]) == 64


def test_training_from_a_net_trains(config, trained, dataset):
    config = dataclasses.replace(config, learning_rate=0.01)
    train(config, dataset)
    ours, theirs = params(config), params(trained)
    for part in ours:
        assert any(
            (one != other).any()
            for one, other in zip(
                jax.tree.leaves(ours[part]), jax.tree.leaves(theirs[part]), strict=True
            )
        ), part


def of_classes(dataset, names):
    """The same images, labeled modulo the number of the names."""
    splits = {
        name: Split(split.images, split.labels % len(names))
        for name in ("train", "validation", "test")
        for split in [getattr(dataset, name)]
    }
    return Dataset("other", **splits, class_names=names, flippable=False)


@pytest.mark.parametrize("names", [("even", "odd"), tuple("abcdefghij")])
def test_other_classes_get_a_last_layer_of_their_own(config, trained, dataset, names, capsys):
    train(config, of_classes(dataset, names))
    ours, theirs = params(config), params(trained)
    head, old = ours.pop("head"), theirs.pop("head")
    assert head["kernel"].shape == (64, len(names))
    assert head["kernel"].shape != old["kernel"].shape or (head["kernel"] != old["kernel"]).any()
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)
    assert "the last layer starts from random weights" in capsys.readouterr().err


def test_frozen_stages_keep_their_bits_and_the_head_is_trained(config, trained, dataset, tmp_path):
    start = Classifier.load(trained.folder / "classifier.safetensors")
    start.variables["params"]["stem_norm"]["bias"] = np.full(16, -0.0, np.float32)
    start.save(tmp_path / "start.safetensors")
    config = dataclasses.replace(
        config,
        init=str(tmp_path / "start.safetensors"),
        freeze="stages",
        steps=40,
        learning_rate=0.1,
        weight_decay=0.1,
    )
    other = of_classes(dataset, ("even", "odd"))
    result = train(config, other)
    ours = Classifier.load(config.folder / "classifier.safetensors").variables
    head, old = ours["params"].pop("head"), start.variables["params"].pop("head")
    bits = jax.tree.map(np.ndarray.tobytes, jax.tree.map(np.asarray, ours))
    assert bits == jax.tree.map(np.ndarray.tobytes, jax.tree.map(np.asarray, start.variables))
    assert head["kernel"].shape != old["kernel"].shape
    assert result["last"]["accuracy"] > 0.75, "a guess would be 0.5"
    assert json.loads((config.folder / "config.json").read_text())["freeze"] == "stages"
    (record,) = map(json.loads, (config.folder / "metrics.jsonl").read_text().splitlines()[-1:])
    trains = {part: norm > 0 for part, norm in record["gradient_norms"].items()}
    assert trains.pop("head")
    assert not any(trains.values())


def test_a_frozen_run_resumes_to_the_same_bits(config, trained, dataset, tmp_path):
    config = dataclasses.replace(config, freeze="stages", steps=30, learning_rate=0.1)
    train(config, dataset)
    again, stops = dataclasses.replace(config, name="again", resume=True), []
    with pytest.raises(Interrupted):
        train(again, dataset, signals=stops, on_epoch=lambda _: stops.append(signal.SIGINT))
    train(again, dataset)
    for one, other in zip(*(jax.tree.leaves(params(c)) for c in (config, again)), strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(UserError, match="`freeze` was 'stages', is 'none'"):
        train(dataclasses.replace(again, freeze="none"), dataset)


def test_without_init_nothing_is_frozen():
    with pytest.raises(UserError, match="`freeze` is 'stages', expected 'none' without `init`"):
        Config(freeze="stages")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"depth": 14}, "`depth` is 14, expected 8, as in the net of `init`"),
        ({"shortcut": "conv1x1"}, "`shortcut` is 'conv1x1', expected 'zeropad'"),
        ({"model": "cnn", "shortcut": None}, "`model` is 'cnn', expected 'resnet'"),
        (
            {"init": "resnet20-zeropad", "depth": 20},
            "takes images with 3 channels, but those of digits have 1",
        ),
        ({"init": "resnet21"}, "`init`: resnet21 does not exist, expected a run's folder"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(config, dataset, fields, words):
    config = dataclasses.replace(config, **fields)
    with pytest.raises(UserError) as refusal:
        train(config, dataset)
    assert words in str(refusal.value)
    assert not config.folder.exists()


def test_other_widths_are_refused(config, trained, dataset, tmp_path):
    model = ResNet(8, 10, channels=(8, 16, 32))
    variables = model.init(jax.random.key(0), np.zeros((1, 8, 8, 1), np.float32))
    narrow = Classifier.load(trained.folder / "classifier.safetensors").replace(
        model=model, variables=variables
    )
    narrow.save(tmp_path / "narrow.safetensors")
    config = dataclasses.replace(config, init=str(tmp_path / "narrow.safetensors"))
    with pytest.raises(UserError, match=r"stages of \(8, 16, 32\) channels, expected \(16, 32, 64"):
        train(config, dataset)


def test_resume_needs_no_file_but_refuses_another(config, trained, dataset, tmp_path):
    weights = tmp_path / "weights.safetensors"
    shutil.copy(trained.folder / "classifier.safetensors", weights)
    config = dataclasses.replace(config, init=str(weights), resume=True)
    result = train(config, dataset)
    weights.unlink()
    assert train(config, dataset) == result

    other = Classifier.load(trained.folder / "classifier.safetensors")
    other.replace(variables=jax.tree.map(lambda x: x / 2, other.variables)).save(weights)
    with pytest.raises(UserError, match=r"SHA-256 digits of the weights of `init` were"):
        train(config, dataset)
    with pytest.raises(UserError, match=r"`init` was '.*', is None"):
        train(dataclasses.replace(config, init=None), dataset)


def test_without_a_checkpoint_resume_asks_for_the_weights(config, dataset, tmp_path):
    config = dataclasses.replace(config, resume=True)
    train(config, dataset)
    file = config.folder / "config.json"
    text = file.read_text().replace(config.init, "gone")
    shutil.rmtree(config.folder)
    config.folder.mkdir()
    file.write_text(text)
    with pytest.raises(UserError, match="no checkpoint to continue from, and `init` gone does not"):
        train(dataclasses.replace(config, init="gone"), dataset)


@pytest.mark.parametrize("schedule", ["step", "linear", "cosine"])
def test_a_run_has_no_more_steps_and_says_how_to_train_on(trained, dataset, tmp_path, schedule):
    shutil.copytree(trained.folder, tmp_path / "trained")
    config = dataclasses.replace(trained, runs_dir=tmp_path, schedule=schedule, resume=True)
    settings = json.loads((config.folder / "config.json").read_text())
    (config.folder / "config.json").write_text(json.dumps(settings | {"schedule": schedule}))
    with pytest.raises(UserError) as refusal:
        train(dataclasses.replace(config, steps=25), dataset)
    message = str(refusal.value)
    expected = "`steps` was 24, is 25; choose another `name`: with the `schedule` " + schedule
    assert f"{expected} every learning rate depends on the number of all steps" in message
    assert f"`init` {config.folder} trains its net further" in message


def test_the_command_line_takes_init(trained, tmp_path):
    flags = ("--steps", "1", "--name", "next", "--depth", "14", "--init", str(trained.folder))
    done = run_command(tmp_path, *flags)
    assert done.returncode == 2
    assert "--depth is 14, expected 8, as in the net of --init" in done.stderr
