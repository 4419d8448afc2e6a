"""The command `train` as a program: help, messages, exit codes."""

import subprocess
import sys

import pytest
from support import SCRIPTS

from jax_resnet.cli import main
from jax_resnet.cli.train import parse_config
from jax_resnet.training.config import Config


def test_main_prints_one_line_and_exits_with_2(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["train.py", "--depth", "9"])
    with pytest.raises(SystemExit) as stop:
        main("train")
    assert stop.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: --depth is 9")
    assert printed.err.count("\n") == 1


def test_help_names_every_flag_with_its_default(capsys):
    with pytest.raises(SystemExit, match=r"None|0"):
        parse_config(["--help"])
    text = capsys.readouterr().out
    for name in [*vars(Config()), "config"]:
        assert f"--{name.replace('_', '-')}" in text
    assert "(default: 64000)" in text
    assert "pixels" in text


def test_bad_usage_leaves_no_folder_behind(tmp_path):
    script = SCRIPTS / "train.py"
    words = ["--dataset", "digits", "--batch-size", "100000", "--steps", "9", "--name", "ü b"]
    command = [sys.executable, script, *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: --batch-size 100000")
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_stops_early_sees_no_traceback():
    script = SCRIPTS / "train.py"
    help_ = subprocess.Popen(
        [sys.executable, script, "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    help_.stdout.close()
    assert "Traceback" not in help_.stderr.read().decode()
    assert help_.wait() == 141
