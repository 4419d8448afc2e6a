"""Compile the training program for an H100, on a machine without one, and check the result.

    python benchmarks/gpu_check.py

needs the plugin that `pip install "jax[cuda13]"` installs; `make gpu-check` does both. Nothing is
run and no kernel is tuned. The kernels of one step are counted, by what they do; the check fails if
they are more than expected, or if the steps of a dispatch are not one CUDA graph.
"""

import itertools
import os
import re
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_SKIP_CUDA_CONSTRAINTS_CHECK"] = "1"
os.environ["XLA_FLAGS"] = f"--xla_dump_to={tempfile.mkdtemp()} --xla_dump_hlo_module_re=jit_steps"

import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import AxisType, Mesh
from shapes import IMAGES, arguments

from jax_resnet.training import turns
from jax_resnet.training.config import Config, RecipeName
from jax_resnet.training.dispatch import GRAPH_OPTIONS, loop, of_each_run, pack
from jax_resnet.training.programs import make_programs, make_step
from jax_resnet.training.recipes import RECIPES

# Of one step; XLA's next version may need a few more.
MAX_KERNELS: dict[RecipeName, int] = {"article": 300, "fast": 500}
EXTRA_KERNELS = 50  # where one program trains several runs
CONVOLUTIONS = 56  # 19 forward, 18 for the gradient of their inputs, 19 for that of their kernels
H100 = """
platform_name: "CUDA"
device_description_str: "NVIDIA H100 80GB HBM3"
dnn_version_info { major: 9 minor: 20 patch: 0 }
gpu_device_info {
  cuda_compute_capability { major: 9 minor: 0 }
  driver_version: "13.0.0"
  runtime_version: "13.0.0"
  compile_time_toolkit_version: "13.0.0"
  dnn_version: "9.20.0"
  core_count: 132
  fpus_per_core: 128
  clock_rate_ghz: 1.98
  device_memory_size: 84978434048
  memory_bandwidth: 3352320000000
  l2_cache_size: 52428800
  threads_per_warp: 32
  threads_per_block_limit: 1024
  threads_per_core_limit: 2048
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  shared_memory_per_block: 49152
  shared_memory_per_block_optin: 232448
  shared_memory_per_core: 233472
  registers_per_block_limit: 65536
  registers_per_core_limit: 65536
}
"""


def command() -> None:
    print("| recipe | precision | runs | kernels a step | convolutions | BatchNorm | other |")
    print("|---|---|---:|---:|---:|---:|---:|")
    for name, runs in itertools.product(MAX_KERNELS, (1, turns.MAX_RUNS)):
        for precision in ("bf16", "default"):
            text = compile_steps(replace(RECIPES[name], precision=precision), runs)
            counts = kernels(text)
            total, most = counts.total(), MAX_KERNELS[name] + (0 if runs == 1 else EXTRA_KERNELS)
            parts = " | ".join(str(counts[part]) for part in ("convolutions", "BatchNorm", "other"))
            print(f"| {name} | {precision} | {runs} | {total} | {parts} |", flush=True)
            check_graph()
            assert counts["convolutions"] == CONVOLUTIONS, "the runs do not share convolutions"
            assert total <= most, f"a step of {name} has {total} kernels, expected at most {most}"


def compile_steps(config: Config, runs: int) -> str:
    """The steps of one dispatch of `train.py` on one GPU, compiled, as text."""
    gpu = topologies.get_topology_desc("", "cuda", target_config=H100, topology="1x1x1").devices
    mesh = Mesh(np.array(gpu[:1]), ("data",), axis_types=(AxisType.Auto,))
    programs = make_programs(config, IMAGES, mesh, dispatch="loop")
    steps = loop(of_each_run(make_step(config, mesh)), programs.next_step, pack)
    jitted: Any = jax.jit(steps, donate_argnums=0, compiler_options=GRAPH_OPTIONS)
    of_one = arguments(config, programs)
    together = jax.tree.map(
        lambda a: jax.ShapeDtypeStruct((runs, *a.shape), a.dtype, sharding=a.sharding), of_one
    )
    return jitted.lower(*(of_one if runs == 1 else together)).compile().as_text()


def kernels(text: str) -> Counter[str]:
    """Counts what the body of the loop launches."""
    computations = {
        match[1]: match[2]
        for match in re.finditer(r"^(?:ENTRY )?%(\S+) \(.*?\{\n(.*?)^\}", text, re.M | re.S)
    }
    body = re.search(r" while\(.*body=%([^,\s]+)", text)
    assert body, "the program has no loop"
    counts: Counter[str] = Counter()
    for line in computations[body[1]].splitlines():
        if not re.search(r" (?:fusion|custom-call|copy|reduce|transpose|sort)\(", line):
            continue
        name = re.search(r'op_name="([^"]*)"', line)
        if "__cudnn$conv" in line:
            counts["convolutions"] += 1
        elif name and "norm" in name[1]:
            counts["BatchNorm"] += 1
        else:
            counts["other"] += 1
    return counts


def check_graph() -> None:
    """Asserts that everything that the newest program launches is one command buffer."""
    folder = re.findall(r"--xla_dump_to=(\S+)", os.environ["XLA_FLAGS"])[0]
    dumps = Path(folder).glob("*.thunk_sequence_after_thunk_passes.txt")
    lines = max(dumps, key=os.path.getmtime).read_text().splitlines()
    outermost = [line for line in lines if re.match(r"\d+: ", line)]
    assert len(outermost) == 1, f"not one graph: {outermost}"
    assert "kCommandBuffer" in outermost[0], f"not a graph: {outermost}"
    assert any("kWhile" in line for line in lines), "the loop is not in the graph"


if __name__ == "__main__":
    command()
