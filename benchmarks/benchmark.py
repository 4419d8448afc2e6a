"""Time this project's step beside the usual Flax step and PyTorch's.

    python benchmarks/benchmark.py --quick

The processes that are timed import this file too, so only functions import JAX.
"""

import dataclasses
import json
import math
import multiprocessing
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import tyro
from case import Case
from figure import draw_figure
from steps import COMPILED, FLAX, LOOP, OURS, PEAK_SIZE, SAME, TORCH
from worker import workers

BASELINES = {"flax": FLAX, "same_allocator": SAME, "pytorch": TORCH}  # of the ratios
ROUND_SECONDS = 0.5  # at least, so that a short step is timed over several
MOST_OF_PEAK = 2.0  # which JAX's matrix product shows; in bfloat16 PyTorch's is faster
LOOP_SECONDS = 15.0  # of the loop, so that an epoch's end weighs no more than in a real epoch
STEP = Case()
# Around depth 20, batch 128, zeropad, float32, one thing varies at a time.
VARIATIONS: tuple[dict[str, Any], ...] = (
    {},
    {"depth": 56},
    {"batch_size": 32},
    {"batch_size": 512},
    {"shortcut": "conv1x1"},
    {"shortcut": None},
    {"precision": "bf16"},
)


@dataclass(frozen=True)
class Benchmark:
    """Time this project's step beside the usual Flax step and PyTorch's, where it is installed.

    The steps are timed in turn, each in a separate process, so that disturbances of the machine
    affect all of them; ratios are medians over the rounds. Run nothing else meanwhile. On a TPU,
    which only one process can use, they are timed one after the other.
    """

    quick: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Only the main row: a training step of ResNet-20, batch 128."""
    as_json: Annotated[bool, tyro.conf.arg(name="json"), tyro.conf.FlagCreatePairsOff] = False
    """Print JSON objects instead of a table: where and when, then one for each row."""
    rounds: int = 7
    """How many times each is timed."""
    figure: Path | None = None
    """Draw how the cost grows with depth, batch and devices, as PNG."""


def main(flags: Benchmark) -> None:
    from jax_resnet.errors import UserError
    from jax_resnet.files import new_file, refuse_existing

    if flags.rounds < 1:
        raise UserError(f"`rounds` is {flags.rounds}, expected 1 or more")
    if flags.quick and flags.figure:
        raise UserError(f"`figure` is {flags.figure}, expected none with `quick`")
    rows: list[dict[str, Any]] = []
    peaks: dict[str, float] = {}
    if flags.as_json:
        print(json.dumps({"rounds": flags.rounds, **place()}), flush=True)
    if flags.figure:
        refuse_existing(flags.figure)
    for case in [STEP] if flags.quick else all_cases():
        if case.precision not in peaks:
            peaks[case.precision] = measure_peak(case)
        names = implementations(case, flags.quick)
        found = measure(case, names, flags.rounds, peaks[case.precision])
        rows += found
        for row in found if flags.as_json else ():
            print(json.dumps(row), flush=True)
    if not flags.as_json:
        print_table(rows, peaks)
    if flags.figure:
        with new_file(flags.figure) as figure:
            draw_figure(rows, figure)


def all_cases() -> Iterator[Case]:
    """Every row of the table."""
    accelerator = place()["platform"] != "cpu"
    more = ({"precision": "default"},) if accelerator else ({"devices": 2},)
    for mode in ("train", "eval"):
        for changed in (*VARIATIONS, *more):
            yield replace(STEP, mode=mode, **changed)


def implementations(case: Case, quick: bool) -> list[str]:
    """What is compared in a case; the whole training loop only in the main one."""
    found = [OURS, FLAX]
    if case.mode == "train" and place()["platform"] == "cpu":
        found.append(SAME)
    if case == STEP and not quick:
        found.append(LOOP)
    if find_spec("torch") and case.devices == 1:
        found += [TORCH] if quick else [TORCH, COMPILED]
    return found


def measure(case: Case, names: Sequence[str], rounds: int, peak: float) -> list[dict[str, Any]]:
    """A row for each implementation that can be made, timed in turn."""
    turns = [[name] for name in names] if place()["platform"] == "tpu" else [names]
    timed: dict[str, Timing] = {}
    for together in turns:
        timed |= time_in_turn(case, together, rounds)
    at_peak = case.flops * case.batch_size / peak  # seconds
    for name in [name for name, timing in timed.items() if at_peak > MOST_OF_PEAK * timing.median]:
        share = at_peak / timed.pop(name).median
        print(
            f"{case}: {name} left out: {share:.0f} times the peak, it computed nothing",
            file=sys.stderr,
        )
    others = {key: timed[name].seconds for key, name in BASELINES.items() if name in timed}
    return [
        {
            **dataclasses.asdict(case),
            "what": str(case),
            "implementation": name,
            "images_per_second": case.batch_size / timing.median,
            "spread": (max(timing.seconds) - min(timing.seconds)) / timing.median,
            **{f"ratio_to_{key}": ratio(others.get(key), timing.seconds) for key in BASELINES},
            "share_of_peak": at_peak / timing.median,
            "compile_seconds": max(0.0, timing.first - timing.median),
            "peak_memory_mib": timing.memory,
        }
        for name, timing in timed.items()
    ]


@dataclass(frozen=True)
class Timing:
    """Seconds per step in each round and of the first step, and peak memory in MiB."""

    seconds: list[float]
    first: float
    memory: float

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def time_in_turn(case: Case, names: Sequence[str], rounds: int) -> dict[str, Timing]:
    """Times those implementations that can be made, in turn."""
    with workers(case, names) as made:
        long = {LOOP: LOOP_SECONDS}
        steps = {
            name: max(1, math.ceil(long.get(name, ROUND_SECONDS) / worker.seconds(1)))
            for name, worker in made.items()
        }
        times: dict[str, list[float]] = {name: [] for name in made}
        for _ in range(rounds):
            for name, worker in made.items():
                times[name].append(worker.seconds(steps[name]) / steps[name])
        return {
            name: Timing(times[name], worker.first, worker.finish())
            for name, worker in made.items()
        }


def ratio(others: list[float] | None, times: list[float]) -> float | None:
    """How many times as fast as the other, the median over the rounds."""
    if others is None:
        return None
    return statistics.median(a / b for a, b in zip(others, times, strict=True))


def measure_peak(case: Case) -> float:
    """Floating-point operations per second of a large matrix product, the best of 20 tries."""
    with workers(replace(case, devices=1), ["matmul"]) as made:
        return 2 * PEAK_SIZE**3 / min(made["matmul"].seconds(10) / 10 for _ in range(20))


@cache
def place() -> dict[str, Any]:
    """JAX's default backend, versions, hardware, commit and time, found in a process that ends:
    this one must not hold the device."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_place)


