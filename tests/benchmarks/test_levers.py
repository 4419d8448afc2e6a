"""The tried changes of the recipe `fast`: without any it is the recipe; each one has its effect."""

import dataclasses
import json
import sys
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import levers
import numpy as np
import optax
import pytest

from jax_resnet import Classifier, ResNet, UserError, pretrained
from jax_resnet.data import Dataset, Split, load, split_validation, statistics
from jax_resnet.training import batches, optimizer, programs
from jax_resnet.training.recipes import RECIPES
from jax_resnet.training.step import TrainState

CONFIG = dataclasses.replace(RECIPES["fast"], depth=8, steps=100, batch_size=4)


RNG = np.random.default_rng(0)
PARAMS = {
    "stem_conv": {"kernel": (3, 3, 3, 4)},
    "stem_norm": {"scale": (4,), "bias": (4,)},
    "stage1": {"block1": {"conv1": {"kernel": (3, 3, 4, 8)}}},
    "head": {"kernel": (8, 10), "bias": (10,)},
}


def floats(shape):
    return jnp.asarray(RNG.normal(size=shape), jnp.float32)


@pytest.fixture(scope="module")
def params():
    return jax.tree.map(floats, PARAMS, is_leaf=lambda shape: isinstance(shape, tuple))


def updates(tx, params):
    """The updates of two like steps."""

    @jax.jit
    def steps(params):
        opt_state = tx.init(params)
        opt_state = tx.update(params, opt_state, params)[1]
        return tx.update(params, opt_state, params)[0]

    return steps(params)


def test_without_a_change_the_optimizer_is_the_recipes(params):
    ours = updates(levers.make_optimizer([], CONFIG), params)
    recipes = updates(optimizer.make_optimizer(CONFIG), params)
    jax.tree.map(
        lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-6), ours, recipes
    )


@pytest.mark.parametrize(
    ("word", "changed"),
    {
        "split": {"head", "stem_norm"},
        "whiten": {"stem_conv"},
        "stem": {"stem_conv"},
        "power": {*PARAMS},
        "filters": {"stage1"},
        "equal": {"stage1"},
    }.items(),
)
def test_a_change_of_the_optimizer_changes_these_updates(word, changed, params):
    ours = updates(levers.make_optimizer([word], CONFIG), params)
    recipes = updates(optimizer.make_optimizer(CONFIG), params)
    same = jax.tree.map(lambda one, other: np.allclose(one, other, rtol=1e-5), ours, recipes)
    assert {part for part in PARAMS if not all(jax.tree.leaves(same[part]))} == changed


def test_a_whitening_stem_makes_uncorrelated_channels(monkeypatch):
    pixels = RNG.integers(0, 200, (50, 10, 10, 1)) + RNG.integers(0, 50, (50, 10, 10, 3))
    smooth = (pixels[:, :8, :8] + pixels[:, 2:, 2:]) // 2
    split = Split(smooth.astype(np.uint8), np.zeros(50, np.int32))
    names = tuple("abcdefghij")
    dataset = Dataset("random", split, split, split, names, flippable=True)
    monkeypatch.setattr(levers, "load_dataset", lambda config: dataset)
    levers.whitening_kernel.cache_clear()
    kernel = levers.whitening_kernel(CONFIG)
    np.testing.assert_allclose(kernel[..., :8], -kernel[..., 8:])
    windows = np.lib.stride_tricks.sliding_window_view(
        smooth / smooth.std(axis=(0, 1, 2)), (3, 3), (1, 2)
    )
    channels = np.einsum("nhwcij,ijco->onhw", windows, kernel[..., :8]).reshape(8, -1)
    np.testing.assert_allclose(np.corrcoef(channels), np.eye(8), atol=1e-4)


def test_a_block_begins_as_its_shortcut():
    start = levers.start(["zero"], CONFIG, 10, (8, 8, 3), programs.make_mesh())
    block = start.params["stage1"]["block1"]
    assert not block["norm2"]["scale"].any()
    assert block["norm1"]["scale"].all()


def test_brightness_and_contrast_change_image_by_image():
    images, keys = jnp.full((4, 8, 8, 3), 100, jnp.uint8), jax.random.split(jax.random.key(0), 3)
    arguments = images, jnp.zeros(4, bool), *keys, jnp.zeros(3), jnp.ones(3)
    fields = {"pad": 1, "pad_mode": "reflect", "flip": "none", "cutout": "none"}
    means = levers.jitter(batches.augment, *arguments, **fields).mean(axis=(1, 2, 3))
    assert len({*map(float, means)}) == 4
    assert abs(means - 100 / 255).max() < 0.1 + 0.1 * 100 / 255


