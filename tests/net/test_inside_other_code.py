"""The model in other code, as docs/inside_other_code.md shows it."""

import subprocess
import sys
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import traverse_util
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from small_net import IMAGES, LABELS, assert_trees_close, small_net

from jax_resnet import Classifier, ResNet
from jax_resnet.classifier import normalize
from jax_resnet.model import Block, Stage
from jax_resnet.norm import BatchNorm
from jax_resnet.training import TrainState, train_step
from jax_resnet.training.optimizer import muon_or_sgd
from jax_resnet.training.step import cross_entropy

pytestmark = pytest.mark.long


def changed(before, after):
    """The parts of the net, by name, of which any array differs."""
    differs = jax.tree.map(lambda a, b: bool((a != b).any()), before, after)
    return {path[0] for path, each in traverse_util.flatten_dict(differs).items() if each}


def test_fine_tuning_the_head_with_the_stages_frozen():
    _, variables = small_net()
    net = ResNet(8, shortcut="subsample")  # has the same variables as zeropad
    trained = Classifier(variables, jnp.full(1, 0.5), jnp.full(1, 0.25), net, tuple("abcdefghij"))
    raw = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 1), np.uint8)
    images = normalize(raw, trained.mean, trained.std)

    model, tx = trained.model.clone(num_classes=3), optax.adamw(0.01)
    state = TrainState.init(jax.random.key(2), model, tx, (8, 8, 1), freeze="stages")
    sizes = {array.size for array in jax.tree.leaves(state.opt_state)}
    assert sizes == {1, 3, 64 * 3}, "the optimizer holds nothing of frozen layers"
    backbone = {k: v for k, v in variables["params"].items() if k != "head"}
    start = state.replace(params=state.params | backbone, batch_stats=variables["batch_stats"])
    state, losses, step = start, [], jax.jit(train_step)
    for _ in range(5):
        state, metrics = step(state, images, LABELS)
        losses.append(float(metrics["loss"]))
    assert losses[-1] < losses[0]
    assert changed(start.params, state.params) == {"head"}
    assert not changed(start.batch_stats, state.batch_stats)
    with_the_old_head = {
        "params": state.params | {"head": variables["params"]["head"]},
        "batch_stats": state.batch_stats,
    }
    assert model.shortcut == net.shortcut
    logits = jax.jit(net.apply)(with_the_old_head, images)
    np.testing.assert_allclose(logits, trained(raw), atol=1e-5)


class Parts(nn.Module):
    """A net of `ResNet`'s parts, with another kernel in its stem and other numbers of blocks."""

    blocks: tuple[int, int, int]
    stem: int
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images, train=False):
        conv = partial(nn.Conv, use_bias=False, padding=1)
        norm = partial(BatchNorm, use_running_average=not train)
        block = partial(Block, shortcut="zeropad", conv=conv, norm=norm)
        pad = self.stem // 2
        x = conv(16, (self.stem, self.stem), padding=pad, name="stem_conv")(images)
        x = norm(name="stem_norm")(x)
        for i, (blocks, channels) in enumerate(zip(self.blocks, (16, 32, 64), strict=True)):
            x = Stage(blocks, channels, 1 if i == 0 else 2, block, name=f"stage{i + 1}")(x)
        return nn.Dense(10, name="head")(x.mean(axis=(1, 2)))


def test_a_net_of_the_same_parts_is_the_same_net_and_trains():
    model, variables = small_net()
    same = Parts((1, 1, 1), 3)
    shapes = jax.eval_shape(same.init, jax.random.key(0), IMAGES)
    assert jax.tree.map(jnp.shape, shapes) == jax.tree.map(jnp.shape, variables)
    logits = jax.jit(same.apply)(variables, IMAGES)
    np.testing.assert_allclose(logits, jax.jit(model.apply)(variables, IMAGES), atol=1e-5)

    other = Parts((1, 2, 1), 5)
    state = TrainState.init(jax.random.key(0), other, optax.sgd(0.1), (8, 8, 1))
    sizes = [sum(x.size for x in jax.tree.leaves(p)) for p in (variables["params"], state.params)]
    block = 2 * (9 * 32 * 32 + 2 * 32)
    assert sizes[1] - sizes[0] == block + (25 - 9) * 16
    start, (state, metrics) = state, jax.jit(train_step)(state, IMAGES, LABELS)
    assert jnp.isfinite(metrics["loss"])
    assert changed(start.params, state.params) == set(start.params)


