"""What `benchmark.py` compares: each a function from a `Case` to `run(steps)`, which returns how
many steps were done, when they are. Each is made in a process of its own, and imports what it
needs there."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

Run = Callable[[int], int]
CHANNELS = (16, 32, 64)


@dataclass(frozen=True)
class Case:
    """What is run: a step of training, or a forward pass of evaluation, on one batch in memory."""

    mode: str = "train"  # or "eval"
    depth: int = 20
    batch_size: int = 128
    shortcut: str | None = "zeropad"
    precision: str = "float32"  # or "tf32", "bf16"
    devices: int = 1  # virtual ones, on a CPU


def batch(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Normalised NHWC images and labels."""
    rng = np.random.default_rng(0)
    images = rng.standard_normal((case.batch_size, 32, 32, 3), np.float32)
    return images, rng.integers(0, 10, case.batch_size, np.int32)


def jax_run(case: Case, model: Any, tx: Any) -> Run:
    """Steps of a Flax net, jitted, the state donated and the batch split over the devices."""
    import jax
    from jax.sharding import NamedSharding, PartitionSpec

    from jax_resnet.training.programs import PRECISIONS, make_mesh, replicated
    from jax_resnet.training.step import TrainState, train_step

    mesh = make_mesh()
    state = TrainState.init(jax.random.key(0), model, tx, (32, 32, 3))
    state = jax.device_put(state, replicated(mesh))
    images, labels = jax.device_put(batch(case), NamedSharding(mesh, PartitionSpec("data")))
    forward = jax.jit(lambda state, images: state.apply_fn(variables(state), images, train=False))
    step = jax.jit(train_step, donate_argnums=0)

    def variables(state: Any) -> Any:
        return {"params": state.params, "batch_stats": state.batch_stats}

    def run(steps: int) -> int:
        nonlocal state
        with jax.default_matmul_precision(PRECISIONS[case.precision]):
            for _ in range(steps):
                if case.mode == "eval":
                    done = forward(state, images)
                else:
                    state, done = step(state, images, labels)
                jax.block_until_ready(done)  # as the training loop: never far ahead
        jax.block_until_ready(state)
        return steps

    return run


def this_project(case: Case) -> Run:
    """The net, the step and the allocator's settings that `train.py` uses."""
    from jax_resnet.cpu.allocator import keep_memory

    keep_memory()
    import jax

    from jax_resnet.training.config import Config, make_model
    from jax_resnet.training.recipes import make_optimizer

    kind: Any = (
        {"model": "resnet", "shortcut": case.shortcut} if case.shortcut else {"model": "cnn"}
    )
    config = Config(depth=case.depth, batch_size=case.batch_size, **kind)
    fields: dict[str, Any] = {}
    if case.precision == "bf16":
        fields["dtype"] = jax.numpy.bfloat16
    if jax.default_backend() == "cpu":
        from jax_resnet.cpu.conv import conv_general_dilated

        fields["conv_general_dilated"] = partial(conv_general_dilated, shards=case.devices)
    return jax_run(case, make_model(config, 10, **fields), make_optimizer(config))


def whole_loop(case: Case) -> Run:
    """`train.py`'s own loop on images in memory: order, augmentation, bar, line and checkpoint."""
    import contextlib
    import dataclasses
    import io
    import sys
    import tempfile
    from pathlib import Path

    from jax_resnet.cpu.allocator import keep_memory

    keep_memory()
    from jax_resnet import job as jobs
    from jax_resnet import trainer
    from jax_resnet.data.dataset import Dataset, Split
    from jax_resnet.run.checkpoints import Checkpoints
    from jax_resnet.run.folder import Run as Folder
    from jax_resnet.training.config import Config
    from jax_resnet.training.programs import make_mesh, make_programs

    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40_000, 32, 32, 3), np.uint8)
    split = Split(images, rng.integers(0, 10, len(images), np.int32))
    nothing = Split(images[:0], split.labels[:0])
    dataset = Dataset("random", split, nothing, nothing, tuple("abcdefghij"), flippable=True)
    config = Config(batch_size=case.batch_size, runs_dir=Path(tempfile.mkdtemp()), steps=10**6)
    mesh = make_mesh()
    programs = make_programs(config, len(split), True, mesh)
    folder = contextlib.ExitStack().enter_context(Folder.open(config, dataset, mesh.devices.flat))
    checkpoints = Checkpoints(folder.checkpoints, folder.folder / "damaged")
    job = jobs.make_job(config, dataset, programs, folder, checkpoints)
    state = jobs.initial(config, dataset, mesh)
    sys.stderr = io.StringIO()  # the bar is drawn, where nobody sees it
    sys.stderr.isatty = lambda: True  # type: ignore[method-assign]

    def run(steps: int) -> int:
        nonlocal state
        begin = int(state.step)
        end = dataclasses.replace(config, steps=begin + steps)
        state = trainer.fit(job._replace(config=end), state, programs.zeros())
        # An accelerator's dispatch may be of more steps than were asked for.
        return int(state.step) - begin

    return run


