"""Several processes, one run: as one process has it, and an end for all when one is lost."""

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import nullcontext

import jax
import numpy as np
import pytest
from PIL import Image
from support import command, records, train

from jax_resnet import Classifier
from jax_resnet.cli.train import parse_config
from jax_resnet.errors import UserError
from jax_resnet.run import distributed
from jax_resnet.run.cluster import in_a_cluster, join

# A low rate: a high one would amplify the float32 rounding that differs between processes.
FLAGS = ("--steps", "45", "--learning-rate", "0.002", "--name", "run")  # 18 steps an epoch
SECONDS = 30  # until a process ends whose peer is gone


def start(folder, *flags, of_each=([], []), where=(None, None)):
    """Two processes with a device each, perhaps with flags and working directories of their own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    words = command(folder, *FLAGS, *flags, "--coordinator", address, "--num-processes", "2")
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "1"}
    return [
        subprocess.Popen(
            [*words, "--process-id", str(i), *of_each[i]], env=environment, cwd=where[i],
            text=True, bufsize=1, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for i in range(2)
    ]  # fmt: skip


def alone(folder, *flags):
    """One process, this one, with its two devices."""
    assert jax.device_count() == 2
    train(parse_config([*map(str, command(folder, *FLAGS, *flags)[2:])]))


def wait_for(process, start_of_line):
    for line in process.stderr:
        if line.startswith(start_of_line):
            return
    pytest.fail(f"the process ended without a line {start_of_line!r}")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    alone(folder)
    return folder / "run"


def assert_close(one, other):
    ours, theirs = records(one), records(other)
    assert [line["step"] for line in ours] == [line["step"] for line in theirs]
    for line, expected in zip(ours, theirs, strict=True):
        for name in ("train_loss", "validation_loss"):
            np.testing.assert_allclose(line[name], expected[name], rtol=1e-3, err_msg=name)
    results = [json.loads((run / "result.json").read_text())["last"] for run in (one, other)]
    assert results[0]["count"] == results[1]["count"] == 360
    assert abs(results[0]["correct"] - results[1]["correct"]) <= 2


@pytest.mark.slow
def test_two_processes_make_the_run_of_one(whole, tmp_path):
    first, second = start(tmp_path)
    (said, progress), (silence, nothing) = first.communicate(), second.communicate()
    assert (first.returncode, second.returncode) == (0, 0), progress + nothing
    assert "2 x cpu (cpu) in 2 processes" in progress
    assert "step     45/45" in progress
    assert "test accuracy" in said
    for line in (silence + nothing).splitlines():
        assert line.startswith("[Gloo]"), f"only the first process speaks, not: {line}"
    assert_close(tmp_path / "run", whole)


@pytest.mark.parametrize("lost", [1, pytest.param(0, marks=pytest.mark.slow)])
def test_when_one_is_killed_the_other_says_so_and_one_alone_goes_on(whole, tmp_path, capsys, lost):
    both = start(tmp_path)
    wait_for(both[0], "step     18/")
    both[lost].kill()
    began = time.monotonic()
    _, said = both[1 - lost].communicate(timeout=SECONDS)
    assert both[1 - lost].returncode == 1, said
    assert time.monotonic() - began < SECONDS
    assert "another process has ended; start all of them again" in said.replace(
        ", or can't be reached", ""
    )
    assert "Traceback" not in said
    both[lost].communicate()
    capsys.readouterr()
    alone(tmp_path, "--resume")
    assert "at step 18" in capsys.readouterr().err
    assert_close(tmp_path / "run", whole)


@pytest.mark.slow
@pytest.mark.parametrize("odd", ["test", "train"])
def test_processes_with_other_images_are_refused(tmp_path, odd):
    for i, split, name in itertools.product(range(2), ("train", "test", "val"), "ab"):
        folder = tmp_path / str(i) / split / name
        folder.mkdir(parents=True)
        for value in range(64):
            gray = value + (i if split == odd else 0)
            Image.new("L", (8, 8), gray).save(folder / f"{value}.png")
    flags = ["--dataset", "folder", "--image-size", "8", "8", "--channels", "1"]
    data = [["--data-dir", str(tmp_path / str(i))] for i in range(2)]
    for process in start(tmp_path, *flags, of_each=data):
        _, said = process.communicate(timeout=SECONDS)
        assert process.returncode == 2, said
        assert "the processes were given different images, expected the same in all" in said
        assert "Traceback" not in said
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_processes_with_other_weights_are_refused(whole, tmp_path):
    net = Classifier.load(whole / "classifier.safetensors")
    folders = [tmp_path / "0", tmp_path / "1"]
    for number, folder in enumerate(folders):
        folder.mkdir()
        other = jax.tree.map(lambda x, number=number: x + number, net.variables)
        net.replace(variables=other).save(folder / "net.safetensors")
    for process in start(tmp_path, "--init", "net.safetensors", where=folders):
        _, said = process.communicate(timeout=SECONDS)
        assert process.returncode == 2, said
        assert "the processes were given different weights of --init" in said
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("odd", [0, 1])
def test_where_one_cannot_go_on_all_end_with_a_message(tmp_path, odd):
    for split, name, value in itertools.product(("train", "test"), "ab", range(64)):
        folder = tmp_path / "data" / split / name
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), value).save(folder / f"{value}.png")
    flags = ["--dataset", "folder", "--image-size", "8", "8", "--channels", "1"]
    data = [["--data-dir", str(tmp_path / ("data" if i != odd else "none"))] for i in range(2)]
    both = start(tmp_path, *flags, of_each=data)
    said = [process.communicate(timeout=2 * SECONDS)[1] for process in both]
    assert both[odd].returncode == 2, said[odd]
    assert "none, which is not a folder" in said[odd]
    assert both[1 - odd].returncode == 1, said[1 - odd]
    assert "another process has ended" in said[1 - odd] or "has not heard" in said[1 - odd]
    for each in said:
        assert "Traceback" not in each


@pytest.mark.slow
def test_processes_that_see_other_folders_are_refused(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
    for process in start("runs", where=[tmp_path / "a", tmp_path / "b"]):
        _, said = process.communicate(timeout=4 * SECONDS)
        assert process.returncode == 2, said
        assert "the processes were given different folders runs/run" in said
    assert not [*tmp_path.glob("*/runs/run/checkpoints/*")]


@pytest.mark.parametrize("content", [None, "6", "7"])
def test_a_process_waits_a_while_for_the_folder_of_the_first(tmp_path, monkeypatch, content):
    """A network folder may show it late; on a disk of its own it never comes, and where it comes to
    no process, all agree that they don't see it."""
    seen = []
    if content:
        (tmp_path / "shared").write_text(content)
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(distributed, "SHARED_SECONDS", 0.3)
    monkeypatch.setattr(distributed, "first_decides", lambda _: 7)
    monkeypatch.setattr(distributed, "check_same", lambda value, _: seen.append(value))
    refused = pytest.raises(UserError, match=r"shared can't be read, expected a folder that all")
    with nullcontext() if content == "7" else refused:
        distributed.check_shared(tmp_path)
    assert seen == [content == "7"], "a copy of the folder is taken for the folder"


