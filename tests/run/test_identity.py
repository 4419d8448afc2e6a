"""A run knows its data, its checkpoints and where it ran; what is another's is refused by name."""

import dataclasses
import json
import shutil
from contextlib import ExitStack
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.sharding import Mesh
from PIL import Image
from striped import files, stripes
from support import enable_x64, records, train

from jax_resnet import Classifier
from jax_resnet.data.dataset import Split
from jax_resnet.errors import UserError
from jax_resnet.report.page import read_run
from jax_resnet.report.scores import check_fits, score
from jax_resnet.run import checkpoints, environment
from jax_resnet.training import train as training
from jax_resnet.training.config import Config


def renamed(dataset):
    return dataclasses.replace(dataset, class_names=("b", "z"))


def relabeled(dataset):
    labels = dataset.train.labels.copy()
    labels[:2] = labels[1::-1]
    return dataclasses.replace(dataset, train=Split(dataset.train.images, labels))


def with_another_pixel(dataset):
    images = dataset.test.images.copy()
    images[3, 0, 0, 0] ^= 1
    return dataclasses.replace(dataset, test=Split(images, dataset.test.labels))


def shuffled(dataset):
    train = dataset.train
    return dataclasses.replace(dataset, train=Split(train.images[::-1], train.labels[::-1]))


def smaller(dataset):
    train = dataset.train
    return dataclasses.replace(dataset, train=Split(train.images[:-1], train.labels[:-1]))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (renamed, "the class names were ['a', 'b'], and are ['b', 'z']"),
        (relabeled, "the fingerprints of the images and their labels were"),
        (with_another_pixel, "the fingerprints of the images and their labels were"),
        (shuffled, "the fingerprints of all images in order were"),
        (smaller, "the numbers of images were {'train': 64,"),
    ],
)
def test_a_run_goes_on_with_its_own_data_only(config, dataset, change, words):
    before = files(config.folder)
    with pytest.raises(UserError) as refusal:
        training.train(config, change(dataset))
    assert words in str(refusal.value)
    assert "config.json" in str(refusal.value)
    assert files(config.folder) == before


def test_the_order_of_images_does_not_make_another_data_set(dataset):
    ours, theirs = dataset.identity(), shuffled(dataset).identity()
    assert ours.pop("sequence") != theirs.pop("sequence")
    assert ours == theirs


def test_a_run_of_an_older_version_compares_what_it_knows(config, dataset):
    file = config.folder / "config.json"
    content = json.loads(file.read_text())
    for name in ("class_names", "fingerprints", "sequence", "cores", "cpu", "variables"):
        del content["environment"][name]
    file.write_text(json.dumps(content))
    (config.folder / "starts.jsonl").unlink()
    for step in (config.folder / "checkpoints").glob("[0-9]*"):
        sums = json.loads((step / "sha256.json").read_text())
        del sums["config.json"]
        (step / "sha256.json").write_text(json.dumps(sums))
        (step / "config.json").unlink()
    training.train(config, dataset)
    with pytest.raises(UserError, match="numbers of images"):
        training.train(config, smaller(dataset))


@pytest.fixture
def folder(tmp_path):
    """A folder of images, `one/imgs`; and `two/imgs`, with the classes the other way round."""
    for root, swapped in (("one", 0), ("two", 1)):
        split = stripes(0, 40)
        for number, (image, label) in enumerate(zip(split.images, split.labels, strict=True)):
            file = tmp_path / root / "imgs" / "ab"[label ^ swapped] / f"{number:02}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(file)
    return tmp_path


def test_a_run_finds_its_data_from_anywhere_and_no_other(folder, monkeypatch):
    monkeypatch.chdir(folder / "one")
    config = Config(
        dataset="folder", data_dir=Path("imgs"), image_size=(8, 8), channels=3, depth=8, steps=1,
        batch_size=8, name="run", resume=True,
    )  # fmt: skip
    train(config)
    run = folder / "one" / config.folder
    here = score(run, "train")
    monkeypatch.chdir(folder / "two")
    assert score(run, "train") == here
    for use in (score, read_run):
        with pytest.raises(UserError, match=r"config\.json: the fingerprints of the images"):
            use(run, data_dir=Path("imgs"))
    monkeypatch.chdir(folder / "one")
    (folder / "one" / "imgs" / "a").rename(folder / "one" / "imgs" / "c")
    before = files(run)
    for use in (train, lambda _: score(run), lambda _: read_run(run)):
        with pytest.raises(UserError, match=r"the class(es|names)? .*b, c|\['b', 'c'\]"):
            use(config)
    assert files(run) == before