def test_half_the_loss_of_distillation_is_the_teachers():
    def linear(variables, images, **kw):
        logits = images.reshape(len(images), -1) @ variables["params"]["head"]
        return (logits, {"batch_stats": {}}) if kw else logits

    images, labels, ours, teachers = (
        floats((4, 1, 1, 2)),
        jnp.arange(4),
        floats((2, 5)),
        floats((2, 5)),
    )
    variables = {"params": {"head": ours}}
    state = TrainState.create(
        apply_fn=linear, params=variables["params"], tx=optax.sgd(0.1), batch_stats={}
    )
    teacher = SimpleNamespace(
        model=SimpleNamespace(apply=linear), variables={"params": {"head": teachers}}
    )
    new, metrics = levers.distilled_step(teacher, state, images, labels)
    x = images.reshape(4, 2)
    hard = -jax.nn.log_softmax(x @ ours)[labels, labels].mean()
    soft = -(jax.nn.softmax(x @ teachers / 2) * jax.nn.log_softmax(x @ ours / 2)).sum(1).mean()
    np.testing.assert_allclose(metrics["loss"], hard / 2 + 4 * soft / 2, rtol=1e-5)
    assert levers.distilled_step(teacher, new, images, labels)[1]["loss"] < metrics["loss"]


@pytest.mark.slow
def test_a_run_is_named_after_its_changes(monkeypatch, capsys, tmp_path):
    changed = [(programs, "make_optimizer"), (programs, "make_step"), (batches, "augment")]
    for module, name in [*changed, (levers.train, "init_state")]:
        monkeypatch.setattr(module, name, getattr(module, name))  # so that they are put back
    monkeypatch.setattr(levers.configs, "split_validation", split_validation)
    words = "levers.py split zero nocrop jitter --seed 20 --dataset digits --depth 8 --steps 3"
    words += f" --batch-size 14 --validation-seed 3 --runs-dir {tmp_path}"
    monkeypatch.setattr(sys, "argv", words.split())
    levers.command()
    assert "validation accuracy" in capsys.readouterr().out
    run = tmp_path / "fast-split-zero-nocrop-jitter-validation3-seed20"
    assert (run / "result.json").exists()
    environment = json.loads((run / "config.json").read_text())["environment"]
    theirs = split_validation(load("digits"), 0.1, 3).identity()
    assert environment["fingerprints"] == theirs["fingerprints"], "other validation images"
    programs._make_init.cache_clear()
    programs._make_programs.cache_clear()


@pytest.mark.slow
def test_a_run_goes_on_with_its_own_teacher_only(monkeypatch, tmp_path):
    patched = [(programs, "train_step"), (levers.train, "identity"), (levers.train, "check_suits")]
    for module, name in patched:
        monkeypatch.setattr(module, name, getattr(module, name))  # so that they are put back
    net = {"image_shape": (8, 8, 1), "tx": optax.sgd(0.1)}
    for seed in (0, 1):
        state = TrainState.init(jax.random.key(seed), ResNet(8, 10, "zeropad"), **net)
        mean_std = statistics(load("digits").train.images, "channel")
        names = tuple("0123456789")
        teacher = Classifier(state.variables, *mean_std, ResNet(8, 10, "zeropad"), names)
        teacher.save(tmp_path / f"{seed}.safetensors")
    words = f"levers.py distill --seed 20 --dataset digits --depth 8 --steps 3 --batch-size 14 \
        --runs-dir {tmp_path} --teacher {tmp_path}/"
    monkeypatch.setattr(sys, "argv", f"{words}0.safetensors".split())
    levers.command()
    monkeypatch.setattr(sys, "argv", f"{words}1.safetensors".split())
    with pytest.raises(SystemExit, match="2"):
        levers.command()
    programs._make_programs.cache_clear()


def test_a_teacher_of_other_images_is_refused():
    teacher, digits = pretrained("resnet20-zeropad"), load("digits")
    with pytest.raises(UserError, match="takes images of 3 channels, digits has"):
        levers.check_suits_both(teacher, lambda *_: None, CONFIG, digits)


def test_a_teacher_that_normalizes_otherwise_is_refused():
    digits = load("digits")
    mean, std = statistics(digits.train.images, "channel")
    state = TrainState.init(jax.random.key(0), ResNet(8, 10), optax.sgd(0.1), (8, 8, 1))
    teacher = Classifier(state.variables, mean, std, ResNet(8, 10), digits.class_names, (8, 8))
    levers.check_suits_both(teacher, lambda *_: None, CONFIG, digits)
    for other in (teacher.replace(std=std * 4), teacher.replace(mean=np.zeros((8, 8, 1)))):
        with pytest.raises(UserError, match="had other images, or another `normalization`"):
            levers.check_suits_both(other, lambda *_: None, CONFIG, digits)


@pytest.mark.parametrize(
    ("words", "expected"),
    {
        "blur": "no change is named blur",
        "distill": "expected --teacher with distill",
        "split --teacher resnet20-zeropad": "expected --teacher with distill, and with nothing",
        "distill --teacher nothing": "nothing does not exist",
        "split --steps 0": "--steps is 0",
        "split --name mine": "--name is mine, expected none",
        "split --validation-seed -1": "--validation-seed is -1, expected a number from 0",
        "split --optimizer sgd": "expected --optimizer muon",
        "distill --teacher resnet20-zeropad --cutout dual": "--cutout is dual, expected none",
        "distill --teacher resnet20-zeropad --seeds 2": "--seeds is 2, expected 1",
    }.items(),
)
def test_words_that_do_not_fit_are_refused(words, expected, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["levers.py", *words.split()])
    with pytest.raises(SystemExit, match="2"):
        levers.command()
    assert expected in capsys.readouterr().err
