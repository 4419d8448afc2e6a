"""Files of a run that are of another shape: one message that names the file."""

import json

import pytest

from jax_resnet.errors import UserError
from jax_resnet.files import write_json
from jax_resnet.model import PARTS
from jax_resnet.report.comparison import INITIAL, collect
from jax_resnet.report.finished import read_finished
from jax_resnet.training.config import Config

SCORES = {"step": 1, "count": 10, "correct": 9, "accuracy": 0.9, "loss": 1.0}
RECORD = {
    "step": 1,
    "train_loss": float("nan"),  # a loss may be no number
    "train_accuracy": 0.5,
    "learning_rate": 0.1,
    "gradient_norms": dict.fromkeys(PARTS, 1.0),
    "images_per_second": 100.0,
    "epoch": 0.2,
}


@pytest.fixture
def folder(tmp_path):
    """Of a finished run of one step."""
    config = Config(dataset="digits", depth=8, name="run", runs_dir=tmp_path)
    config.folder.mkdir()
    write_json(config.folder / "config.json", config.to_json())
    write_json(config.folder / "result.json", {"last": SCORES})
    (config.folder / "metrics.jsonl").write_text(json.dumps(RECORD) + "\n")
    write_json(config.folder / INITIAL, RECORD["gradient_norms"])
    return config.folder


def test_a_finished_run_is_read(folder):
    records, result = read_finished(folder)
    assert ([record["step"] for record in records], result) == ([1], {"last": SCORES})
    assert collect([folder])[0].accuracies == [0.9]


@pytest.mark.parametrize(
    "result",
    [
        "last",
        [],
        {},
        {"last": 0.9},
        {"last": SCORES | {"accuracy": "0.9"}},
        {"last": SCORES | {"accuracy": float("nan")}},
        {"last": SCORES | {"accuracy": 0.99}},
        {"last": SCORES | {"count": 0}},
        {"last": SCORES, "best": SCORES | {"correct": 8}},
        {"last": SCORES | {"step": 10**30}},
        {"last": SCORES, "best": {"step": 1}},
    ],
)
def test_a_result_of_another_shape_is_damaged(folder, result):
    write_json(folder / "result.json", result)
    for read in (read_finished, lambda folder: collect([folder])):
        with pytest.raises(UserError, match=r"result\.json is damaged"):
            read(folder)


@pytest.mark.parametrize(
    "record",
    [
        [],
        {"step": 1},
        RECORD | {"step": "1"},
        RECORD | {"train_loss": None},
        RECORD | {"images_per_second": -1},
        RECORD | {"images_per_second": 0.0},
        RECORD | {"step": 2},
        RECORD | {"gradient_norms": {"head": 1.0}},
        RECORD | {"gradient_norms": [1.0]},
    ],
)
def test_metrics_of_another_shape_are_damaged(folder, record):
    (folder / "metrics.jsonl").write_text(json.dumps(record) + "\n")
    with pytest.raises(UserError, match=r"metrics\.jsonl is damaged"):
        read_finished(folder)


EPOCHS = [RECORD | {"step": step, "epoch": step / 9.5} for step in (10, 19, 29, 33)]


@pytest.mark.parametrize("missing", range(4))
def test_metrics_with_a_line_missing_are_damaged(folder, missing):
    write_json(folder / "result.json", {"last": SCORES | {"step": 33}})
    file, lines = folder / "metrics.jsonl", [json.dumps(record) + "\n" for record in EPOCHS]
    file.write_text("".join(lines))
    assert len(read_finished(folder)[0]) == 4
    file.write_text("".join([*lines[:missing], *lines[missing + 1 :]]))
    with pytest.raises(UserError, match=r"metrics\.jsonl is damaged: its (line|last line)"):
        read_finished(folder)


def test_metrics_with_a_score_missing_are_damaged(folder):
    write_json(folder / "result.json", {"last": SCORES | {"step": 33}})
    lines = [record | {"validation_loss": 1.0} for record in EPOCHS[:3]] + EPOCHS[3:]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(UserError, match="is damaged: not all lines have validation_loss"):
        read_finished(folder)


def test_a_run_without_a_result_has_not_finished(folder):
    (folder / "result.json").unlink()
    with pytest.raises(UserError, match="has not finished: `resume` the run"):
        read_finished(folder)


def test_no_metrics_are_no_finished_run(folder):
    (folder / "metrics.jsonl").unlink()
    with pytest.raises(UserError, match="no finished run"):
        read_finished(folder)


def test_gradient_norms_of_another_shape_are_damaged(folder):
    write_json(folder / INITIAL, {"head": 1.0})
    with pytest.raises(UserError, match=f"{INITIAL} is damaged"):
        collect([folder])
