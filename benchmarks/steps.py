"""The implementations that `benchmark.py` compares: each a function from a `Case` to a `Run`, which
is called in a separate process and imports what it needs there."""

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from case import IMAGE_SHAPE, Case, Run, batch

PEAK_SIZE = 2048


def jax_run(case: Case, init: Callable[[Any], Any], train_step: Callable[..., Any]) -> Run:
    """Steps from the state that `init` makes on a mesh, jitted, the state donated and the batch
    split over the devices."""
    import jax
    from jax.sharding import NamedSharding, PartitionSpec

    from jax_resnet.training.precision import matmul_precision
    from jax_resnet.training.programs import make_mesh

    mesh = make_mesh()
    state = init(mesh)
    images, labels = jax.device_put(batch(case), NamedSharding(mesh, PartitionSpec("data")))
    forward = jax.jit(lambda state, images: state.apply_fn(state.variables, images, train=False))
    step = jax.jit(train_step, donate_argnums=0)

    def run(steps: int) -> int:
        nonlocal state
        with jax.default_matmul_precision(matmul_precision(case.precision)):
            for _ in range(steps):
                if case.mode == "train":
                    state, done = step(state, images, labels)
                else:
                    done = forward(state, images)
                jax.block_until_ready(done)  # as the training loop: at most one step ahead
        jax.block_until_ready(state)
        return steps

    return run


def this_project(case: Case) -> Run:
    """The net, the optimizer and the memory settings of `train.py`."""
    from jax_resnet.cpu.allocator import keep_memory

    keep_memory()
    from jax_resnet.training import train_step
    from jax_resnet.training.programs import init_state

    config = make_config(case)
    return jax_run(case, lambda mesh: init_state(config, 10, IMAGE_SHAPE, mesh), train_step)


def make_config(case: Case, **more: Any) -> Any:
    """The recipe `article` with the values of the case."""
    from jax_resnet.training.config import Config

    return Config(
        model="resnet" if case.shortcut else "cnn",
        shortcut=case.shortcut,
        depth=case.depth,
        batch_size=case.batch_size,
        precision=case.precision,
        **more,
    )


def whole_loop(case: Case) -> Run:
    """The loop of `train.py` on images in memory: permutations, augmentation, progress bar, lines
    and checkpoints."""
    import atexit
    import io
    import sys
    from contextlib import ExitStack
    from dataclasses import replace
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from jax_resnet.cpu.allocator import keep_memory

    keep_memory()
    from jax_resnet.data import Split
    from jax_resnet.run.folder import Run as Folder
    from jax_resnet.training.curves import Curves
    from jax_resnet.training.loop import Training, fit
    from jax_resnet.training.programs import device_data, init_state, make_mesh, make_programs

    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40_000, *IMAGE_SHAPE), np.uint8)
    split = Split(images, rng.integers(0, 10, len(images), np.int32))
    held = ExitStack()
    atexit.register(held.close)
    runs_dir = Path(held.enter_context(TemporaryDirectory()))
    config = make_config(case, steps=10**6, runs_dir=runs_dir)
    mesh = make_mesh()
    programs = make_programs(config, len(split), mesh)
    data = device_data(split, config.normalization, mesh)
    state = init_state(config, 10, IMAGE_SHAPE, mesh)
    opened = Folder(config.folder).open(config.to_json(), {}, {}, False, lambda _: None)
    folder = held.enter_context(opened)
    unused: Any = None
    training = Training(
        config=config,
        run=folder,
        curves=Curves(config, folder, {}),
        data=data,
        classify=unused,
        validation=None,
    )
    sys.stderr = io.StringIO()  # draws the progress bar, unseen
    sys.stderr.isatty = lambda: True  # type: ignore[method-assign]

    def run(steps: int) -> int:
        nonlocal state
        first = int(state.step)
        end = first + steps
        shorter = replace(programs, epoch_end=lambda step: min(programs.epoch_end(step), end))
        start = {"state": state, "totals": programs.zeros()}
        until = replace(training, config=replace(config, steps=end))
        (state,) = fit([until], shorter, [start], [])
        return int(state.step) - first  # more than `steps` where a dispatch is of several

    return run


def usual_flax(case: Case) -> Run:
    """The net and the step as usually written: Flax's convolution, BatchNorm and max-pooling."""
    from flax_step import init, train_step

    return jax_run(case, partial(init, case), train_step)


def flax_same_allocator(case: Case) -> Run:
    """The usual Flax step with the memory settings of `train.py`: what these alone bring."""
    from jax_resnet.cpu.allocator import keep_memory

    keep_memory()
    return usual_flax(case)


def pytorch(case: Case, mode: str | None = None) -> Run:
    """The same net and step in PyTorch, channels_last, eager or compiled."""
    from torch_step import make_run

    return make_run(case, mode)


def matmul_peak(case: Case) -> Run:
    """Products of two square matrices of `PEAK_SIZE`: the peak that this machine reaches."""
    import jax
    import jax.numpy as jnp

    from jax_resnet.training.precision import compute_dtype, matmul_precision

    a = jnp.ones((PEAK_SIZE, PEAK_SIZE), compute_dtype(case.precision))
    product = jax.jit(jnp.matmul)

    def run(steps: int) -> int:
        with jax.default_matmul_precision(matmul_precision(case.precision)):
            for _ in range(steps):
                done = product(a, a)
        jax.block_until_ready(done)
        return steps

    return run


OURS, FLAX, TORCH, COMPILED = "jax_resnet", "Flax, as usual", "PyTorch", "torch.compile"
LOOP, SAME = "jax_resnet, train.py", "Flax, same allocator"
IMPLEMENTATIONS: dict[str, Callable[[Case], Run]] = {
    OURS: this_project,
    LOOP: whole_loop,
    FLAX: usual_flax,
    SAME: flax_same_allocator,
    TORCH: pytorch,
    COMPILED: partial(pytorch, mode="default"),
    "matmul": matmul_peak,
}


def start(implementation: str, case: Case) -> Run:
    """Makes one of `IMPLEMENTATIONS` in this process, which has not used JAX yet."""
    if case.devices > 1:
        flag = f"--xla_force_host_platform_device_count={case.devices}"
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}"
    return IMPLEMENTATIONS[implementation](case)
