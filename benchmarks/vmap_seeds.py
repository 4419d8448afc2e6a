"""Several seeds on one device: is one `vmap`ped step for all faster than a step for each in turn?

    python benchmarks/vmap_seeds.py
    python benchmarks/vmap_seeds.py v5e:2x2

The first times both here, alternately. The second compiles both for a chip of a TPU topology, on a
machine without one, as `tpu_check.py` does, and prints the compiler's flops and bytes.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

SEEDS = 2
ROUNDS = 5
BATCH = 128
DEPTH = 20

Step = Callable[..., Any]


def steps(**fields: Any) -> tuple[Callable[[], Any], Step, Step]:
    """A function that makes the states, a step of one seed, and a step of all seeds."""
    import jax

    from jax_resnet import ResNet
    from jax_resnet.training import TrainState, train_step
    from jax_resnet.training.config import Config
    from jax_resnet.training.optimizer import make_optimizer

    model, tx = ResNet(DEPTH, **fields), make_optimizer(Config())

    def states() -> Any:
        keys = jax.random.split(jax.random.key(0), SEEDS)
        return jax.vmap(lambda key: TrainState.init(key, model, tx, (32, 32, 3)))(keys)

    one = jax.jit(train_step, donate_argnums=0)
    return states, one, jax.jit(jax.vmap(train_step), donate_argnums=0)


def measure() -> None:
    """Times both on this machine."""
    from jax_resnet.cpu.allocator import keep_memory

    keep_memory()
    import jax

    from jax_resnet.cpu.conv import conv_general_dilated

    on_cpu = jax.default_backend() == "cpu"
    fields = {"conv_general_dilated": conv_general_dilated} if on_cpu else {}
    states, one, many = steps(**fields)
    stacked = states()
    alone = [jax.tree.map(lambda leaf, k=k: leaf[k], stacked) for k in range(SEEDS)]
    images = jax.random.normal(jax.random.key(1), (SEEDS, BATCH, 32, 32, 3))
    labels = jax.random.randint(jax.random.key(2), (SEEDS, BATCH), 0, 10)
    times: dict[str, list[float]] = {"in turn": [], "vmap": []}
    for _ in range(ROUNDS + 1):  # the first compiles
        start = time.monotonic()
        alone = [one(state, images[k], labels[k])[0] for k, state in enumerate(alone)]
        jax.block_until_ready(alone)
        middle = time.monotonic()
        stacked, _ = many(stacked, images, labels)
        jax.block_until_ready(stacked)
        times["in turn"].append(middle - start)
        times["vmap"].append(time.monotonic() - middle)
    medians = {how: statistics.median(seconds[1:]) for how, seconds in times.items()}
    ratio = medians["vmap"] / medians["in turn"]
    print(
        f"{SEEDS} seeds, ResNet-{DEPTH}, batch {BATCH}: {medians['in turn']:.2f} s in turn, "
        f"{medians['vmap']:.2f} s vmapped, {ratio:.2f} times as long"
    )


def compile_for(kinds: Sequence[str]) -> None:
    """Compiles both for a chip of each topology."""
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["TPU_SKIP_MDS_QUERY"] = "1"  # there is no metadata server
    import jax
    from jax.experimental import topologies
    from jax.sharding import SingleDeviceSharding

    print("| topology | program | GFLOP a seed | MB moved a seed |\n|---|---|---:|---:|")
    states, one, many = steps()
    shapes = jax.eval_shape(states)
    batch = (
        jax.ShapeDtypeStruct((SEEDS, BATCH, 32, 32, 3), jax.numpy.float32),
        jax.ShapeDtypeStruct((SEEDS, BATCH), jax.numpy.int32),
    )
    for kind in kinds:
        chip = SingleDeviceSharding(topologies.get_topology_desc(kind, "tpu").devices[0])
        for name, step, seeds in (("one seed", one, 1), (f"{SEEDS} vmapped", many, SEEDS)):
            arguments = [
                jax.ShapeDtypeStruct(a.shape[seeds == 1 :], a.dtype, sharding=chip)
                for a in jax.tree.leaves((shapes, *batch))
            ]  # a single seed has no seed axis
            arguments = jax.tree.unflatten(jax.tree.structure((shapes, *batch)), arguments)
            cost: Any = step.lower(*arguments).compile().cost_analysis()  # type: ignore[attr-defined]
            flops, moved = cost["flops"] / seeds / 1e9, cost["bytes accessed"] / seeds / 1e6
            print(f"| {kind} | {name} | {flops:.1f} | {moved:.0f} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("topologies", nargs="*", help="of TPUs; none: time both here")
    kinds = parser.parse_args().topologies
    compile_for(kinds) if kinds else measure()
