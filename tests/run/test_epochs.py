"""What is written and drawn when an epoch of a run ends."""

import json
import shutil
import time

from support import digits, train

from jax_resnet.run.checkpoints import saved_step
from jax_resnet.training import curves, loop


def test_the_first_epochs_speed_leaves_out_the_compilation(tmp_path, monkeypatch):
    compile_, clock = loop.compile_ahead, {"late": 0.0}

    def compile_for_an_hour(*arguments):
        compile_(*arguments)
        clock["late"] = 3600.0

    real = time.monotonic
    monkeypatch.setattr(loop, "compile_ahead", compile_for_an_hour)
    monkeypatch.setattr(loop.time, "monotonic", lambda: real() + clock["late"])
    train(digits(tmp_path, name="a"))
    first, *_ = (tmp_path / "a" / "metrics.jsonl").read_text().splitlines()
    speed = json.loads(first)["images_per_second"]
    assert speed > 9 * 128 / 3600, f"{speed} images/s include the compilation"


def test_each_epochs_record_is_handed_over_when_it_is_written(tmp_path):
    config = digits(tmp_path, name="a")
    seen = []

    def look(record):
        lines = (tmp_path / "a" / "metrics.jsonl").read_text().splitlines()
        assert json.loads(lines[-1]) == record, "the record is not yet in metrics.jsonl"
        assert saved_step(tmp_path / "a" / "checkpoints"), "the record comes before its checkpoint"
        seen.append(record["step"])

    train(config, on_epoch=look)
    assert seen == [9, 18, 24]


def test_a_checkpoint_that_somebody_deletes_ends_no_run(tmp_path):
    checkpoints, accuracies = tmp_path / "a" / "checkpoints", {}

    def delete_the_first(record):
        if record["step"] == 18:
            shutil.rmtree(checkpoints / "9")
        accuracies[record["step"]] = record["validation_accuracy"]

    train(digits(tmp_path, name="a"), on_epoch=delete_the_first)
    assert max(accuracies, key=accuracies.__getitem__) != 9, "the first would not be deleted"
    assert saved_step(checkpoints) == 24


def test_a_picture_that_cannot_be_drawn_stops_no_epoch(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(curves, "SECONDS", 0.0)
    picture, seen = tmp_path / "a" / "curves.png", []

    def look(record):
        if not seen:
            picture.unlink()
            picture.mkdir()
        elif len(seen) == 2:
            picture.rmdir()
        seen.append(record["step"])

    train(digits(tmp_path, name="a"), on_epoch=look)
    assert seen == [9, 18, 24]
    assert f"{picture} can't be drawn" in capsys.readouterr().err
    assert picture.is_file()


def test_whatever_keeps_a_picture_from_being_drawn_stops_no_run(tmp_path, monkeypatch, capsys):
    def fail(*arguments):
        raise RuntimeError("no font was found")

    monkeypatch.setattr(curves, "SECONDS", 0.0)
    monkeypatch.setattr(curves, "draw_curves", fail)
    train(digits(tmp_path, name="a"))
    assert (tmp_path / "a" / "result.json").is_file()
    assert "curves.png can't be drawn: no font was found" in capsys.readouterr().err


def test_the_curves_are_drawn_again_at_each_epochs_end(tmp_path, monkeypatch):
    monkeypatch.setattr(curves, "SECONDS", 0.0)
    picture, seen = tmp_path / "a" / "curves.png", []
    train(digits(tmp_path, name="a"), on_epoch=lambda _: seen.append(picture.read_bytes()))
    assert len(seen) == 3
    assert len({*seen}) == 3, "an epoch's end has left curves.png as it was"
