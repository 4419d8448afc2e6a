"""`scripts/compare.py`: every run is trained once; figures and a table compare them."""

import dataclasses
import json
import signal
import statistics
from functools import partial
from pathlib import Path
from typing import get_args

import pytest

from jax_resnet.cli.compare import Compare, configs
from jax_resnet.cli.flags import parse
from jax_resnet.errors import UserError
from jax_resnet.files import write_json
from jax_resnet.model import PARTS, ShortcutName
from jax_resnet.report import comparison_figures
from jax_resnet.report.comparison import Group, collect, table
from jax_resnet.report.comparison_figures import draw_comparison
from jax_resnet.training.config import Config
from jax_resnet.training.recipes import RECIPES

FIGURES = {
    "train_loss.png",
    "validation_loss.png",
    "train_accuracy.png",
    "validation_accuracy.png",
    "test_accuracy.png",
    "gradient_norms.png",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Of the runs that all tests of this file share."""
    return tmp_path_factory.mktemp("compare")


@pytest.fixture
def compare(call, folder):
    """Runs the script on tiny nets; its exit code, stdout and stderr."""
    words = ["--dataset", "digits", "--depths", "8", "--steps", "24"]
    words += ["--variants", "cnn", "zeropad"]
    return partial(
        call, "compare.py", *words, "--runs-dir", folder / "runs", "--out", folder / "out"
    )


def test_runs_are_trained_once_and_drawn_together(compare, folder):
    code, stdout, _ = compare("--seeds", "0")
    assert code == 0
    runs = sorted((folder / "runs").iterdir())
    assert len(runs) == 2
    assert {path.name for path in (folder / "out").iterdir()} == FIGURES | {"table.md"}
    assert (folder / "out" / "table.md").read_text() == stdout
    result = json.loads((folder / "runs/cnn-8-digits-article-seed0/result.json").read_text())
    assert f"| cnn | 8 | 1 | {result['best']['accuracy']:.4f} |" in stdout
    before = {path: path.stat().st_mtime_ns for run in runs for path in run.iterdir()}
    *_, stderr = compare("--seeds", "0")
    assert stderr.count("is finished") == 2
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_signal_while_images_are_loaded_says_how_to_go_on(compare, monkeypatch):
    monkeypatch.setattr(
        "jax_resnet.training.begin.load_images", lambda _: signal.raise_signal(signal.SIGINT)
    )
    code, _, stderr = compare("--seeds", "5")
    assert code == 128 + signal.SIGINT
    assert stderr.endswith("SIGINT: the same command continues\n")


def test_variants_can_be_chosen(compare):
    compare("--seeds", "0")
    code, stdout, stderr = compare("--seeds", "0", "--variants", "cnn")
    assert code == 0
    assert stderr.count("is finished") == 1
    assert [line.split(" | ")[0] for line in stdout.splitlines()[2:]] == ["| cnn"]


def group(variant, depth, accuracies, dataset="cifar10", recipe="article"):
    return Group(dataset, recipe, variant, depth, accuracies=accuracies)


def test_the_table_has_means_and_standard_deviations_over_seeds():
    accuracies = [0.91, 0.92, 0.915]
    mean, std = statistics.mean(accuracies), statistics.stdev(accuracies)
    lines = table([group("zeropad", 20, accuracies), group("cnn", 56, [0.9])])
    assert "| the article, 64,000 steps | the paper, 64,000 steps |" in lines
    assert f"| zeropad | 20 | 3 | {mean:.4f} ± {std:.4f} | 0.8990 |  |" in lines
    assert "| cnn | 56 | 1 | 0.9000 |  |  |" in lines


def test_published_accuracies_stand_beside_the_same_net_on_cifar10_only():
    paper, digits = group("subsample", 20, [0.91]), group("zeropad", 20, [0.97], dataset="digits")
    assert "| subsample | 20 | 1 | 0.9100 |  | 0.9125 |" in table([paper])
    assert "| zeropad | 20 | 1 | 0.9700 |  |  |" in table([digits])


def write_run(folder, accuracy=0.9, **fields):
    """A finished run on digits, without training."""
    config = Config(dataset="digits", depth=8, name=folder.name, **fields)
    folder.mkdir(parents=True)
    write_json(folder / "config.json", config.to_json())
    correct = round(10 * accuracy)
    scores = {"step": 1, "count": 10, "correct": correct, "accuracy": accuracy, "loss": 1.0}
    write_json(folder / "result.json", {"last": scores})
    norms = dict.fromkeys(PARTS, 1.0)
    record = {"step": 1, "train_loss": 1.0, "train_accuracy": 0.5, "gradient_norms": norms}
    record |= {"learning_rate": 0.1, "images_per_second": 100.0, "epoch": 0.1}
    (folder / "metrics.jsonl").write_text(json.dumps(record) + "\n")
    return folder


@pytest.mark.parametrize("shortcut", [*get_args(ShortcutName), None])
def test_runs_that_differ_in_their_seeds_are_a_group(tmp_path, shortcut):
    fields = {"model": "resnet" if shortcut else "cnn", "shortcut": shortcut}
    folders = [
        write_run(tmp_path / str(seed), accuracy, seed=seed, **fields)
        for seed, accuracy in enumerate((0.8, 0.9))
    ]
    (found,) = collect(folders)
    assert (found.variant, found.accuracies) == (shortcut or "cnn", [0.8, 0.9])


@pytest.mark.parametrize("seeds", [1, 3])
def test_one_seed_and_several_are_drawn(tmp_path, seeds):
    folders = [write_run(tmp_path / str(seed), 0.9, seed=seed) for seed in range(seeds)]
    (found,) = collect(folders)
    with_published = dataclasses.replace(found, dataset="cifar10", depth=20)
    paths = draw_comparison([found, with_published], tmp_path)
    assert {path.name for path in paths} == {name for name in FIGURES if "validation" not in name}


def test_a_curve_of_one_point_is_seen(tmp_path, monkeypatch):
    """A line through one point is nothing."""
    (found,) = collect([write_run(tmp_path / "run")])
    drawn = []
    monkeypatch.setattr(comparison_figures, "write_figure", lambda figure, _: drawn.append(figure))
    draw_comparison([found], tmp_path)
    lines = [line for figure in drawn for axes in figure.axes for line in axes.lines]
    assert len(lines) == 2 + 1 + len(PARTS), "two curves, an accuracy, and each part's norm"
    assert all(line.get_marker() != "None" for line in lines)


def test_a_picture_from_before_is_removed(tmp_path):
    (found,) = collect([write_run(tmp_path / "run")])
    (tmp_path / "validation_loss.png").write_bytes(b"of an earlier comparison")
    draw_comparison([found], tmp_path)
    assert not (tmp_path / "validation_loss.png").exists()


def test_runs_whose_epochs_end_at_other_steps_are_not_averaged(tmp_path):
    folders = [write_run(tmp_path / str(seed), seed=seed) for seed in (0, 1)]
    record = json.loads((folders[1] / "metrics.jsonl").read_text())
    result = json.loads((folders[1] / "result.json").read_text())
    (folders[1] / "metrics.jsonl").write_text(json.dumps(record | {"step": 2}) + "\n")
    write_json(folders[1] / "result.json", {"last": result["last"] | {"step": 2}})
    with pytest.raises(UserError, match="can't be averaged: their epochs end at other steps"):
        collect(folders)


def test_runs_of_different_recipes_are_not_averaged(tmp_path):
    folders = [
        write_run(tmp_path / recipe, accuracy, recipe=recipe)
        for recipe, accuracy in (("article", 0.8), ("fast", 0.9))
    ]
    groups = collect(folders)
    assert "| article zeropad | 8 | 1 | 0.8000 |" in table(groups)
    assert "| fast zeropad | 8 | 1 | 0.9000 |" in table(groups)
    draw_comparison(groups, tmp_path)
    assert (tmp_path / "test_accuracy.png").exists()


def test_runs_of_a_recipe_with_different_hyper_parameters_are_refused(tmp_path):
    folders = [write_run(tmp_path / str(n), seed=n, steps=n) for n in (1, 2)]
    with pytest.raises(UserError, match="`steps` is 1 and 2"):
        collect(folders)


def test_gradients_before_the_first_step_are_kept(compare, folder):
    compare("--seeds", "0")
    norms = json.loads(
        (folder / "runs/cnn-8-digits-article-seed0/initial_gradient_norms.json").read_text()
    )
    assert norms.keys() == set(PARTS)
    assert all(norm > 0 for norm in norms.values())


def test_a_finished_run_without_them_is_not_trained_again(compare, folder):
    compare("--seeds", "0")
    run = folder / "runs/cnn-8-digits-article-seed0"
    initial, result = run / "initial_gradient_norms.json", run / "result.json"
    norms, trained = initial.read_bytes(), result.stat().st_mtime_ns
    initial.unlink()
    compare("--seeds", "0")
    assert initial.read_bytes() == norms
    assert result.stat().st_mtime_ns == trained


def test_a_finished_run_with_other_hyper_parameters_is_refused(compare, folder):
    compare("--seeds", "0")
    code, _, stderr = compare("--seeds", "7", "0", "--steps", "13")
    assert code == 2
    assert not list((folder / "runs").glob("*-seed7")), "another was trained before"
    assert "--steps was 24, is 13" in stderr
    assert "--runs-dir" in stderr
    assert "--name" not in stderr, "compare has no such flag"
    assert "--init" not in stderr, "compare has no such flag"
    *_, stderr = compare("--muon-momentum", "0.5")
    assert "with this --recipe" in stderr
    assert "--optimizer" not in stderr, "compare has no such flag"


def test_a_run_that_lost_its_best_state_is_named(compare, folder):
    compare("--seeds", "0")
    result = folder / "runs" / "cnn-8-digits-article-seed0" / "result.json"
    scores = json.loads(result.read_text())
    write_json(result, scores | {"best": scores["best"] | {"lost_step": 7}})
    *_, stderr = compare("--seeds", "0")
    assert f"{result.parent}: the checkpoint of step 7, better on validation, is lost" in stderr
    write_json(result, scores)


def test_a_home_in_the_folder_of_pictures_is_the_users(compare, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert compare("--seeds", "0", "--out=~/out")[0] == 0
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == FIGURES | {"table.md"}


def test_flags_replace_values_of_the_recipe():
    words = "--learning-rate 0.03 --muon-momentum 0.5 --label-smoothing 0.2 --recipe fast"
    every = list(configs(parse(Compare, words.split())))
    assert len(every) == 9, "three nets, three seeds"
    for config in every:
        assert (config.learning_rate, config.muon_momentum) == (0.03, 0.5)
        assert (config.label_smoothing, config.recipe) == (0.2, "fast")
        assert config.steps == RECIPES["fast"].steps


def test_nets_depths_and_seeds_are_those_asked_for():
    words = "--variants cnn subsample --depths 8 14 --seeds 3"
    every = configs(parse(Compare, words.split()))
    assert [(config.shortcut, config.depth, config.seed) for config in every] == [
        (None, 8, 3), ("subsample", 8, 3), (None, 14, 3), ("subsample", 14, 3)
    ]  # fmt: skip


def test_bad_depths_are_refused_before_any_training(compare):
    code, _, stderr = compare("--depths", "8", "21", "--out", "never")
    assert code == 2
    assert "--depths is 21, expected 6n + 2" in stderr
    code, _, stderr = compare("--seeds", str(2**32), "--out", "never")
    assert code == 2
    assert f"--seeds is {2**32}, expected" in stderr
    assert not Path("never").exists()
