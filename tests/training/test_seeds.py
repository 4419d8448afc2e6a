"""Several seeds at once: each is the run that it would be alone."""

import dataclasses
import json
import os
import shutil
import signal
import statistics
import subprocess
from pathlib import Path

import jax
import pytest
from support import assert_same_run, command, sigterm_at, train

from jax_resnet.data import Split, load
from jax_resnet.errors import UserError
from jax_resnet.run.signals import Interrupted
from jax_resnet.training import begin, turns
from jax_resnet.training.config import Config
from jax_resnet.training.seeds import train_seeds


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """Seeds 1 to 3 over two devices."""
    folder = tmp_path_factory.mktemp("seeds")
    config = Config(
        dataset="digits", depth=8, steps=12, seed=1, seeds=3, runs_dir=folder, name="a run"
    )
    return config, train_seeds(config)


def test_one_run_of_several_seeds_is_refused(tmp_path):
    config = Config(dataset="digits", depth=8, steps=2, seeds=2, runs_dir=tmp_path / "runs")
    with pytest.raises(UserError, match="`seeds` is 1, expected 2 or more: `train` trains one"):
        train_seeds(dataclasses.replace(config, seeds=1))
    with pytest.raises(UserError, match="`seeds` is 2, expected 1: `train_seeds` trains several"):
        train(config)
    assert not config.folder.exists()


def test_each_seed_is_its_single_run(three, tmp_path):
    config, result = three
    assert result["seeds"] == [1, 2, 3]
    assert jax.device_count() > 1
    for seed, name in list(zip(result["seeds"], result["runs"], strict=True))[1:]:
        alone = dataclasses.replace(config, runs_dir=tmp_path, seed=seed, seeds=1, name=name)
        train(alone, devices=jax.devices()[:1])
        assert_same_run(tmp_path / name, config.runs_dir / name)


def test_each_seed_tells_of_its_own_device(three):
    config, result = three
    for name in result["runs"]:
        made = json.loads((config.runs_dir / name / "config.json").read_text())
        assert made["environment"]["devices"] == ["cpu"]
        assert made["environment"]["local_devices"] == jax.local_device_count()


def test_mean_and_std_are_kept(three):
    config, result = three
    written = json.loads((config.runs_dir / "a run-seeds1-3" / "result.json").read_text())
    assert written == result
    each = [
        json.loads((config.runs_dir / name / "result.json").read_text())["best"]["accuracy"]
        for name in result["runs"]
    ]
    assert result["accuracies"] == each
    assert result["mean"] == statistics.mean(each)
    assert result["std"] == statistics.stdev(each)


def test_seeds_that_exist_are_not_overwritten_and_finished_ones_not_run_again(three, capsys):
    config, result = three
    with pytest.raises(UserError, match="a run-seeds1-3 holds the result of several seeds already"):
        train_seeds(config)
    before = {path: path.stat().st_mtime_ns for path in config.runs_dir.glob("*-seed[0-9]/*")}
    assert train_seeds(dataclasses.replace(config, resume=True)) == result
    assert "step" not in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_signal_stops_all_seeds_and_they_go_on(three, tmp_path, monkeypatch):
    whole, result = three
    config = dataclasses.replace(whole, runs_dir=tmp_path, resume=True)
    with sigterm_at(5, monkeypatch), pytest.raises(Interrupted) as stop:
        train_seeds(config)
    assert stop.value.exit_code == 128 + signal.SIGTERM
    assert train_seeds(config) == result
    for name in result["runs"]:
        assert_same_run(tmp_path / name, whole.runs_dir / name)


@pytest.mark.parametrize("devices", [1, 2])
def test_a_seed_that_fails_keeps_no_other_from_its_end(tmp_path, monkeypatch, capsys, devices):
    trained = []

    def train_but_seed_0(runs, **_how):
        ((config, _),) = runs
        if config.seed == 0:
            raise UserError("the loss is not finite: try a lower `learning_rate`")
        trained.append(config.seed)
        return [{}]

    monkeypatch.setattr(turns, "train_together", train_but_seed_0)
    some = jax.devices()[:devices]
    monkeypatch.setattr(jax, "devices", lambda: some)
    with pytest.raises(UserError, match="not finite"):
        train_seeds(Config(dataset="digits", depth=8, seeds=4, runs_dir=tmp_path))
    assert sorted(trained) == [1, 2, 3]
    assert "seed 0: the loss is not finite: try a lower --learning-rate" in capsys.readouterr().err


def test_however_many_seeds_there_are_the_first_begins_at_once(tmp_path, monkeypatch):
    begun = []

    def train_then_stop(runs, devices, signals):
        begun.extend(config.seed for config, _ in runs)
        signals.append(signal.SIGTERM)
        return [{"last": {"accuracy": 0.5}}]

    device = jax.devices()[0]
    monkeypatch.setattr(turns, "train_together", train_then_stop)
    monkeypatch.setattr(jax, "devices", lambda: [device])
    with pytest.raises(Interrupted):
        train_seeds(Config(dataset="digits", depth=8, seeds=2**32, runs_dir=tmp_path))
    assert begun == [0]


@pytest.mark.parametrize("name", ["config.json", "metrics.jsonl", "checkpoints"])
def test_seeds_do_not_replace_the_result_of_a_run_of_their_name(tmp_path, name):
    config = Config(dataset="digits", depth=8, seeds=2, runs_dir=tmp_path, name="s", resume=True)
    (tmp_path / "s-seeds0-1").mkdir()
    (tmp_path / "s-seeds0-1" / name).touch()
    with pytest.raises(UserError, match="s-seeds0-1 holds a run: choose another `name`"):
        train_seeds(config)
    assert [path.name for path in tmp_path.iterdir()] == ["s-seeds0-1"]


