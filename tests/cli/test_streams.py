"""What a terminal gets: text that it can show, on streams that may be closed."""

import errno
import io
import os
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest
from support import command

from jax_resnet.cli import main
from jax_resnet.cli.predict import as_table
from jax_resnet.errors import UserError, printable


@pytest.fixture(autouse=True)
def interrupt():
    """The commands let Ctrl-C end the process; the tests are not to be left so."""
    old = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, old)


@pytest.fixture
def run(monkeypatch):
    """Runs `work` as a command; its exit code."""

    def end(work):
        monkeypatch.setattr("jax_resnet.cli.evaluate.command", lambda _: work())
        monkeypatch.setattr(sys, "argv", ["evaluate.py"])
        try:
            main("evaluate")
        except SystemExit as stop:
            return stop.code
        return 0

    return end


def fail(error):
    raise error


def test_control_characters_are_escaped():
    assert printable("a\x1b]0;x\x07\n\r\x9b\u202eb\u2028\udcff") == (
        r"a\x1b]0;x\x07\n\r\x9b\u202eb\u2028\udcff"
    )
    assert printable("Ärger, 漢字, 👩‍👩‍👧") == "Ärger, 漢字, 👩‍👩‍👧"


def test_an_error_shows_names_escaped_and_keeps_its_own_lines(run, capsys):
    assert run(lambda: fail(UserError("bad files:\n  \x1b[2Ja\nb\n  `data_dir`"))) == 2
    assert capsys.readouterr().err == "error: bad files:\n  \\x1b[2Ja\\nb\n  --data-dir\n"


def test_a_row_of_predictions_is_one_line():
    rows = as_table(["a\nb.png", "c.png"], ["cat\x1b[31m", "dog"], np.array([[0.9, 0.1]] * 2))
    assert [row.split()[:3] for row in rows] == [
        [r"a\nb.png", r"cat\x1b[31m", "90.0%"],
        ["c.png", r"cat\x1b[31m", "90.0%"],
    ]


@pytest.mark.parametrize(
    ("encoding", "expected"), [("ascii", rb"\xb1 \u6f22"), ("cp1252", b"\xb1 \\u6f22")]
)
def test_text_is_printed_in_any_encoding(run, monkeypatch, encoding, expected):
    stdout = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stdout)
    assert run(lambda: print("± 漢", flush=True)) == 0
    assert stdout.buffer.getvalue().strip() == expected


def test_a_closed_stderr_is_not_replaced_by_stdout(run, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stderr", None)
    assert run(lambda: fail(UserError("no"))) == 2
    assert capsys.readouterr().out == ""


@pytest.mark.slow
def test_a_run_without_stderr_ends_well(tmp_path):
    words = command(tmp_path, "--steps", "2", "--name", "run")
    done = subprocess.run(["sh", "-c", '"$@" 2>&-', "sh", *words], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.startswith("last (step 2)")


@pytest.mark.parametrize("error", [RuntimeError("Unable to initialize backend"), AssertionError()])
def test_a_platform_that_is_not_there_is_named(run, monkeypatch, capsys, error):
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    monkeypatch.setattr(jax, "devices", lambda: fail(error))
    assert run(jax.devices) == 2
    assert capsys.readouterr().err.startswith("error: JAX finds no device with JAX_PLATFORMS=cuda")


def test_a_default_device_that_is_not_there_is_named(run, monkeypatch, capsys):
    monkeypatch.setenv("JAX_DEFAULT_DEVICE", "gpu")
    monkeypatch.setattr(jax, "device_put", lambda _: fail(RuntimeError("Unknown backend")))
    assert run(lambda: fail(RuntimeError("Unknown backend"))) == 2
    assert "no device with JAX_DEFAULT_DEVICE=gpu: Unknown" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("number", "message"),
    [(errno.ENOSPC, "stdout can't be written: No space left on device"),
     (errno.ENOENT, "the current folder does not exist any more")],
)  # fmt: skip
def test_an_error_of_no_file_says_of_what_it_is(run, monkeypatch, capsys, number, message):
    monkeypatch.setattr("jax_resnet.cli.discard_stdout", lambda: None)
    assert run(lambda: fail(OSError(number, os.strerror(number)))) == 2
    assert capsys.readouterr().err == f"error: {message}\n"


@pytest.mark.parametrize("stdout", ["| true", "> /dev/full"])
def test_help_that_nobody_can_read_ends_without_a_traceback(stdout):
    words = f"{sys.executable} -m jax_resnet --help {stdout}; exit 0"
    done = subprocess.run(["sh", "-c", words], capture_output=True, text=True, check=True)
    assert "Traceback" not in done.stderr


def test_another_error_keeps_its_traceback(run):
    with pytest.raises(RuntimeError, match="a bug"):
        run(lambda: fail(RuntimeError("a bug")))
