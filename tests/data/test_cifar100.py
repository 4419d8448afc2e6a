"""CIFAR-100 with the same commands as CIFAR-10, on data of its shape."""

import json

import numpy as np
import pytest


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """The original binary version's files, with images of noise."""
    folder = tmp_path_factory.mktemp("data") / "cifar-100-binary"
    folder.mkdir()
    for file, count in (("train.bin", 50_000), ("test.bin", 10_000)):
        records = np.random.default_rng(0).integers(0, 256, (count, 3074), np.uint8)
        records[:, 1] = np.arange(count) % 100
        records[:, 0] = records[:, 1] // 5
        records.tofile(folder / file)
    return folder.parent


@pytest.mark.slow
def test_the_same_commands_take_cifar100(call, data_dir, tmp_path):
    flags = ["--dataset", "cifar100", "--data-dir", data_dir, "--depth", 8, "--steps", 2]
    flags += ["--batch-size", 16, "--val-fraction", 0.01, "--runs-dir", tmp_path, "--name", "run"]
    assert "of 500" in call("train.py", *flags, "--no-test")[1]
    run = tmp_path / "run"
    scores = json.loads(call("evaluate.py", run, "--split", "validation", "--json")[1])
    result = json.loads((run / "result.json").read_text())
    assert (scores["count"], scores["correct"]) == (500, result["best"]["correct"])


@pytest.mark.slow
def test_compare_and_report_take_cifar100(call, data_dir, tmp_path):
    flags = ["--dataset", "cifar100", "--data-dir", data_dir, "--depths", 8, "--steps", 2]
    flags += ["--seeds", 0, "--batch-size", 16, "--runs-dir", tmp_path, "--out", tmp_path / "out"]
    assert "| conv1x1 | 8 | 1 |" in call("compare.py", *flags)[1]
    run = tmp_path / "cnn-8-cifar100-article-seed0"
    call("report.py", run, "--out", tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert page.count("name 99</th>") == 2, "a row and a column of the confusion"