def test_features_of_each_stage():
    model, variables = small_net()

    @jax.jit
    def features(variables, images):
        _, seen = model.apply(
            variables, images, capture_intermediates=lambda module, _: isinstance(module, Stage)
        )
        return {stage: calls["__call__"][0] for stage, calls in seen["intermediates"].items()}

    found = features(variables, IMAGES)
    assert {stage: x.shape for stage, x in found.items()} == {
        "stage1": (8, 8, 8, 16), "stage2": (8, 4, 4, 32), "stage3": (8, 2, 2, 64),
    }  # fmt: skip
    head = variables["params"]["head"]
    logits = found["stage3"].mean((1, 2)) @ head["kernel"] + head["bias"]
    np.testing.assert_allclose(logits, jax.jit(model.apply)(variables, IMAGES), atol=1e-5)


class Pair(nn.Module):
    """Whether two images are of one class: a net within another module."""

    @nn.compact
    def __call__(self, one, other, train=False):
        embed = ResNet(8, num_classes=4, name="embed")
        return nn.Dense(1)(embed(one, train) * embed(other, train))


def test_the_model_within_another_module():
    model = Pair()
    variables = jax.jit(model.init)(jax.random.key(0), IMAGES, IMAGES)

    @jax.jit
    def gradient(params):
        def loss(params):
            now = variables | {"params": params}
            y, updates = model.apply(now, IMAGES, IMAGES[::-1], True, mutable=["batch_stats"])
            return (y**2).mean(), updates

        return jax.grad(loss, has_aux=True)(params)

    grads, updates = gradient(variables["params"])
    assert all(np.abs(grad).max() > 0 for grad in jax.tree.leaves(grads["embed"]["stage1"]))
    assert changed(variables["batch_stats"], updates["batch_stats"]) == {"embed"}


def test_muon_trains_the_kernels_of_a_net_within_another_module():
    variables = jax.jit(Pair().init)(jax.random.key(0), IMAGES, IMAGES)
    names = muon_or_sgd(variables["params"])
    alone = muon_or_sgd(small_net()[1]["params"])
    assert {k: v for k, v in names["embed"].items() if k != "head"} == {
        k: v for k, v in alone.items() if k != "head"
    }
    kernels = [path for path, each in traverse_util.flatten_dict(names).items() if each == "muon"]
    assert len(kernels) == 6
    assert {path[:1] + path[-1:] for path in kernels} == {("embed", "kernel")}