SETTINGS = """
import sys
from pathlib import Path
import jax
address, number, folder = sys.argv[1:]
jax.config.update("jax_num_cpu_devices", 1)
jax.distributed.initialize(address, 2, int(number))
from jax_resnet import UserError
from jax_resnet.training.config import Config, load_dataset
from jax_resnet.training.train import train
rate = 0.1 + int(number)
config = Config(dataset="digits", depth=8, steps=9, runs_dir=Path(folder), learning_rate=rate)
try:
    train(config, load_dataset(config), signals=[])
except UserError as error:
    print(error)
"""


@pytest.mark.slow
def test_settings_that_differ_in_python_are_refused_too(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    words = [sys.executable, "-c", SETTINGS, address]
    both = [
        subprocess.Popen([*words, str(i), tmp_path], text=True, stdout=subprocess.PIPE)
        for i in range(2)
    ]
    for process in both:
        said, _ = process.communicate(timeout=2 * SECONDS)
        assert "the processes were given different settings" in said
    assert not [*tmp_path.iterdir()]


@pytest.mark.slow
def test_several_processes_are_profiled(tmp_path):
    for process in start(tmp_path, "--profile", "3"):
        _, said = process.communicate(timeout=2 * SECONDS)
        assert process.returncode == 0, said
    assert [*(tmp_path / "run" / "profile").rglob("*.xplane.pb")]


@pytest.mark.slow
@pytest.mark.parametrize("frozen", [0, 1])
def test_when_one_is_frozen_the_other_says_so(tmp_path, frozen):
    both = start(tmp_path, "--steps", "100000")
    wait_for(both[0], "step     18/")
    both[frozen].send_signal(signal.SIGSTOP)
    _, said = both[1 - frozen].communicate(timeout=40)
    assert both[1 - frozen].returncode == 1, said
    assert f"has not heard from process {frozen}" in said
    assert "Check failure stack trace" not in said
    both[frozen].send_signal(signal.SIGKILL)
    both[frozen].communicate()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("told", "number"), [(0, signal.SIGTERM), (1, signal.SIGTERM), (1, signal.SIGINT)]
)
def test_a_signal_to_one_saves_all(whole, tmp_path, told, number):
    both = start(tmp_path, "--resume")
    wait_for(both[0], "step     18/")
    both[told].send_signal(number)
    for process in both:
        _, said = process.communicate(timeout=60)
        assert process.returncode == 128 + signal.SIGTERM, said
    alone(tmp_path, "--resume")
    assert_close(tmp_path / "run", whole)


