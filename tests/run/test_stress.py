"""What is too slow for every day: `make stress`, whose table goes into docs/reliability.md."""

import json
import os
import random
import signal
import statistics
import subprocess
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from support import assert_same_run, command

pytestmark = pytest.mark.stress

LOOP = ("step", "write", "commit", "deletion", "append")  # phases of the loop
END = ("plot", "evaluation")  # and of the end
# 222 epochs of 18 steps: more than those that are made while kills in the loop are still to come.
FLAGS = ("--steps", "4000", "--name", "run", "--resume")
ENVIRONMENT = os.environ | {"JAX_NUM_CPU_DEVICES": "2"}


@pytest.fixture
def show(capfd):
    """Prints a line of the table on the terminal, whatever pytest captures."""

    def line(row):
        with capfd.disabled():
            print(f"\n| {row} |", end="", flush=True)

    return line


def last_state(folder):
    """The arrays of the last checkpoint: weights, optimizer state, statistics, totals."""
    import orbax.checkpoint as ocp

    steps = [int(path.name) for path in (folder / "checkpoints").glob("[0-9]*")]
    tree = ocp.StandardCheckpointer().restore(
        (folder / "checkpoints" / str(max(steps)) / "default").absolute()
    )
    return max(steps), ocp.tree.to_flat_dict(tree)


def test_fifty_kills_change_nothing(tmp_path, show):
    """Five in each phase, and 15 at random times; then the run goes on to its end."""
    whole = subprocess.run(command(tmp_path / "whole", *FLAGS), env=ENVIRONMENT, check=False)
    assert whole.returncode == 0
    chance = random.Random(0)
    loop = [*LOOP * 5, *["any"] * 15]
    chance.shuffle(loop)
    killed = Counter()
    for phase in [*loop, *END * 5]:
        log = tmp_path / f"log{killed.total()}"
        log.touch()
        words = command(tmp_path / "killed", *FLAGS)
        words[1:2] = [Path(__file__).parent / "killed_run.py", phase, log]
        if phase == "any":
            words = command(tmp_path / "killed", *FLAGS)
        late = {"write": 0.05, "plot": 0.1}.get(phase, 0.002) * chance.random()
        process = subprocess.Popen(
            list(map(str, words)), env=ENVIRONMENT | {"KILL_AFTER": str(late)},
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        if phase == "any":
            time.sleep(chance.uniform(1, 8))
            process.kill()
        said = process.communicate(timeout=300)[1]
        assert process.returncode == -signal.SIGKILL, f"{phase}: {said}"
        assert phase == "any" or log.read_text() == "entered\n", f"{phase} was left alive"
        killed[phase] += 1
    done = subprocess.run(
        command(tmp_path / "killed", *FLAGS), env=ENVIRONMENT, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    for phase, count in killed.items():
        show(f"killed in: {phase} | {count}")
    assert all(killed[phase] >= 5 for phase in (*LOOP, *END))
    assert killed.total() >= 50
    one, other = tmp_path / "killed" / "run", tmp_path / "whole" / "run"
    assert_same_run(one, other)
    (step, ours), (theirs_step, theirs) = last_state(one), last_state(other)
    assert (step, ours.keys()) == (theirs_step, theirs.keys())
    for name, array in ours.items():
        np.testing.assert_array_equal(array, theirs[name], err_msg=str(name))
    weights = [load_file(folder / "classifier.safetensors") for folder in (one, other)]
    for name in weights[0]:
        np.testing.assert_array_equal(weights[0][name], weights[1][name])
    show(f"arrays of the last checkpoint that are the same bits | {len(ours)} of {len(theirs)}")


def test_a_long_run_needs_no_more_as_it_goes(tmp_path, show):
    """20,000 steps of 4 images: memory, open files and threads after a tenth and at the end,
    medians over an eighth of the looks at them."""
    small = ("--batch-size", "4", "--learning-rate", "0.01")
    words = command(tmp_path, "--steps", "20000", "--name", "long", *small)
    process = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    seen = []
    while process.poll() is None:
        time.sleep(0.2)
        metrics = tmp_path / "long" / "metrics.jsonl"
        lines = metrics.read_text().splitlines() if metrics.exists() else []
        step = json.loads(lines[-1])["step"] if lines else 0
        if 2_000 <= step < 20_000:
            seen.append((step, *usage(process.pid)))
    assert process.returncode == 0
    assert seen, "nothing was measured"
    assert seen[-1][0] > 18_000
    early = [statistics.median(each) for each in zip(*seen[: len(seen) // 8], strict=True)]
    late = [statistics.median(each) for each in zip(*seen[-len(seen) // 8 :], strict=True)]
    (step, memory, files, threads), (step2, memory2, files2, threads2) = early, late
    show(f"RSS around {step:.0f} and {step2:.0f} steps, MiB | {memory:.0f}, {memory2:.0f}")
    show(f"open files, threads | {files:.0f}, {threads:.0f}; {files2:.0f}, {threads2:.0f}")
    assert abs(memory2 / memory - 1) < 0.03
    assert files2 == files
    assert abs(threads2 - threads) <= 2  # those that write a checkpoint come and go


def usage(pid):
    """MiB of resident memory, open files, threads."""
    status = Path(f"/proc/{pid}/status").read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines())
    files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return int(fields["VmRSS"].split()[0]) / 1024, files, int(fields["Threads"])


def test_the_same_seed_gives_the_same_bits_with_any_cache(tmp_path, show):
    """Two processes with a cold compilation cache each, and one with a warm one."""
    for name, cache in (("one", "a"), ("two", "b"), ("three", "b")):
        environment = ENVIRONMENT | {
            "JAX_COMPILATION_CACHE_DIR": str(tmp_path / cache),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }
        words = command(tmp_path / "runs", "--steps", "40", "--name", name)
        assert subprocess.run(words, env=environment, check=False).returncode == 0
    for name in ("two", "three"):
        assert_same_run(tmp_path / "runs" / "one", tmp_path / "runs" / name)
    show("runs of one seed with the same bits, compilation cache cold, cold, warm | 3 of 3")