def test_numbers_are_class_names_like_any_others(config, dataset):
    classifier = Classifier.load(config.folder / "classifier.safetensors")
    check_fits(classifier, dataset)
    with pytest.raises(UserError, match="the classes of the model are 0, 1, those of any are a, b"):
        check_fits(classifier.replace(class_names=("0", "1")), dataset)


def test_checkpoints_of_another_run_are_refused(config, dataset):
    other = dataclasses.replace(config, name="other", seed=1)
    training.train(other, dataset)
    shutil.rmtree(config.folder / "checkpoints")
    shutil.copytree(other.folder / "checkpoints", config.folder / "checkpoints")
    (config.folder / "result.json").unlink()
    before = files(config.folder)
    with pytest.raises(UserError) as refusal:
        training.train(config, dataset)
    assert "`seed` was 1, is 0" in str(refusal.value)
    assert str(config.folder / "checkpoints") in str(refusal.value)
    assert files(config.folder) == before


def test_a_checkpoint_that_does_not_fit_changes_nothing(config, dataset, monkeypatch):
    def restore(*_):
        raise UserError("another tree")

    monkeypatch.setattr(checkpoints.Checkpoints, "restore", restore)
    (config.folder / "metrics.jsonl").write_text("")
    before = files(config.folder)
    with pytest.raises(UserError, match="another tree"):
        training.train(config, dataset)
    assert files(config.folder) == before


def test_every_start_is_kept_and_what_differs_is_said(config, dataset, monkeypatch, capsys):
    training.train(config, dataset)
    assert "differ" not in capsys.readouterr().err
    cores = environment.environment([])["cores"]
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(cores + 1), raising=False)
    monkeypatch.setenv("XLA_FLAGS", "--some")
    training.train(config, dataset)
    (said,) = (line for line in capsys.readouterr().err.splitlines() if "differ" in line)
    assert f"cores was {cores}, is {cores + 1}" in said
    assert "'XLA_FLAGS': '--some'" in said
    lines = (config.folder / "starts.jsonl").read_text().splitlines()
    starts = [json.loads(line) for line in lines]
    assert [(start["step"], start["cores"]) for start in starts] == [
        (0, cores), (4, cores), (4, cores + 1)
    ]  # fmt: skip
    assert all(start["versions"]["jax"] == jax.__version__ for start in starts)
    first = json.loads((config.folder / "config.json").read_text())["environment"]
    assert first["cores"] == cores


def test_starts_that_are_damaged_are_named(config, dataset):
    (config.folder / "starts.jsonl").write_text("[\n")
    before = files(config.folder)
    with pytest.raises(UserError, match=r"starts\.jsonl is damaged"):
        training.train(config, dataset)
    assert files(config.folder) == before


def test_settings_of_jax_do_not_change_a_run(finished, dataset, tmp_path):
    config = dataclasses.replace(finished, runs_dir=tmp_path)
    with ExitStack() as others:
        for setting in (
            enable_x64(True),
            jax.default_prng_impl("rbg"),
            jax.threefry_partitionable(False),
            jax.default_matmul_precision("bfloat16"),
            jax.numpy_rank_promotion("raise"),
            jax.numpy_dtype_promotion("strict"),
            jax.transfer_guard("disallow_explicit"),
            jax.set_mesh(Mesh(np.array(jax.devices()), ("model",))),
        ):
            others.enter_context(setting)
        training.train(config, dataset)
    assert records(config.folder) == records(finished.folder)
    one, other = (each.folder / "classifier.safetensors" for each in (config, finished))
    assert one.read_bytes() == other.read_bytes()


def test_an_offset_of_all_seeds_is_refused(finished, dataset, tmp_path):
    config = dataclasses.replace(finished, runs_dir=tmp_path)
    jax.config.update("jax_random_seed_offset", 1)
    try:
        with pytest.raises(UserError, match="JAX_RANDOM_SEED_OFFSET is 1, expected 0"):
            training.train(config, dataset)
    finally:
        jax.config.update("jax_random_seed_offset", 0)
    assert not config.folder.exists()


def test_the_first_process_decides_which_checkpoints_there_are(tmp_path, monkeypatch):
    """Another may still see an old listing of a network folder."""
    answers = iter([2, 9, 18])
    monkeypatch.setattr(checkpoints, "first_decides", lambda _: next(answers))
    saved = checkpoints.Checkpoints(tmp_path / "checkpoints", tmp_path / "damaged")
    assert saved.steps == [9, 18]
    saved.close()
