"""A run in a hostile world: signals anywhere, a full disk, no permission, another process."""

import contextlib
import dataclasses
import errno
import os
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support import assert_same_run, digits, run_command, train

from jax_resnet.cli import main
from jax_resnet.data.cifar.tfds import read_tfds
from jax_resnet.errors import UserError
from jax_resnet.files import locked
from jax_resnet.run.signals import Interrupted, raise_signals
from jax_resnet.training import train as training


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished run of two epochs and a bit."""
    config = digits(tmp_path_factory.mktemp("runs"), name="whole")
    train(config)
    return config


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize(
    "where",
    [
        "make_programs",
        pytest.param("start_from", marks=pytest.mark.slow),
        pytest.param("evaluate", marks=pytest.mark.slow),
        "finish",
    ],
)
def test_a_signal_outside_the_loop_ends_the_run_and_it_goes_on(
    whole, tmp_path, monkeypatch, where, number
):
    config = dataclasses.replace(whole, runs_dir=tmp_path, resume=True)
    real = getattr(training, where)

    def interrupted(*arguments, **keywords):
        os.kill(os.getpid(), number)
        return real(*arguments, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(training, where, interrupted)
        with pytest.raises(Interrupted) as stop:
            train(config)
    assert stop.value.exit_code == 128 + number
    if where != "make_programs":
        train(config)
        assert_same_run(tmp_path / "whole", whole.runs_dir / "whole")
    else:
        assert not (tmp_path / "whole").exists(), "nothing was begun"


def test_a_signal_while_cifar_is_read_is_no_damage(tmp_path, monkeypatch):
    (tmp_path / "cifar10-train.array_record-0").touch()

    def interrupted(*_arguments, **_keywords):
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("array_record.python.array_record_module.ArrayRecordReader", interrupted)
    with pytest.raises(Interrupted), raise_signals():
        read_tfds(tmp_path)


def test_a_file_that_may_not_be_read_is_named_by_every_command(capsys, monkeypatch):
    def command(_words):
        raise PermissionError(errno.EACCES, "Permission denied", "/root/run")

    monkeypatch.setattr("jax_resnet.cli.evaluate.command", command)
    monkeypatch.setattr(sys, "argv", ["evaluate.py"])
    with pytest.raises(SystemExit, match="2"):
        main("evaluate")
    assert capsys.readouterr().err == "error: [Errno 13] Permission denied: '/root/run'\n"


def test_a_lock_can_be_waited_for_by_another_thread(tmp_path):
    with ThreadPoolExecutor() as pool:
        with locked(tmp_path):
            waiting = pool.submit(lambda: locked(tmp_path, wait=True).__enter__())
            time.sleep(0.2)
            assert not waiting.done()
        waiting.result(timeout=10)


def test_a_second_process_is_refused(whole, tmp_path):
    config = dataclasses.replace(whole, runs_dir=tmp_path)
    (tmp_path / "whole").mkdir()
    with (
        locked(tmp_path / "whole"),
        pytest.raises(UserError, match="whole is in use by another process"),
    ):
        train(config)


def test_a_dead_process_holds_no_lock(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from jax_resnet.files import locked\n"
        "with locked(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE)
    assert other.stdout.readline() == b"held\n"
    with pytest.raises(UserError, match="in use by another process"), locked(tmp_path):
        pass
    other.kill()
    other.wait()
    with locked(tmp_path):
        pass


@pytest.fixture
def unprivileged():
    """A folder of its own for a user who is not root, and how to become that user."""

    @contextlib.contextmanager
    def as_nobody():
        if os.geteuid() != 0:
            yield
            return
        os.seteuid(65534)
        try:
            yield
        finally:
            os.seteuid(0)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        yield folder, as_nobody


def test_folders_without_permission_are_named(unprivileged, whole):
    folder, as_nobody = unprivileged
    config = dataclasses.replace(whole, runs_dir=folder / "runs")
    folder.chmod(0o555)
    with as_nobody(), pytest.raises(UserError, match=r"runs/whole can't be written: .*Permission"):
        train(config)
    folder.chmod(0o777)
    assert not list(folder.iterdir()), "nothing is left behind"


def test_a_run_folder_that_became_read_only_is_named(unprivileged, whole):
    folder, as_nobody = unprivileged
    config = dataclasses.replace(whole, runs_dir=folder, resume=True)
    with as_nobody():
        train(dataclasses.replace(config, resume=False))
        (folder / "whole" / "lock").chmod(0o444)
        (folder / "whole").chmod(0o555)
    with as_nobody(), pytest.raises(UserError, match=r"whole can't be written: .*Permission"):
        train(config)
    (folder / "whole").chmod(0o777)


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 1 MiB: too small for two checkpoints."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1M", "none", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a small tmpfs can't be mounted here: it takes root")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def test_a_full_disk_is_named_and_what_was_saved_is_good(small_disk, whole):
    config = dataclasses.replace(whole, runs_dir=small_disk)
    with pytest.raises(UserError, match="No space left") as stop:
        train(config)
    assert "can't be written" in str(stop.value)
    subprocess.run(["mount", "-o", "remount,size=64M", small_disk], check=True)
    train(dataclasses.replace(config, resume=True))
    assert_same_run(small_disk / "whole", whole.runs_dir / "whole")


@pytest.mark.slow
def test_a_full_disk_is_one_message(small_disk):
    (small_disk / "fill").write_bytes(bytes(900_000))
    done = run_command(small_disk, "--steps", "20", "--name", "run")
    _, announcement, *_, message = done.stderr.splitlines()
    assert (done.returncode, announcement[:5]) == (2, "run: ")
    assert message.startswith(f"error: {small_disk / 'run' / 'checkpoints' / '18'} can't be writ")


def test_a_second_signal_ends_at_once_and_leaves_the_checkpoint_before(whole, tmp_path):
    """The first comes in the second epoch, the other while that is being saved."""
    code = f"""
import os, signal
from pathlib import Path
from jax_resnet.run import checkpoints
from jax_resnet.training import loop
from jax_resnet.training.config import Config, load_dataset
from jax_resnet.training.train import train

update, replace_file = loop.Progress.update, checkpoints.replace_file

def stop(self, step, totals):
    update(self, step, totals)
    if step == 12:
        os.kill(os.getpid(), signal.SIGTERM)

def stop_again(path, content):
    if path.parent.name == "12":
        os.kill(os.getpid(), signal.SIGTERM)
    replace_file(path, content)

loop.Progress.update, checkpoints.replace_file = stop, stop_again
config = Config(dataset="digits", depth=8, steps=24, runs_dir=Path({str(tmp_path)!r}), name="whole")
train(config, load_dataset(config))
"""
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "2"}
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment)
    assert done.returncode == -signal.SIGTERM, done.stderr.decode()
    assert time.monotonic() - started < 120
    train(dataclasses.replace(whole, runs_dir=tmp_path, resume=True))
    assert_same_run(tmp_path / "whole", whole.runs_dir / "whole")