def test_a_run_does_not_replace_the_result_of_seeds_of_its_name(three):
    config, _ = three
    single = dataclasses.replace(config, seeds=1, name="a run-seeds1-3", resume=True)
    before = (single.folder / "result.json").read_bytes()
    with pytest.raises(UserError, match=r"config\.json is missing, but .*result\.json exists"):
        train(single)
    assert (single.folder / "result.json").read_bytes() == before


def test_no_mean_is_of_test_and_validation_scores(three):
    config, _ = three
    tuning = dataclasses.replace(config, test=False, resume=True, seeds=2)
    with pytest.raises(UserError, match="a run-seed1 has test scores, which those of valid"):
        train_seeds(tuning)
    assert not (tuning.folder / "result.json").exists()


def test_a_single_run_keeps_its_test_scores_too(three):
    config, _ = three
    tuning = dataclasses.replace(config, test=False, resume=True, seeds=1, name="a run-seed1")
    before = (tuning.folder / "result.json").read_bytes()
    with pytest.raises(UserError, match="a run-seed1 has test scores, which those of valid"):
        train(tuning)
    assert (tuning.folder / "result.json").read_bytes() == before


def test_finished_seeds_of_other_images_are_refused_first(three, monkeypatch):
    config, _ = three
    digits = load("digits")
    other = digits.train.images.copy()
    other[0] ^= 1
    changed = dataclasses.replace(digits, train=Split(other, digits.train.labels))
    monkeypatch.setattr(begin, "load_images", lambda _: changed)
    with pytest.raises(UserError, match=r"a run-seed1.config\.json: the fingerprints"):
        train_seeds(dataclasses.replace(config, seed=0, seeds=4, resume=True))
    assert not (config.runs_dir / "a run-seed0").exists(), "another was trained before"


def test_what_keeps_every_seed_from_training_is_said_once(tmp_path, capsys):
    small = Config(dataset="digits", depth=8, steps=2, runs_dir=tmp_path, name="s", seeds=3)
    for changes, message in (
        ({"init": "nothing"}, "`init`: nothing does not exist"),
        ({"batch_size": 2000}, "`batch_size` 2000 is larger than the data set"),
    ):
        with pytest.raises(UserError, match=message):
            train_seeds(dataclasses.replace(small, **changes))
        assert capsys.readouterr().err == "loading digits\n"
    assert not list(tmp_path.iterdir())


def test_a_file_in_the_place_of_the_common_folder_is_refused_first(tmp_path):
    (tmp_path / "s-seeds0-1").write_text("mine")
    with pytest.raises(UserError, match="s-seeds0-1 is not a folder: choose another `name`"):
        train_seeds(Config(dataset="digits", depth=8, seeds=2, runs_dir=tmp_path, name="s"))
    assert [path.name for path in tmp_path.iterdir()] == ["s-seeds0-1"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [({}, "a run-seed3 holds a run already"),
     ({"resume": True, "depth": 14}, "a run-seed3 holds a run with other hyper-parameters")],
)  # fmt: skip
def test_a_seed_that_exists_is_refused_before_another_is_trained(
    three, tmp_path, monkeypatch, changes, message
):
    config, _ = three
    shutil.copytree(config.runs_dir / "a run-seed3", tmp_path / "a run-seed3")
    before = (tmp_path / "a run-seed3" / "metrics.jsonl").read_bytes()
    monkeypatch.setattr(begin, "load_images", lambda _: pytest.fail("images are loaded"))
    with pytest.raises(UserError, match=message):
        train_seeds(dataclasses.replace(config, runs_dir=tmp_path, **changes))
    assert (tmp_path / "a run-seed3" / "metrics.jsonl").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a run-seed3"]


def test_a_seed_without_its_config_is_named(three, tmp_path):
    config, _ = three
    folder = Path(shutil.copytree(config.runs_dir / "a run-seed2", tmp_path / "a run-seed2"))
    (folder / "config.json").unlink()
    with pytest.raises(UserError, match=r"seed2/config\.json is missing, but .*: put it back"):
        train_seeds(dataclasses.replace(config, runs_dir=tmp_path, resume=True))


def test_a_name_that_is_too_long_for_a_later_seed_is_refused_at_once(tmp_path):
    with pytest.raises(UserError, match=r"`name` is 'bbb.*at most 200 bytes"):
        Config(name="b" * 194, seed=9, seeds=2, runs_dir=tmp_path)


def test_a_mean_says_which_runs_lost_a_better_state(tmp_path, monkeypatch):
    def train_one(runs, **_how):
        ((config, _),) = runs
        scores = {"accuracy": 0.5 + config.seed / 10}
        lost = {"lost_step": 7} if config.seed == 1 else {}
        return [{"last": scores, "best": scores | lost}]

    monkeypatch.setattr(turns, "train_together", train_one)
    config = Config(dataset="digits", depth=8, seeds=3, runs_dir=tmp_path, name="s")
    assert train_seeds(config)["lost_steps"] == {"s-seed1": 7}


@pytest.mark.slow
def test_one_device_takes_one_seed_after_the_other(tmp_path):
    words = command(tmp_path, "--steps", "6", "--seeds", "2")
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "1"}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "over the seeds 0, 1" in done.stdout
    assert done.stderr.index("seed0: 1 x cpu") < done.stderr.index("step      6/6")
    names = {path.name for path in tmp_path.iterdir()}
    name = "resnet-zeropad-8-digits-article-seed"
    assert names == {f"{name}0", f"{name}1", f"{name}s0-1"}
