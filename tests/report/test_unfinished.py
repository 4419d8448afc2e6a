"""The commands take a run that has not finished: its best or else last checkpoint."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest
from PIL import Image
from support import digits, records, sigterm_at, train

from jax_resnet.checksums import seal
from jax_resnet.errors import UserError
from jax_resnet.files import write_json
from jax_resnet.report.models import load_model
from jax_resnet.report.page import read_run, render
from jax_resnet.report.scores import score
from jax_resnet.run.checkpoints import read_checkpoint
from jax_resnet.run.folder import Run
from jax_resnet.run.signals import Interrupted
from jax_resnet.training import unfinished
from jax_resnet.training.unfinished import choose_step


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """A run that was stopped in its third epoch, at step 20 of 24."""
    config = digits(tmp_path_factory.mktemp("runs"), name="run")
    with pytest.MonkeyPatch.context() as patch, sigterm_at(20, patch), pytest.raises(Interrupted):
        train(config)
    return config


@pytest.fixture(scope="module")
def best(config):
    """The line of the best epoch."""
    return max(records(config.folder), key=lambda record: record["validation_accuracy"])


def files(folder):
    return {p: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_the_best_checkpoint_is_scored_and_nothing_is_changed(config, best, call):
    before = files(config.folder)
    code, out, said = call("evaluate.py", config.folder, "--split", "validation", "--json")
    assert code == 0, said
    step = best["step"]
    assert f"has not finished: taking its best checkpoint on validation, step {step} of 24" in said
    assert json.loads(out)["accuracy"] == pytest.approx(best["validation_accuracy"])
    assert json.loads(out)["loss"] == pytest.approx(best["validation_loss"], rel=1e-4)
    assert files(config.folder) == before, "reading a run that may go on has changed its files"


def test_metrics_that_are_missing_are_those_of_the_checkpoint(config, best, tmp_path, capsys):
    shutil.copytree(config.folder, tmp_path / "run")
    (tmp_path / "run" / "metrics.jsonl").unlink()
    assert score(tmp_path / "run", "validation")["accuracy"] == pytest.approx(
        best["validation_accuracy"]
    )
    assert (
        f"taking its best checkpoint on validation, step {best['step']}" in capsys.readouterr().err
    )
    steps = [record["step"] for record in read_run(tmp_path / "run").records]
    assert best["step"] in steps, "the page shows the same metrics"


def test_without_validation_the_last_checkpoint_is_taken(config, tmp_path, monkeypatch, capsys):
    without = dataclasses.replace(config, val_fraction=0, runs_dir=tmp_path)
    with sigterm_at(5, monkeypatch), pytest.raises(Interrupted):
        train(without)
    assert score(without.folder)["count"] == 360
    assert "taking its last checkpoint, step 5 of 24" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"metrics\.jsonl is missing or empty, expected a"):
        read_run(without.folder)


def test_images_are_predicted_and_the_net_is_exported(config, tmp_path, call):
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "zero.png")
    code, out, said = call("predict.py", config.folder, tmp_path / "zero.png", "--json")
    assert (code, len(json.loads(out)["images"])) == (0, 1), said
    assert "has not finished" in said
    code, _, said = call("export.py", config.folder, tmp_path / "model.bin")
    assert code == 0, said
    exported = jax.export.deserialize(bytearray((tmp_path / "model.bin").read_bytes()))
    images = np.zeros((2, 8, 8, 1), np.uint8)
    expected = load_model(config.folder)(images)
    np.testing.assert_allclose(exported.call(images), expected, rtol=1e-4, atol=1e-4)


def test_the_page_says_that_the_run_goes_on(config, best):
    page = render([read_run(config.folder)])
    assert "The run has not finished: 24 steps are planned." in page
    assert f"those of the state at step {best['step']}" in page


def test_a_page_of_runs_with_other_test_images_is_refused(config):
    run = read_run(config.folder)
    with pytest.raises(UserError, match="different test images"):
        render([run, dataclasses.replace(run, name="other", test_images="others")])


def test_a_finished_run_without_its_classifier_is_not_taken_for_one_that_goes_on(config, tmp_path):
    folder = shutil.copytree(config.folder, tmp_path / "run")
    write_json(folder / "result.json", {"last": {"step": 24}})
    with pytest.raises(UserError, match=r"classifier\.safetensors is missing: `resume` the run"):
        load_model(folder)


def test_a_run_for_tuning_shows_no_test_scores(config, tmp_path):
    folder = shutil.copytree(config.folder, tmp_path / "run")
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | {"test": False}))
    with pytest.raises(UserError, match="is trained without `test`: resume it with `test`"):
        read_run(folder)


def test_a_damaged_checkpoint_is_passed_over_and_stays_where_it_is(config, best, tmp_path, capsys):
    folder = shutil.copytree(config.folder, tmp_path / "run")
    checkpoints = folder / "checkpoints"
    (checkpoints / str(best["step"]) / "metrics.jsonl").write_text("{}")
    load_model(folder)
    said = capsys.readouterr().err
    assert f"{checkpoints / str(best['step']) / 'metrics.jsonl'} is damaged" in said
    assert f"step {best['step']} of" not in said
    assert (checkpoints / str(best["step"])).is_dir()
    for checkpoint in checkpoints.iterdir():
        (checkpoint / "metrics.jsonl").write_text("{}")
    with pytest.raises(UserError, match=r"has no good checkpoint: .*damaged"):
        load_model(folder)


def test_a_checkpoint_that_cannot_be_read_now_is_passed_over(config, best, tmp_path, monkeypatch):
    folder = shutil.copytree(config.folder, tmp_path / "run")
    real = unfinished.find_damage

    def fail(path):
        if path.name == str(best["step"]):
            raise UserError(f"{path} can't be read: Stale file handle")
        return real(path)

    monkeypatch.setattr(unfinished, "find_damage", fail)
    assert choose_step(Run(folder)) == (20, "its last checkpoint")


def test_a_line_whose_checkpoint_is_being_written_is_not_lost(config, best, tmp_path, capsys):
    folder = shutil.copytree(config.folder, tmp_path / "run")
    line = best | {"step": 24, "validation_accuracy": 1.0}
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
    load_model(folder)
    said = capsys.readouterr().err
    assert f"taking its best checkpoint on validation, step {best['step']} of 24" in said


def test_a_checkpoint_that_is_deleted_while_it_is_read_is_told_from_an_old_one(tmp_path):
    with pytest.raises(UserError, match=r"checkpoints/3 is there no more: .* try again"):
        read_checkpoint(tmp_path / "checkpoints" / "3", {})


def test_a_checkpoint_with_other_arrays_is_refused(config, tmp_path):
    folder = shutil.copytree(config.folder, tmp_path / "run")
    for file in [folder / "config.json", *folder.glob("checkpoints/*/config.json")]:
        file.write_text(json.dumps(json.loads(file.read_text()) | {"depth": 14}))
    for checkpoint in folder.glob("checkpoints/*"):
        seal(checkpoint)
    with pytest.raises(UserError, match=r"checkpoints/\d+ can't be read, or another version of"):
        load_model(folder)


def test_a_checkpoint_of_another_run_is_refused(config, best, tmp_path):
    folder = shutil.copytree(config.folder, tmp_path / "run")
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | {"learning_rate": 0.3}))
    with pytest.raises(UserError, match=r"`learning_rate` was 0\.1, is 0\.3"):
        load_model(folder)


def test_data_that_has_moved_is_said_to_be_needed(config, call, tmp_path):
    """By commands that have no flag for it."""
    folder, gone = shutil.copytree(config.folder, tmp_path / "run"), tmp_path / "gone"
    file = folder / "config.json"
    images = {"dataset": "folder", "data_dir": str(gone), "image_size": [8, 8], "channels": 1}
    file.write_text(json.dumps(json.loads(file.read_text()) | images))
    for words in (["predict.py", folder, tmp_path], ["export.py", folder, tmp_path / "new"]):
        code, _, stderr = call(*words)
        assert code == 2
        assert f"{folder} has not finished, and the data whose mean and std its model" in stderr
        assert f"its data_dir is {gone}, which is not a folder" in stderr
        assert "--data-dir" not in stderr, "the command has no such flag"
