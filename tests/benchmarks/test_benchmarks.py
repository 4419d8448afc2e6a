"""The programs in `benchmarks/` run, on tiny nets."""

import json
import signal
import subprocess
import sys
from importlib.util import find_spec

import benchmark
import gpu
import jax
import pytest
import queue_runs
import vmap_seeds
from case import Case
from steps import IMPLEMENTATIONS
from support import ROOT
from worker import workers

from jax_resnet.training.config import Config
from jax_resnet.training.programs import make_mesh

FOLDER = ROOT / "benchmarks"

TINY = Case(depth=8, batch_size=2)
PEAK = 1e15  # operations a second
TORCH = pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch is not installed")
SLOW = pytest.mark.slow  # a process of a dozen seconds, of which a like one is tested as well
MARKS = {"PyTorch": [TORCH], "torch.compile": [TORCH, SLOW]}


@pytest.mark.long
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=MARKS.get(name, SLOW)) for name in IMPLEMENTATIONS]
)
def test_every_implementation_runs(name):
    with workers(TINY, [name]) as made:
        assert made[name].first > 0
        assert made[name].seconds(2) > 0
        assert made[name].finish() > 0


@pytest.mark.parametrize(
    "changed",
    [
        {"shortcut": "conv1x1", "mode": "eval"},
        {"shortcut": None, "precision": "bf16", "devices": 2},
    ],
)
@SLOW
def test_every_kind_of_case_runs(changed):
    names = [benchmark.OURS, benchmark.FLAX]
    rows = benchmark.measure(Case(**{"depth": 8, "batch_size": 2} | changed), names, 1, PEAK)
    assert [row["implementation"] for row in rows] == names
    assert all(row["images_per_second"] > 0 and row["ratio_to_flax"] > 0 for row in rows)


@SLOW
def test_the_command_prints_a_row_for_each_implementation(monkeypatch, capsys):
    monkeypatch.setattr(benchmark, "STEP", TINY)
    monkeypatch.setattr(benchmark, "ROUND_SECONDS", 0.01)
    monkeypatch.setattr(benchmark, "measure_peak", lambda case: PEAK)
    benchmark.main(benchmark.Benchmark(quick=True, as_json=True, rounds=1))
    place, *rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (place["rounds"], place["platform"]) == (1, "cpu")
    assert place["versions"]["jax"] == jax.__version__
    expected = [benchmark.OURS, benchmark.FLAX, benchmark.SAME]
    assert [row["implementation"] for row in rows][:3] == expected
    assert all(row["ratio_to_same_allocator"] > 0 for row in rows)
    assert all(0 < row["share_of_peak"] < 1 for row in rows)
    assert {row["what"] for row in rows} == {"train, depth 8, batch 2, zeropad, float32"}


def test_a_step_that_computes_nothing_is_left_out(monkeypatch, capsys):
    """A compiler removes what has no effect."""
    timings = {
        name: benchmark.Timing([seconds], 1.0, 1.0) for name, seconds in (("a", 1), ("b", 9))
    }
    monkeypatch.setattr(benchmark, "place", lambda: {"platform": "cpu"})
    monkeypatch.setattr(benchmark, "time_in_turn", lambda *_: dict(timings))
    rows = benchmark.measure(TINY, ["a", "b"], 1, TINY.flops * TINY.batch_size / 3)
    assert [row["implementation"] for row in rows] == ["b"]
    assert "a left out: 3 times the peak" in capsys.readouterr().err


