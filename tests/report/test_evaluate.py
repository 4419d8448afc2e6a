"""`scripts/evaluate.py` on a finished run, on a Classifier file, and on what does not fit."""

import json
import runpy
import shutil
import sys

import jax
import jax.numpy as jnp
import pytest
from support import SCRIPTS, train

from jax_resnet import Classifier, ResNet
from jax_resnet.training.config import Config


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a short run on digits."""
    config = Config(
        dataset="digits",
        depth=8,
        steps=40,
        batch_size=64,
        val_fraction=0.3,
        seed=3,
        runs_dir=tmp_path_factory.mktemp("runs"),
        name="short",
    )
    train(config)
    return config.runs_dir / "short"


@pytest.fixture
def evaluate(monkeypatch, capsys):
    """Runs the script as a command; its exit code, stdout and stderr."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["evaluate.py", *map(str, arguments)])
        code = 0
        try:
            runpy.run_path(str(SCRIPTS / "evaluate.py"), run_name="__main__")
        except SystemExit as stop:
            code = stop.code or 0
        return code, *capsys.readouterr()

    return call


def save_classifier(file, class_names, channels):
    """Writes an untrained classifier of images of so many channels."""
    model = ResNet(8, len(class_names))
    variables = model.init(jax.random.key(0), jnp.zeros((1, 8, 8, channels)))
    half = jnp.full(channels, 0.5)
    Classifier(variables, half, half, model, tuple(class_names), (8, 8)).save(file)
    return file


@pytest.fixture
def refused(evaluate):
    """Runs the script, which must refuse in one message; the message."""

    def call(*arguments):
        code, stdout, stderr = evaluate(*arguments)
        assert (code, stdout) == (2, "")
        assert stderr.startswith("error: ")
        assert stderr.count("\n") == 1
        return stderr

    return call


def test_the_test_split_of_a_run_is_its_result(evaluate, run):
    code, stdout, _ = evaluate(run, "--json")
    result = json.loads(stdout)
    assert (code, set(result)) == (0, {"split", "count", "correct", "accuracy", "loss"})
    best = json.loads((run / "result.json").read_text())["best"]
    assert result["accuracy"] == result["correct"] / result["count"]
    assert {k: result[k] for k in ("split", "count", "correct")} == {
        k: best[k] for k in ("split", "count", "correct")
    }
    assert result["loss"] == pytest.approx(best["loss"], rel=1e-5)


def test_validation_images_are_those_that_the_run_kept(evaluate, run):
    result = json.loads(evaluate(run, "--split", "validation", "--json")[1])
    best = json.loads((run / "result.json").read_text())["best"]["step"]
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    record = next(line for line in lines if line["step"] == best)
    assert (result["split"], result["count"]) == ("validation", 431)
    assert result["accuracy"] == pytest.approx(record["validation_accuracy"])
    assert result["loss"] == pytest.approx(record["validation_loss"], rel=1e-5)
    training = json.loads(evaluate(run, "--split", "train", "--json")[1])
    assert training["count"] == 1437 - 431


def test_a_file_has_all_training_images_and_no_validation_images(evaluate, refused, run):
    file = run / "classifier.safetensors"
    code, stdout, _ = evaluate(file, "--dataset", "digits", "--split", "train")
    assert code == 0
    assert "of 1437" in stdout
    message = refused(file, "--dataset", "digits", "--split", "validation")
    assert "--split is 'validation'" in message
    assert "folder of the run" in message


def test_a_model_of_other_classes_or_channels_is_refused(refused, tmp_path):
    for names, channels in (("abcdefghij", 3), ("abcdefg", 1)):
        file = save_classifier(tmp_path / f"{names}.safetensors", names, channels)
        message = refused(file, "--dataset", "digits")
        assert f"{len(names)} classes and takes images of {channels} channels" in message
        assert "digits has 10 classes and images of 1" in message


def test_a_model_of_as_many_other_classes_is_refused(refused, tmp_path):
    file = save_classifier(tmp_path / "letters.safetensors", "abcdefghij", 1)
    message = refused(file, "--dataset", "digits")
    assert "the classes of the model are a, b, c, d, e, f, g, h, i, j" in message
    assert message.endswith("those of digits are 0, 1, 2, 3, 4, 5, 6, 7, 8, 9\n")


def test_files_that_are_no_model_are_refused(refused, run, tmp_path):
    assert "does not exist" in refused(tmp_path / "absent")
    assert "expected the folder of a finished run" in refused(tmp_path)
    assert "can't be read as a Classifier file" in refused(run / "config.json")
    shutil.copy(run / "classifier.safetensors", tmp_path)
    assert "config.json can't be read" in refused(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    assert "config.json" in refused(tmp_path)


def test_a_run_is_not_scored_on_other_data(refused, run):
    assert "was trained with 'digits'" in refused(run, "--dataset", "cifar10")


@pytest.mark.parametrize("precision", ["default", "tf32", "bf16"])
def test_other_precisions_count_every_image_too(evaluate, run, precision):
    result = json.loads(evaluate(run, "--precision", precision, "--json")[1])
    exact = json.loads(evaluate(run, "--json")[1])
    assert result["count"] == exact["count"]
    assert result["loss"] == pytest.approx(exact["loss"], rel=0.05)
