"""`scripts/evaluate.py` on a finished run, on a Classifier file, and on what does not fit."""

import itertools
import json
import shutil
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from support import digits, train

from jax_resnet import Classifier, ResNet
from jax_resnet.data import load


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a short run on digits."""
    config = digits(tmp_path_factory.mktemp("runs"), val_fraction=0.3, seed=3, name="short")
    train(config)
    return config.runs_dir / "short"


@pytest.fixture
def evaluate(call):
    """Runs the script; its exit code, stdout and stderr."""
    return partial(call, "evaluate.py")


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


def test_a_folders_images_get_the_size_of_a_files_model(evaluate, tmp_path):
    file = save_classifier(tmp_path / "net", ["a", "b"], 3)
    for split, name, i in itertools.product(("train", "test"), "ab", range(3)):
        image = np.random.default_rng(i).integers(0, 256, (20, 30, 3), np.uint8)
        (tmp_path / "images" / split / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / "images" / split / name / f"{i}.png")
    words = (file, "--dataset", "folder", "--data-dir", tmp_path / "images", "--json")
    code, stdout, stderr = evaluate(*words)
    assert code == 0, stderr
    assert (code, stdout) == evaluate(*words, "--image-size", 8, 8)[:2]
    assert stdout != evaluate(*words, "--image-size", 16, 16)[1]


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
    assert "was trained with digits" in refused(run, "--dataset", "cifar10")
    message = refused(run, "--image-size", "8", "8")
    assert f"--image-size is 8 8, but {run} was trained without it: leave it out" in message


@pytest.mark.parametrize("precision", ["default", "tf32", "bf16"])
def test_other_precisions_count_every_image_too(evaluate, run, precision):
    result = json.loads(evaluate(run, "--precision", precision, "--json")[1])
    exact = json.loads(evaluate(run, "--json")[1])
    assert result["count"] == exact["count"]
    assert result["loss"] == pytest.approx(exact["loss"], rel=0.05)


@pytest.fixture
def arrays(tmp_path):
    """The test images of digits as .npy files."""
    test = load("digits").test
    np.save(tmp_path / "images.npy", test.images)
    np.save(tmp_path / "labels.npy", test.labels.astype(np.int64))
    return tmp_path / "images.npy", tmp_path / "labels.npy"


def test_images_in_a_file_give_what_the_split_gives(evaluate, run, arrays):
    images, labels = arrays
    expected = json.loads(evaluate(run, "--json")[1])
    for model in (run, run / "classifier.safetensors"):
        code, stdout, _ = evaluate(model, "--images", images, "--labels", labels, "--json")
        result = json.loads(stdout)
        assert (code, result.pop("images")) == (0, str(images))
        assert result["loss"] == pytest.approx(expected["loss"], rel=1e-5)
        for key in ("count", "correct", "accuracy"):
            assert result[key] == expected[key]


def test_each_part_of_a_file_is_scored(evaluate, run, arrays):
    images, labels = arrays
    given = (run, "--images", images, "--labels", labels, "--part-size", 150)
    result = json.loads(evaluate(*given, "--json")[1])
    whole = json.loads(evaluate(*given[:-2], "--json")[1])
    parts = result.pop("parts")
    assert result == whole | {"loss": pytest.approx(whole["loss"], rel=1e-5)}
    assert [(part["start"], part["count"]) for part in parts] == [(0, 150), (150, 150), (300, 60)]
    assert sum(part["correct"] for part in parts) == whole["correct"]
    np.save(images, np.load(images)[300:])
    np.save(labels, np.load(labels)[300:])
    assert json.loads(evaluate(*given, "--json")[1])["correct"] == parts[2]["correct"]
    lines = evaluate(*given)[1].splitlines()
    assert lines[0].startswith(f"{run} on {images}: accuracy {parts[2]['accuracy']:.4f} (")
    assert lines[1].startswith(f"  images 0 to 59: accuracy {parts[2]['accuracy']:.4f} (")


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((3, 8, 8, 1), np.float32), [0, 1, 2], "has type float32 and shape (3, 8, 8, 1)"),
        (np.zeros((3, 8, 8), np.uint8), [0, 1, 2], "expected uint8 and (count, 8, 8, 1)"),
        (np.zeros((3, 8, 9, 1), np.uint8), [0, 1, 2], "shape (3, 8, 9, 1)"),
        (np.zeros((0, 8, 8, 1), np.uint8), np.zeros(0, int), "images.npy"),
        (np.zeros((3, 8, 8, 1), np.uint8), [0, 1], "expected integers and (3,)"),
        (np.zeros((3, 8, 8, 1), np.uint8), [[0], [1], [2]], "shape (3, 1)"),
        (np.zeros((3, 8, 8, 1), np.uint8), [0.0, 1.0, 2.0], "has type float64"),
        (np.zeros((3, 8, 8, 1), np.uint8), [0, 1, 10], "has labels from 0 to 10, expected from 0"),
        (np.zeros((3, 8, 8, 1), np.uint8), [0, 1, -1], "has labels from -1 to 1"),
        (np.array([{}], object), [0], "can't be read as .npy"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(refused, run, tmp_path, images, labels, message):
    files = tmp_path / "images.npy", tmp_path / "labels.npy"
    np.save(files[0], images, allow_pickle=True)
    np.save(files[1], labels)
    assert message in refused(run, "--images", files[0], "--labels", files[1])


def test_files_that_hold_no_array_are_refused(refused, run, arrays, tmp_path):
    images, labels = arrays
    np.savez(tmp_path / "both.npz", images=np.load(images))
    (tmp_path / "cut.npy").write_bytes(images.read_bytes()[:-1])
    for name in ("both.npz", "cut.npy", "absent.npy"):
        message = refused(run, "--images", tmp_path / name, "--labels", labels)
        assert f"{tmp_path / name} can't be read as .npy: " in message
    assert "not a regular file" in refused(run, "--images", images, "--labels", tmp_path)


def test_flags_of_data_sets_and_of_files_exclude_each_other(refused, run, arrays):
    images, labels = arrays
    given = (run, "--images", images, "--labels", labels)
    assert "expected --labels with them" in refused(run, "--images", images)
    assert "--labels is" in refused(run, "--labels", labels)
    assert "--part-size is 5, expected none without --images" in refused(run, "--part-size", 5)
    assert "--part-size is 0, expected 1 or more" in refused(*given, "--part-size", 0)
    assert "--split is train, expected none with --images" in refused(*given, "--split", "train")
    assert "--dataset is digits, expected none" in refused(*given, "--dataset", "digits")
