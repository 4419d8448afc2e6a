"""Training steps a second on one GPU: this project's programs, several runs at once, and PyTorch.

    python benchmarks/gpu.py gpu.json

One process a row and nothing beside it: 400 steps to warm up, then at least 1,000 timed ones. Each
row is printed and written to the file, as JSON, when it is done; rows that the file has are left
out, so that the command continues where it was stopped. Rows with PyTorch need it, and rows with
several runs need NVIDIA's MPS (`nvidia-cuda-mps-control`); without, they say so.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from case import Case

NO_GRAPH = "--xla_gpu_enable_command_buffer="
CONCURRENT = "--xla_gpu_command_buffer_scheduling_mode=CONCURRENT_REGIONS"
SECONDS = 240  # that a row may take


@dataclass(frozen=True)
class Row:
    """What a process runs: steps of a recipe, or PyTorch's on one batch."""

    recipe: str = "article"
    precision: str = "bf16"
    batch_size: int = 128
    dispatch: str = "graph"
    flags: str = ""  # for XLA
    runs: int = 1  # processes at once, with seeds 0, 1, ...
    together: int = 1  # runs in one program
    torch: str = ""  # eager, or a mode of `torch_step.make_run`
    depth: int = 20
    images: int = 45_000
    warm_up: int = 400  # steps
    steps: int = 1000  # at least


ROWS = {
    "a loop, as on TPUs": Row(dispatch="loop"),
    "packed arrays, kernel by kernel": Row(flags=NO_GRAPH),
    "one graph": Row(),
    "one graph, independent kernels at once": Row(flags=CONCURRENT),
    "one graph, batch 32": Row(batch_size=32),
    "one graph, default precision": Row(precision="default"),
    "one graph, recipe fast, default precision": Row(recipe="fast", precision="default"),
    "4 processes": Row(runs=4),
    "4 runs in one program": Row(together=4),
    "8 runs in one program": Row(together=8),
    "4 runs in one program, default precision": Row(together=4, precision="default"),
    "PyTorch": Row(torch="eager"),
    "PyTorch, one graph": Row(torch="graph"),
    "PyTorch, compiled, reduce-overhead": Row(torch="reduce-overhead"),
    "PyTorch, compiled, max-autotune": Row(torch="max-autotune"),
}


def command(out: Path) -> None:
    done: dict[str, Any] = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {}
    with tempfile.TemporaryDirectory() as cache:
        for name, row in ROWS.items():
            if "steps_per_second" not in done.get(name, {}):
                done[name] = asdict(row) | measure(row, cache)
                out.write_text(json.dumps(done, indent=1) + "\n", encoding="utf-8")
            print(f"| {name} | {done[name].get('steps_per_second', done[name].get('error'))} |")
            sys.stdout.flush()


