"""Several runs in one program, as on a GPU: each is the run that it would be alone, up to
rounding."""

import signal
import threading
import time

import jax
import numpy as np
import pytest
from support import assert_same_run, records, sigterm_at, train

from jax_resnet import Classifier
from jax_resnet.errors import UserError
from jax_resnet.run.signals import Interrupted
from jax_resnet.training import turns
from jax_resnet.training.config import Config
from jax_resnet.training.seeds import train_seeds

pytestmark = pytest.mark.skipif(
    jax.__version_info__ < (0, 8),
    reason="JAX 0.7 can't vmap the gradient of a CPU's convolution; GPUs have one of their own",
)


@pytest.fixture(autouse=True)
def together(monkeypatch):
    """As on one GPU."""
    device = turns.jax.devices()[0]
    monkeypatch.setattr(turns.jax, "devices", lambda: [device])
    monkeypatch.setattr(turns, "turn_size", lambda devices, count: min(count, turns.MAX_RUNS))


def runs(folder, **fields) -> Config:
    return Config(dataset="digits", depth=8, steps=12, seeds=3, runs_dir=folder, **fields)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The same three seeds, each in a program of its own."""
    folder = tmp_path_factory.mktemp("alone")
    for run in runs(folder).each_seed():
        train(run, devices=turns.jax.devices()[:1])
    return folder


def assert_close(folder, other) -> None:
    """Both have the same run, up to rounding."""
    pairs = list(zip(records(folder), records(other), strict=True))
    assert pairs, f"{folder} has no records"
    for a, b in pairs:
        assert (a["step"], a["epoch"]) == (b["step"], b["epoch"])
        for name in ("train_loss", "validation_loss"):
            assert a[name] == pytest.approx(b[name], rel=1e-3), f"{name} at step {a['step']}"
    nets = [Classifier.load(each / "classifier.safetensors") for each in (folder, other)]
    kernels = [np.asarray(net.variables["params"]["stem_conv"]["kernel"]) for net in nets]
    np.testing.assert_allclose(*kernels, atol=1e-3)


def test_each_seed_is_its_single_run_up_to_rounding(tmp_path, alone):
    config = runs(tmp_path)
    result = train_seeds(config)
    assert result["seeds"] == [0, 1, 2]
    for run in config.each_seed():
        assert_close(run.folder, alone / run.run_name)
    losses = {records(run.folder)[0]["train_loss"] for run in config.each_seed()}
    assert len(losses) == 3, "the seeds have one loss"


def test_seeds_that_were_stopped_go_on_together_to_the_same_bits(tmp_path, monkeypatch):
    whole, stopped = (runs(tmp_path / name, resume=True) for name in ("whole", "stopped"))
    train_seeds(whole)
    with sigterm_at(5, monkeypatch), pytest.raises(Interrupted):
        train_seeds(stopped)
    train_seeds(stopped)
    for one, other in zip(whole.each_seed(), stopped.each_seed(), strict=True):
        assert_same_run(one.folder, other.folder)


def test_a_signal_that_another_thread_receives_stops_all_seeds(tmp_path, monkeypatch):
    """The thread that Python calls handlers in waits for those that train, and must look up."""
    from jax_resnet.training import loop

    update = loop.Progress.update

    def signal_this_thread(progress, step, totals):
        update(progress, step, totals)
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM if step == 5 else 0)
        time.sleep(0.3)

    monkeypatch.setattr(loop.Progress, "update", signal_this_thread)
    with pytest.raises(Interrupted):
        train_seeds(runs(tmp_path))


def test_seeds_that_have_reached_different_steps_end_the_same(tmp_path, alone, monkeypatch):
    config = runs(tmp_path, resume=True)
    first, second, _ = config.each_seed()
    train(first, devices=turns.jax.devices()[:1])
    with sigterm_at(5, monkeypatch), pytest.raises(Interrupted):
        train(second, devices=turns.jax.devices()[:1])
    train_seeds(config)
    for run in config.each_seed():
        assert_close(run.folder, alone / run.run_name)


def test_a_seed_whose_loss_is_not_finite_keeps_no_other_from_its_end(tmp_path, monkeypatch):
    from jax_resnet.training import loop

    check = loop.check_finite

    def check_but_seed_1(training, state, totals):
        if training.config.seed == 1:
            raise UserError("the loss is not finite")
        check(training, state, totals)

    monkeypatch.setattr(loop, "check_finite", check_but_seed_1)
    config = runs(tmp_path)
    with pytest.raises(UserError, match="the loss is not finite"):
        train_seeds(config)
    finished = [(run.folder / "result.json").exists() for run in config.each_seed()]
    assert finished == [True, False, True]
