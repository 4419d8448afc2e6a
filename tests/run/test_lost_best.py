"""A run whose best checkpoint is lost says so, and calls no other the best."""

import dataclasses
import json

import pytest
from striped import files

from jax_resnet.errors import UserError
from jax_resnet.run.signals import Interrupted
from jax_resnet.training import divergence
from jax_resnet.training import train as training

SCORES = {"count": 10, "correct": 5, "loss": 1.0}


def test_every_damaged_checkpoint_is_kept(config, dataset):
    for damage in (b"first", b"second", b"third"):
        (config.folder / "checkpoints" / "4" / "metrics.jsonl").write_bytes(damage)
        training.train(config, dataset)
    kept = {
        path.name: (path / "metrics.jsonl").read_bytes()
        for path in (config.folder / "damaged").iterdir()
    }
    assert kept == {"4": b"first", "4-2": b"second", "4-3": b"third"}


@pytest.fixture
def validated(monkeypatch):
    """Sets the validation accuracies of the next epochs; a `None` stops the run after it."""

    def set_accuracies(*accuracies, signals=None):
        left = iter(accuracies)

        def evaluate(*_):
            accuracy = next(left, 0.5)
            if accuracy is None:
                signals.append(15)
            return SCORES | {"accuracy": accuracy or 0.1}

        monkeypatch.setattr(divergence, "evaluate", evaluate)

    return set_accuracies


def damage_best(folder):
    (folder / "checkpoints" / "2" / "metrics.jsonl").write_bytes(b"")


def test_a_finished_run_keeps_its_result_when_the_best_checkpoint_is_damaged(
    finished, tmp_path, dataset, validated
):
    config = dataclasses.replace(finished, runs_dir=tmp_path, steps=8)
    validated(0.9, 0.4, 0.3, 0.2)
    assert training.train(config, dataset)["best"]["step"] == 2
    damage_best(config.folder)
    before = files(config.folder)
    for _ in range(2):
        with pytest.raises(UserError, match="is finished, and the checkpoint of step 2, the best"):
            training.train(config, dataset)
        assert files(config.folder) == before


def test_the_second_best_is_never_called_the_best_alone(
    finished, tmp_path, dataset, validated, capsys
):
    config = dataclasses.replace(finished, runs_dir=tmp_path, steps=8)
    validated(0.9, 0.4, 0.3, 0.2)
    training.train(config, dataset)
    damage_best(config.folder)
    (config.folder / "result.json").unlink()
    best = training.train(config, dataset)["best"]
    assert (best["step"], best["lost_step"]) == (6, 2)
    assert json.loads((config.folder / "result.json").read_text())["best"] == best
    lost = "the checkpoint of step 2, the best on validation, is damaged or missing"
    assert capsys.readouterr().err.count(lost) == 2, "at the start and at the end"


def test_a_lost_best_that_is_overtaken_is_no_loss(finished, tmp_path, dataset, validated, capsys):
    config, signals = dataclasses.replace(finished, runs_dir=tmp_path, steps=8), []
    validated(0.4, 0.3, None, signals=signals)
    with pytest.raises(Interrupted):
        training.train(config, dataset, signals=signals)
    damage_best(config.folder)
    validated(0.9)
    best = training.train(config, dataset)["best"]
    assert best["step"] == 8
    assert "lost_step" not in best
    assert "the run continues without it" in capsys.readouterr().err
