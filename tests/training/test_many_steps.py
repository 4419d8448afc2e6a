"""The accelerators' loop, many steps in a dispatch, as `train` runs it: here on CPU devices."""

import dataclasses
from functools import partial

import jax
import numpy as np
import pytest
from support import assert_same_run, records, sigterm_at, train

from jax_resnet import Classifier
from jax_resnet.run.signals import Interrupted
from jax_resnet.training import programs
from jax_resnet.training import train as training
from jax_resnet.training.config import Config, load_dataset
from jax_resnet.training.programs import device_data, init_state, make_mesh

# Three epochs of nine steps of 128 images, cut short: 20 steps.
CONFIG = Config(dataset="digits", depth=8, steps=20, learning_rate=0.002, name="whole")


@pytest.fixture(scope="module", params=["loop", pytest.param("graph", marks=pytest.mark.slow)])
def dispatch(request):
    return request.param


@pytest.fixture(autouse=True)
def many_steps(monkeypatch, dispatch):
    """Dispatches of up to four steps."""
    monkeypatch.setattr(programs, "MAX_STEPS", 4)
    many = partial(programs.make_programs, dispatch=dispatch)
    monkeypatch.setattr(training, "make_programs", many)


@pytest.fixture(scope="module")
def config(tmp_path_factory, dispatch):
    return dataclasses.replace(CONFIG, runs_dir=tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def by_single_steps(tmp_path_factory):
    """The folder of the same run, a step a dispatch."""
    config = dataclasses.replace(CONFIG, runs_dir=tmp_path_factory.mktemp("runs"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "make_programs", programs.make_programs)
        train(config)
    return config.folder


@pytest.fixture
def whole(config, many_steps):
    """The folder of the uninterrupted run."""
    if not (config.folder / "result.json").exists():
        train(config)
    return config.folder


def test_epochs_end_where_they_should_and_are_validated(whole):
    lines = records(whole)
    assert [line["step"] for line in lines] == [9, 18, 20]
    assert all(0 <= line["validation_accuracy"] <= 1 for line in lines)
    assert lines[-1]["train_loss"] < lines[0]["train_loss"]


# At the end of an epoch, and a step before that of the next.
@pytest.mark.parametrize("at", [pytest.param(9, marks=pytest.mark.slow), 17])
def test_a_signal_costs_no_step_and_resuming_gives_the_same_bits(
    config, whole, tmp_path, monkeypatch, at
):
    stopped = dataclasses.replace(config, runs_dir=tmp_path, resume=True)
    with sigterm_at(at, monkeypatch) as seen, pytest.raises(Interrupted):
        train(stopped)
    assert seen[-1] == at, f"dispatches ended at {seen}"
    train(stopped)
    assert_same_run(tmp_path / "whole", whole)


def assert_close(ours, theirs):
    """The same lines but for rounding, which grows from step to step."""
    for one, other in zip(ours, theirs, strict=True):
        assert one["step"] == other["step"]
        assert one["train_loss"] == pytest.approx(other["train_loss"], rel=1e-3)
        assert one["gradient_norms"] == pytest.approx(other["gradient_norms"], rel=2e-2)


@pytest.mark.slow  # test_devices.py compares one device and two with single steps
def test_one_device_and_two_give_the_same_up_to_rounding(config, whole, tmp_path):
    assert jax.device_count() > 1
    train(dataclasses.replace(config, runs_dir=tmp_path), devices=jax.devices()[:1])
    assert_close(records(tmp_path / "whole"), records(whole))


def test_single_steps_give_the_same_up_to_rounding(whole, by_single_steps):
    assert_close(records(by_single_steps), records(whole))
    ours, theirs = (
        Classifier.load(folder / "classifier.safetensors").variables
        for folder in (by_single_steps, whole)
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-3), ours, theirs)


def test_a_dispatch_is_four_single_steps_up_to_rounding(config, dispatch):
    dataset, mesh = load_dataset(config), make_mesh()
    data = device_data(dataset.train, config.normalization, mesh)
    ends = []
    for each in (dispatch, "step"):
        made = programs.make_programs(config, len(dataset.train), mesh, each)
        state = init_state(config, dataset.num_classes, dataset.image_shape, mesh)
        totals = made.zeros()
        while int(state.step) < 4:
            epoch = made.draw_epoch(config.seed, int(state.step))
            state, totals = made.advance(state, totals, data, epoch)
        ends.append(jax.device_get(state.variables))
    # More steps let rounding grow: an activation near 0 passes a ReLU in one run alone.
    jax.tree.map(partial(np.testing.assert_allclose, atol=2e-6), *ends)