def usual_flax(case: Case) -> Run:
    """The net as it is usually written: stock convolution, BatchNorm and max-pool."""
    import flax.linen as nn
    import jax.numpy as jnp
    import optax

    dtype = jnp.bfloat16 if case.precision == "bf16" else jnp.float32

    class Net(nn.Module):
        param_dtype = jnp.float32

        @nn.compact
        def __call__(self, x: Any, train: bool = False) -> Any:
            conv = partial(nn.Conv, use_bias=False, padding=1, dtype=dtype)
            norm = partial(nn.BatchNorm, not train, momentum=0.9, dtype=dtype)
            x = nn.relu(norm(name="stem_norm")(conv(16, (3, 3), name="stem_conv")(x)))
            for stage, channels in enumerate(CHANNELS):
                for block in range((case.depth - 2) // 6):
                    strides = (2, 2) if stage > 0 and block == 0 else (1, 1)
                    y = nn.relu(norm()(conv(channels, (3, 3), strides)(x)))
                    y = norm()(conv(channels, (3, 3))(y))
                    if case.shortcut == "conv1x1" and strides == (2, 2):
                        x = norm()(conv(channels, (1, 1), strides, padding=0)(x))
                    elif case.shortcut == "zeropad" and strides == (2, 2):
                        x = nn.max_pool(x, (2, 2), (2, 2))
                        x = jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, channels - x.shape[-1])))
                    x = nn.relu(y + x if case.shortcut else y)
            return nn.Dense(10, name="head")(x.mean((1, 2), dtype=jnp.float32))

    tx = optax.chain(optax.add_decayed_weights(1e-4), optax.sgd(0.1, 0.9))
    return jax_run(case, Net(), tx)


def pytorch(case: Case, compiled: bool = False) -> Run:
    """The same net and step in PyTorch, channels_last, eager or compiled."""
    from benchmark_torch import make_run

    return make_run(case, compiled)


def matmul_peak(case: Case) -> Run:
    """Products of two square matrices of `PEAK_SIZE`; what the machine can do at best."""
    import jax
    import jax.numpy as jnp

    from jax_resnet.training.programs import PRECISIONS

    dtype = jnp.bfloat16 if case.precision == "bf16" else jnp.float32
    a = jnp.ones((PEAK_SIZE, PEAK_SIZE), dtype)
    product = jax.jit(jnp.matmul)

    def run(steps: int) -> int:
        with jax.default_matmul_precision(PRECISIONS[case.precision]):
            for _ in range(steps):
                done = product(a, a)
        jax.block_until_ready(done)
        return steps

    return run


PEAK_SIZE = 2048
IMPLEMENTATIONS: dict[str, Callable[[Case], Run]] = {
    "jax_resnet": this_project,
    "jax_resnet, train.py": whole_loop,
    "Flax, as usual": usual_flax,
    "PyTorch": pytorch,
    "torch.compile": partial(pytorch, compiled=True),
    "matmul": matmul_peak,
}


def start(implementation: str, case: Case) -> Run:
    """Makes one of `IMPLEMENTATIONS` in this process, which has not imported JAX before."""
    if case.devices > 1:
        flag = f"--xla_force_host_platform_device_count={case.devices}"
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}"
    return IMPLEMENTATIONS[implementation](case)


def training_flops(case: Case) -> float:
    """Of one image: 2 for each multiplication, of which each weight has one a pixel; thrice in
    training, for the input's and the filter's gradient cost as much as the value."""
    products, n = 32 * 32 * 27 * 16 + 640, (case.depth - 2) // 6
    for before, channels, side in zip((16, 16, 32), CHANNELS, (32, 16, 8), strict=True):
        products += side**2 * 9 * channels * (before + (2 * n - 1) * channels)
        if case.shortcut == "conv1x1" and before != channels:
            products += side**2 * before * channels
    return 2.0 * products * (3 if case.mode == "train" else 1)