def measure(row: Row, cache: str) -> dict[str, Any]:
    """Starts the row's processes, lets them run at once, and adds their steps a second."""
    environment = os.environ | {
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {row.flags}".strip(),
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "JAX_COMPILATION_CACHE_DIR": cache,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    if row.runs > 1:
        if shutil.which("nvidia-cuda-mps-control") is None:
            return {"error": "there is no MPS"}
        subprocess.run(["nvidia-cuda-mps-control", "-d"], check=True)
    words = [sys.executable, __file__, "--row", json.dumps(asdict(row))]
    with tempfile.TemporaryFile("w+", encoding="utf-8") as errors:
        processes = [
            subprocess.Popen(
                [*words, str(seed)], env=environment, text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
            )
            for seed in range(row.runs)
        ]  # fmt: skip
        timer = threading.Timer(SECONDS, end, [processes])
        timer.start()
        try:
            ready = [json.loads(readline(process)) for process in processes]
            for process in processes:
                print("go", file=process.stdin, flush=True)
            ends = [json.loads(readline(process)) for process in processes]
        except EOFError:
            errors.seek(0)
            return {"error": (errors.read().strip().splitlines() or [f"over {SECONDS} s"])[-1]}
        finally:
            timer.cancel()
            end(processes)
            if row.runs > 1:
                subprocess.run(["nvidia-cuda-mps-control"], input="quit", text=True, check=True)
    rate = row.together * sum(each["steps"] / each["seconds"] for each in ends)
    return {"steps_per_second": round(rate, 1), **ready[0]}


def end(processes: list[subprocess.Popen[str]]) -> None:
    """Kills the processes."""
    for process in processes:
        process.kill()
        process.wait()


def readline(process: subprocess.Popen[str]) -> str:
    """A process's next line of output; raises an `EOFError` if it has ended."""
    line = process.stdout.readline() if process.stdout else ""
    if not line:
        raise EOFError
    return line


def serve(row: Row, seed: int) -> None:
    """The process of a row: warms up, says so, and runs when told to."""
    begun = time.monotonic()
    run, describe = torch_steps(row) if row.torch else jax_steps(row, seed)
    run(1)
    first = time.monotonic() - begun
    run(row.warm_up)
    print(json.dumps({"seconds_to_first_step": round(first, 1), **describe()}), flush=True)
    sys.stdin.readline()
    begun, steps = time.monotonic(), 0
    while steps < row.steps or (row.runs > 1 and time.monotonic() - begun < 5):
        steps += run(min(200, row.steps))
    print(json.dumps({"steps": steps, "seconds": time.monotonic() - begun}), flush=True)


def jax_steps(row: Row, seed: int) -> Any:
    """The training program on random images, and what it ran on and its loss."""
    import dataclasses

    import jax
    import numpy as np

    from jax_resnet.data import Split
    from jax_resnet.training import together
    from jax_resnet.training.programs import device_data, init_state, make_mesh, make_programs
    from jax_resnet.training.recipes import RECIPES

    rng = np.random.default_rng(0)
    split = Split(
        rng.integers(0, 256, (row.images, 32, 32, 3), np.uint8),
        rng.integers(0, 10, row.images, np.int32),
    )
    names: Any = {name: getattr(row, name) for name in ("precision", "batch_size", "depth")}
    config = dataclasses.replace(RECIPES[row.recipe], seed=seed, **names)  # type: ignore[index]
    mesh = make_mesh()
    dispatch: Any = row.dispatch
    programs = make_programs(config, row.images, mesh, dispatch)
    data = device_data(split, config.normalization, mesh)
    state = together.stack([init_state(config, 10, (32, 32, 3), mesh)] * row.together)
    totals = together.stack([programs.zeros()] * row.together)
    epoch = together.stack([programs.draw_epoch(seed, 0)] * row.together)
    data, step = together.stack([data] * row.together), 0

    def run(steps: int) -> int:
        nonlocal state, totals, step
        first = step
        while step < first + steps:
            state, totals = programs.advance(state, totals, data, epoch)
            step = programs.next_step(step)
        jax.block_until_ready(state)
        return step - first

    def describe() -> dict[str, Any]:
        return {
            "device": jax.devices()[0].device_kind,
            "jax": jax.__version__,
            "step": step,
            "mean_loss": float(np.mean(totals["loss"])) / step,
        }

    return run, describe


def torch_steps(row: Row) -> Any:
    """PyTorch's step on one batch, and what it ran on."""
    import torch
    from torch_step import make_run

    precision: Any = row.precision
    case = Case(batch_size=row.batch_size, precision=precision, depth=row.depth)
    run = make_run(case, None if row.torch == "eager" else row.torch)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return run, lambda: {"device": device, "torch": torch.__version__}


if __name__ == "__main__":
    if sys.argv[1:2] == ["--row"]:  # a process that `measure` starts
        serve(Row(**json.loads(sys.argv[2])), int(sys.argv[3]))
    else:
        parser = argparse.ArgumentParser(
            description=__doc__, formatter_class=argparse.RawTextHelpFormatter
        )
        parser.add_argument("out", type=Path, help="the file of the rows")
        command(parser.parse_args().out)
