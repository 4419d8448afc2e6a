"""`scripts/compare.py`: every run made once, pictures, and a table."""

import json
import runpy
import statistics
import sys
from pathlib import Path

import pytest

from jax_resnet.report.comparison import Group, table

SCRIPT = Path(__file__).parents[1] / "scripts" / "compare.py"
PICTURES = {
    "train_loss.png",
    "validation_loss.png",
    "train_accuracy.png",
    "validation_accuracy.png",
    "test_accuracy.png",
    "gradient_norms.png",
}


@pytest.fixture(scope="module")
def compare(tmp_path_factory):
    """Runs the script on tiny nets; its folder, exit code, stdout and stderr."""
    folder = tmp_path_factory.mktemp("compare")

    def call(capsys, *more):
        words = ["--dataset", "digits", "--depths", "8", "--steps", "12", "--batch-size", "64"]
        words += ["--runs-dir", folder / "runs", "--out", folder / "out", *more]
        code = 0
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["compare.py", *map(str, words)])
            try:
                runpy.run_path(str(SCRIPT), run_name="__main__")
            except SystemExit as stop:
                code = stop.code
        return folder, code, *capsys.readouterr()

    return call


def test_runs_are_made_once_and_drawn_together(compare, capsys):
    folder, code, stdout, _ = compare(capsys, "--seeds", "0")
    assert code == 0
    runs = sorted((folder / "runs").iterdir())
    assert len(runs) == 3
    assert {path.name for path in (folder / "out").iterdir()} == PICTURES | {"table.md"}
    assert (folder / "out" / "table.md").read_text() == stdout
    result = json.loads((folder / "runs/cnn-8-digits-article-seed0/result.json").read_text())
    assert f"| cnn | 8 | 1 | {result['best']['accuracy']:.4f} |" in stdout
    before = {path: path.stat().st_mtime_ns for run in runs for path in run.iterdir()}
    *_, stderr = compare(capsys, "--seeds", "0")
    assert stderr.count("is finished") == 3
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_some_of_the_nets_alone(compare, capsys):
    compare(capsys, "--seeds", "0")
    _, code, stdout, stderr = compare(capsys, "--seeds", "0", "--variants", "cnn", "zeropad")
    assert code == 0
    assert stderr.count("is finished") == 2
    assert [line.split(" | ")[0] for line in stdout.splitlines()[2:]] == ["| cnn", "| zeropad"]


def test_the_table_has_means_and_deviations_over_seeds():
    accuracies = [0.91, 0.92, 0.915]
    mean, deviation = statistics.mean(accuracies), statistics.stdev(accuracies)
    lines = table([Group("zeropad", 20, [], accuracies, []), Group("cnn", 56, [], [0.9], [])])
    assert f"| zeropad | 20 | 3 | {mean:.4f} ± {deviation:.4f} | 0.8990 | 0.9125 |" in lines
    assert "| cnn | 56 | 1 | 0.9000 |  |  |" in lines


def test_what_was_published_of_cifar10_stands_beside_cifar10_only():
    lines = table([Group("zeropad", 20, [], [0.97], [], dataset="digits")])
    assert "| zeropad | 20 | 1 | 0.9700 |  |  |" in lines


def test_gradients_before_the_first_step_are_kept(compare, capsys):
    folder, *_ = compare(capsys, "--seeds", "0")
    norms = json.loads(
        (folder / "runs/cnn-8-digits-article-seed0/initial_gradient_norms.json").read_text()
    )
    assert norms.keys() >= {"stem_conv", "stage1", "stage2", "stage3", "head"}
    assert all(norm > 0 for norm in norms.values())


def test_a_finished_run_without_them_is_looked_at_not_trained_again(compare, capsys):
    folder, *_ = compare(capsys, "--seeds", "0")
    run = folder / "runs/cnn-8-digits-article-seed0"
    initial, result = run / "initial_gradient_norms.json", run / "result.json"
    norms, trained = initial.read_bytes(), result.stat().st_mtime_ns
    initial.unlink()
    compare(capsys, "--seeds", "0")
    assert initial.read_bytes() == norms
    assert result.stat().st_mtime_ns == trained


def test_a_finished_run_of_another_kind_is_refused(compare, capsys):
    compare(capsys, "--seeds", "0")
    _, code, _, stderr = compare(capsys, "--seeds", "0", "--steps", "13")
    assert code == 2
    assert "--steps was 12, is 13" in stderr


def test_values_replace_the_recipes(compare, capsys):
    flags = ["--learning-rate", "0.03", "--muon-momentum", "0.5", "--label-smoothing", "0.2"]
    flags += ["--seeds", "0", "--variants", "cnn", "--recipe", "fast"]
    folder, code, *_ = compare(capsys, *flags)
    assert code == 0
    config = json.loads((folder / "runs/cnn-8-digits-fast-seed0/config.json").read_text())
    assert (config["learning_rate"], config["muon_momentum"]) == (0.03, 0.5)
    assert config["label_smoothing"] == 0.2
    _, code, _, stderr = compare(capsys, *flags, "--label-smoothing", "0")
    assert code == 2
    assert "--label-smoothing was 0.2, is 0" in stderr


def test_bad_depths_are_refused_before_anything_is_run(compare, capsys):
    _, code, _, stderr = compare(capsys, "--depths", "8", "21", "--out", "never")
    assert code == 2
    assert "--depth is 21" in stderr
    assert not Path("never").exists()