def test_gradients_within_shard_map_are_the_means_of_its_devices():
    model, variables = small_net()
    devices = np.array(jax.devices()[:2])
    mesh = Mesh(devices, ("data",), axis_types=(AxisType.Auto,))
    split, everywhere = PartitionSpec("data"), PartitionSpec()

    def loss(params, images, labels):
        now = variables | {"params": params}
        logits, _ = model.apply(now, images, train=True, mutable=["batch_stats"])
        return cross_entropy(logits, labels).mean()

    @partial(jax.shard_map, mesh=mesh, in_specs=(everywhere, split, split), out_specs=everywhere)
    def sharded(params, images, labels):
        return jax.grad(lambda params: jax.lax.pmean(loss(params, images, labels), "data"))(params)

    ours = jax.jit(sharded)(variables["params"], IMAGES, LABELS)
    gradient, half = jax.jit(jax.grad(loss)), len(IMAGES) // 2
    each = [
        gradient(variables["params"], IMAGES[i:j], LABELS[i:j])
        for i, j in ((0, half), (half, None))
    ]
    means = jax.tree.map(lambda a, b: (a + b) / 2, *each)
    assert_trees_close(ours, means, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_vmap_over_seeds():
    model, tx = ResNet(8, num_classes=3), optax.sgd(0.1, 0.9)
    keys, images = jax.random.split(jax.random.key(0), 2), IMAGES[:, ::2, ::2]
    init = partial(TrainState.init, model=model, tx=tx, image_shape=(4, 4, 1))
    states = jax.vmap(init)(keys)
    states, metrics = jax.jit(jax.vmap(train_step, (0, None, None)))(states, images, LABELS)
    assert metrics["loss"].shape == (2,)
    alone, expected = jax.jit(train_step)(init(keys[1]), images, LABELS)
    assert float(metrics["loss"][1]) == pytest.approx(float(expected["loss"]), rel=1e-4)
    one = jax.tree.map(lambda leaf: leaf[1], states.params)
    assert_trees_close(one, alone.params, atol=1e-3)


WITHOUT_TRAINING = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"optax", "orbax", "tensorflow_datasets", "tensorflow", "PIL",
                                  "array_record", "sklearn", "matplotlib", "jinja2", "pydantic",
                                  "filelock", "torch", "tqdm", "tyro"}:
            raise ImportError(name)

sys.meta_path.insert(0, Absent())
import numpy as np
from jax_resnet import Classifier

path, images, logits = sys.argv[1:]
np.save(logits, Classifier.load(path)(np.load(images)))
"""


def test_a_classifier_file_needs_nothing_of_training(tmp_path):
    model, variables = small_net()
    names = tuple("abcdefghij")
    classifier = Classifier(variables, jnp.zeros(1), jnp.ones(1), model, names)
    classifier.save(tmp_path / "model.safetensors")
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 1), np.uint8)
    np.save(tmp_path / "images.npy", images)
    files = [tmp_path / name for name in ("model.safetensors", "images.npy", "logits.npy")]
    subprocess.run([sys.executable, "-c", WITHOUT_TRAINING, *files], check=True, cwd=tmp_path)
    np.testing.assert_allclose(
        np.load(files[-1]), jax.jit(Classifier.__call__)(classifier, images), atol=1e-5
    )


def test_another_optimizer_sharded_over_another_mesh():
    mesh = Mesh(np.array(jax.devices()), ("mine",))
    model, tx = ResNet(8, num_classes=3), optax.adam(1e-3)
    state = TrainState.init(jax.random.key(0), model, tx, (8, 8, 1))

    def by_channel(leaf):
        axes = [None] * (leaf.ndim - 1) + ["mine"] if leaf.ndim else []
        fits = leaf.ndim and leaf.shape[-1] % mesh.size == 0
        return NamedSharding(mesh, PartitionSpec(*axes) if fits else PartitionSpec())

    everywhere = jax.tree.map(lambda _: NamedSharding(mesh, PartitionSpec()), state)
    shardings = everywhere.replace(opt_state=jax.tree.map(by_channel, state.opt_state))
    batch = NamedSharding(mesh, PartitionSpec("mine"))
    step = jax.jit(train_step, out_shardings=(shardings, None))
    sharded, metrics = step(
        jax.device_put(state, shardings), *jax.device_put((IMAGES, LABELS), batch)
    )
    moment = sharded.opt_state[0].mu["stage3"]["block1"]["conv1"]["kernel"]
    assert moment.addressable_shards[0].data.shape == (3, 3, 32, 64 // mesh.size)
    plain, expected = jax.jit(train_step)(state, IMAGES, LABELS)
    assert float(metrics["loss"]) == pytest.approx(float(expected["loss"]), rel=1e-5)
    assert_trees_close(sharded.batch_stats, plain.batch_stats, atol=1e-5)