@pytest.mark.slow
@pytest.mark.parametrize("flag", ["seed", "name"])
def test_processes_with_different_flags_are_refused(tmp_path, flag):
    both = start(tmp_path, of_each=([f"--{flag}", "1"], [f"--{flag}", "2"]))
    for process in both:
        _, said = process.communicate(timeout=60)
        assert process.returncode == 2, said
        assert "the processes were given different flags" in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, False),
        ({"SLURM_NTASKS": "4", "SLURM_STEP_NODELIST": "node[1-4]"}, True),
        ({"SLURM_NTASKS": "1", "SLURM_STEP_NODELIST": "node1"}, False),
        ({"SLURM_NTASKS": "4"}, False),  # a script outside srun
        ({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_MCA_orte_hnp_uri": "1.0;tcp://10.0.0.1:1"}, True),
        ({"OMPI_COMM_WORLD_SIZE": "1", "OMPI_MCA_orte_hnp_uri": "1.0;tcp://10.0.0.1:1"}, False),
        ({"TPU_WORKER_HOSTNAMES": "t0,t1"}, True),
        ({"TPU_WORKER_HOSTNAMES": "localhost"}, False),
        ({"TPU_WORKER_HOSTNAMES": "WARNING: could not determine them, please set it"}, False),
    ],
)
def test_a_cluster_is_told_from_its_environment(environment, expected):
    assert in_a_cluster(environment) is expected


@pytest.mark.parametrize("name", ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE"])
def test_one_of_several_that_cannot_find_the_others_is_refused(name, monkeypatch):
    """As Open MPI 5, MPICH and Intel MPI start them."""
    monkeypatch.setenv(name, "1")
    join(None, None, None, {})
    monkeypatch.setenv(name, "2")
    with pytest.raises(
        UserError, match=f"{name} says .* one of 2 processes.*expected `coordinator`"
    ):
        join(None, None, None, {})


@pytest.mark.parametrize("name", ["SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE"])
def test_a_variable_that_is_empty_says_nothing_and_one_that_is_no_number_is_refused(
    name, monkeypatch
):
    monkeypatch.setenv(name, "")
    join(None, None, None, {})
    monkeypatch.setenv(name, "x")
    with pytest.raises(UserError, match=f"{name} is 'x' in the environment, expected a number"):
        join(None, None, None, {})


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--num-processes 2 --process-id 0", "`coordinator` is None, expected HOST:PORT"),
        ("--coordinator host", "`coordinator` is 'host', expected HOST:PORT"),
        ("--coordinator host:99999 --num-processes 2", "`coordinator` is 'host:99999'"),
        ("--coordinator h:1 --process-id 0", "`num_processes` is None, expected 1 or more"),
        (
            "--coordinator h:1 --num-processes 2 --process-id 2",
            "`process_id` is 2, expected 0 to 1",
        ),
        (
            "--coordinator auto --num-processes 2",
            "`num_processes` is 2, expected None with",
        ),
        (
            "--coordinator auto --seeds 2",
            "`seeds` is 2, expected 1 where several",
        ),
        ("--seeds 0", "`seeds` is 0"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(flags, words):
    with pytest.raises(UserError) as error:
        parse_config(flags.split())
    assert words in str(error.value)
