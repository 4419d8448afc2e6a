"""Signals are noted while JAX runs, and answered between its calls."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from support import command, digits, train

from jax_resnet.cli import train as cli
from jax_resnet.errors import UserError
from jax_resnet.run.signals import Interrupted, raise_signals, stop_signals
from jax_resnet.training import train as training

STOPS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.mark.parametrize("number", STOPS)
def test_a_signal_is_noted_and_raises_nothing(number, capsys):
    old = signal.getsignal(number)
    with stop_signals() as caught:
        os.kill(os.getpid(), number)
        assert caught == [number]
        left = [signal.getsignal(each) for each in STOPS]
        assert left == [signal.SIG_DFL, signal.SIG_DFL, signal.SIG_IGN], "a terminal hangs up twice"
    assert signal.getsignal(number) is old
    said = capsys.readouterr().err
    assert number.name in said
    assert "saved" not in said


def test_a_thread_is_told_how_it_can_be_stopped(tmp_path):
    with ThreadPoolExecutor(1) as pool, pytest.raises(UserError, match="`train` a list, `signals`"):
        pool.submit(train, digits(tmp_path, name="a")).result()
    assert not (tmp_path / "a").exists()


def test_nohup_stays_in_force():
    old = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_signals() as caught:
            os.kill(os.getpid(), signal.SIGHUP)
        assert not caught
    finally:
        signal.signal(signal.SIGHUP, old)


def test_a_signal_within_a_destructor_ends_the_loading_too(monkeypatch):
    """Python drops what is raised there."""
    dropped = []
    monkeypatch.setattr(sys, "unraisablehook", lambda what: dropped.append(what.exc_type))

    class Held:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGTERM)

    def load():
        with raise_signals():
            held = Held()
            del held
            assert dropped == [Interrupted]

    with pytest.raises(Interrupted, match="SIGTERM"):
        load()


@pytest.mark.parametrize(
    ("where", "words"), [("start_from", "nothing saved"), ("finish", "saved in")]
)
@pytest.mark.parametrize("number", [signal.SIGHUP])
def test_only_what_was_saved_is_said_to_be(tmp_path, monkeypatch, capsys, where, words, number):
    real = getattr(training, where)

    def interrupted(*arguments, **keywords):
        os.kill(os.getpid(), number)
        return real(*arguments, **keywords)

    monkeypatch.setattr(training, where, interrupted)
    flags = command(tmp_path, "--steps", "60", "--name", "run")[2:]
    with pytest.raises(SystemExit) as stop:
        cli.command(flags)
    assert stop.value.code == 128 + number
    assert words in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("number", STOPS)
@pytest.mark.parametrize("delay", [0.3, 1.2])
def test_a_signal_while_xla_compiles_ends_the_run(tmp_path, number, delay):
    words = command(tmp_path, "--steps", "20000", "--name", "run")
    environment = os.environ | {"JAX_ENABLE_COMPILATION_CACHE": "false"}
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=environment)
    while not (tmp_path / "run" / "config.json").exists():
        assert process.poll() is None
        time.sleep(0.02)
    time.sleep(delay)
    process.send_signal(number)
    said = process.communicate(timeout=100)[1]
    assert process.returncode == 128 + number, said
    saved = any((tmp_path / "run").glob("checkpoints/*/sha256.json"))
    assert ("saved in" in said) == saved