def test_the_command_names_flags_that_do_not_fit():
    command = [sys.executable, FOLDER / "benchmark.py", "--rounds", "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: --rounds is 0, expected 1 or more\n"


@pytest.mark.parametrize("script", ["gpu.py", "vmap_seeds.py", "queue_runs.py", "levers.py"])
def test_help_measures_nothing(script, call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, _ = call(FOLDER / script, "--help")
    assert code == 0
    assert f"python benchmarks/{script}" in out
    assert not list(tmp_path.iterdir()), "`--help` is taken for the name of a file"


def test_the_table_and_the_figure_show_all_rows(tmp_path, capsys):
    same = {
        "implementation": "mine",
        "images_per_second": 100.0,
        "spread": 0.1,
        "ratio_to_flax": 2.0,
        "ratio_to_same_allocator": 1.5,
        "ratio_to_pytorch": None,
        "share_of_peak": 0.5,
        "compile_seconds": 3.0,
        "peak_memory_mib": 200.0,
    }
    rows = [vars(case) | {"what": str(case)} | same for case in benchmark.all_cases()]
    benchmark.print_table(rows, {"float32": 1e9})
    line = "| mine | 100 | 10% | 2.00 | 1.50 |  | 50% | 3 | 200 |"
    assert capsys.readouterr().out.count(line) == len(rows)
    benchmark.draw_figure(rows, tmp_path / "growth.png")
    assert (tmp_path / "growth.png").stat().st_size > 0


@SLOW
def test_seeds_in_turn_and_vmapped_are_timed(monkeypatch, capsys):
    for name, value in {"ROUNDS": 1, "BATCH": 2, "DEPTH": 8}.items():
        monkeypatch.setattr(vmap_seeds, name, value)
    vmap_seeds.measure()
    assert "2 seeds, ResNet-8, batch 2: " in capsys.readouterr().out


@SLOW
@pytest.mark.skipif(find_spec("libtpu") is None, reason="libtpu is not installed")
@pytest.mark.parametrize("script", ["tpu_check.py", "vmap_seeds.py"])
def test_programs_compile_for_a_tpu(script):
    done = subprocess.run(
        [sys.executable, FOLDER / script, "v5e:2x2"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "| v5e:2x2 |" in done.stdout


@SLOW
def test_the_program_of_the_tpu_check_compiles_here(monkeypatch):
    for name in ("JAX_PLATFORMS", "TPU_SKIP_MDS_QUERY"):  # which the program sets
        monkeypatch.setenv(name, "")
    from tpu_check import compile_steps

    compiled = compile_steps(make_mesh(), Config(depth=8, batch_size=2))
    assert compiled.cost_analysis()["flops"] > 0


@SLOW
@pytest.mark.parametrize("changed", [{}, {"dispatch": "loop", "recipe": "fast"}])
def test_a_row_of_the_gpu_benchmark_is_measured(changed, tmp_path):
    small = {"depth": 8, "batch_size": 4, "images": 50, "warm_up": 2, "steps": 4}
    measured = gpu.measure(gpu.Row(**small, **changed), str(tmp_path))
    assert measured["steps_per_second"] > 0, measured
    assert 1 < measured["mean_loss"] < 5, measured


def test_a_row_that_fails_says_why(tmp_path):
    measured = gpu.measure(gpu.Row(recipe="slow"), str(tmp_path))
    assert measured == {"error": "KeyError: 'slow'"}


@SLOW
def test_the_queue_trains_what_is_left(monkeypatch, capfd, tmp_path):
    small = "--dataset digits --depth 8 --steps 3 --batch-size 16"
    commands = [f"{small} --seed 10 --seeds 2"]
    monkeypatch.setattr(queue_runs, "queue", lambda: iter(commands))
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # they stay those of the tests
    monkeypatch.setattr(
        sys, "argv", ["queue_runs.py", "--at-once", "2", "--runs-dir", str(tmp_path)]
    )
    for left in (1, 0):
        with pytest.raises(SystemExit) as end:
            queue_runs.command()
        assert end.value.code == 0
        assert capfd.readouterr().out.count("--dataset") == left
    assert len(list(tmp_path.glob("*-seed1[01]/result.json"))) == 2
    (mean,) = tmp_path.glob("*-seeds10-11/result.json")
    mean.unlink()
    sys.argv.append("--list")
    queue_runs.command()
    assert capfd.readouterr().out.count("--dataset") == 1, "a mean that is missing is left"