def _place() -> dict[str, Any]:
    import jax

    from jax_resnet.run.environment import environment

    return {
        "platform": jax.default_backend(),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "torch": version("torch") if find_spec("torch") else None,
        **environment(jax.devices()),
    }


def print_table(rows: Sequence[dict[str, Any]], peaks: dict[str, float]) -> None:
    """The rows as Markdown."""
    print(
        "| what | implementation | images/s | spread | to Flax | same allocator | to PyTorch | "
        "of peak | compile s | MiB |\n|---|---|---:|---:|---:|---:|---:|---:|---:|---:|"
    )
    for row in rows:
        found = [row[f"ratio_to_{key}"] for key in BASELINES]
        ratios = " | ".join("" if value is None else f"{value:.2f}" for value in found)
        print(
            f"| {row['what']} | {row['implementation']} | {row['images_per_second']:.0f} | "
            f"{row['spread']:.0%} | {ratios} | {row['share_of_peak']:.0%} | "
            f"{row['compile_seconds']:.0f} | {row['peak_memory_mib']:.0f} |"
        )
    for precision, peak in peaks.items():
        print(f"\nA matrix product in {precision}: {peak / 1e9:.0f} GFLOP/s.")


if __name__ == "__main__":
    from jax_resnet.cli import show_error
    from jax_resnet.errors import UserError

    try:
        main(tyro.cli(Benchmark))
    except UserError as error:
        show_error(str(error))
        sys.exit(2)
