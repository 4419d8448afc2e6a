"""Compile the training program for TPUs, on a machine without one, and check the result.

    python benchmarks/tpu_check.py v5e:2x2

needs the libtpu that `pip install "jax[tpu]"` installs; `make tpu-check` does both. The arguments
are topologies, by default `v5e:2x2 v6e:2x2 v4:2x2x1`; the program is compiled for one device and
for all devices of each. Nothing is run: the numbers are the compiler's estimates.
"""

import argparse
import os
import re
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["TPU_SKIP_MDS_QUERY"] = "1"  # there is no metadata server

import numpy as np
from jax.experimental import topologies
from jax.sharding import AxisType, Mesh
from shapes import IMAGES, arguments

from jax_resnet.training.config import Config
from jax_resnet.training.precision import Precision
from jax_resnet.training.programs import make_programs

PRECISIONS: tuple[Precision, ...] = ("default", "bf16")
KINDS = ("v5e:2x2", "v6e:2x2", "v4:2x2x1")
DATA_SET = f"u8[{IMAGES},32,32,3]"
HOST_TRAFFIC = r" (?:infeed|outfeed|send|recv)\(|custom_call_target=\"[^\"]*callback[^\"]*\""


def command(kinds: Sequence[str]) -> None:
    print("| topology | devices | precision | GFLOP | MB moved | arguments MiB | temporary MiB |")
    print("|---|---:|---|---:|---:|---:|---:|")
    for kind in kinds:
        devices = topologies.get_topology_desc(kind, "tpu").devices
        for precision in PRECISIONS:
            for count in (1, len(devices)):
                check(kind, devices[:count], precision)


def check(kind: str, devices: Sequence[Any], precision: Precision) -> None:
    """Compiles, asserts what must hold, prints a row, and the layouts chosen on stderr."""
    mesh = Mesh(np.array(devices), ("data",), axis_types=(AxisType.Auto,))
    compiled = compile_steps(mesh, Config(precision=precision))
    text = compiled.as_text()
    check_loop(text)
    memory, cost = compiled.memory_analysis(), compiled.cost_analysis()
    print(
        f"| {kind} | {len(devices)} | {precision} | {cost['flops'] / 1e9:.1f} | "
        f"{cost['bytes accessed'] / 1e6:.0f} | {memory.argument_size_in_bytes / 2**20:.0f} | "
        f"{memory.temp_size_in_bytes / 2**20:.0f} |",
        flush=True,
    )
    for layout, count in layouts(text).most_common(3):
        print(f"{kind}, {len(devices)} devices, {precision}: {count} x {layout}", file=sys.stderr)


def compile_steps(mesh: Mesh, config: Config) -> Any:
    """The many steps of one dispatch of `train.py`, compiled for a mesh; no array is put on it."""
    programs = make_programs(config, IMAGES, mesh, dispatch="loop")
    (program,) = programs.advance.programs
    return program.lower(*arguments(config, programs)).compile()


def check_loop(text: str) -> None:
    """Asserts that the steps are one loop on the device, which exchanges nothing with the host and
    makes no copy of the data set."""
    assert re.search(r"op_name=\"jit\(steps\)/while\"", text), "the program has no loop"
    traffic = re.findall(HOST_TRAFFIC, text)
    assert not traffic, f"the program exchanges data with the host: {traffic}"
    inside, entry = text.split("\nENTRY ")
    assert DATA_SET in entry, f"the program takes no {DATA_SET}"
    made = re.findall(rf"= {re.escape(DATA_SET)}\S* ([\w-]+)\(", inside)
    copies = set(made) - {"parameter", "get-tuple-element"}
    assert not copies, f"the loop copies the data set: {copies}"


def layouts(text: str) -> Counter[str]:
    """Counts the shapes and layouts of a batch's activations."""
    return Counter(re.findall(r"(?:f32|bf16)\[\d+,(?:32,32,16|16,16,32|8,8,64)\]\{[\d,]+", text))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("topologies", nargs="*", default=KINDS)
    command(parser.parse_args().topologies)
