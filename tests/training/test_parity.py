"""Recorded float32 runs of the PyTorch original, step by step, against ours.

The first step is compared in float32. Float32 sums in another order move activations by about 1e-7,
and that alone would leave all that follows within 1e-6. But of the million ReLUs in a batch, one or
two may sit that close to zero: PyTorch's is open where ours is shut. One such pixel is worth up to
4e-4 in a gradient, and eight steps at a rate of 0.1 amplify it, to what differs from one CPU to
another. So our own eight steps are in float64, the same everywhere, and only PyTorch's rounding is
left. There are two bounds wherever a gradient has passed: one on the median of each tensor, which
a single ReLU hardly moves and a wrong rule would, and a wide one on the worst element. Both are two
to four times the largest gap seen between PyTorch's float32, our float32 (AVX2 and AVX-512, jax
0.7.2 and 0.10.2) and our float64.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import SHARED, enable_x64, with_unbiased_variances

from jax_resnet.classifier import normalize
from jax_resnet.pytorch.weights import from_torch, to_torch
from jax_resnet.training.config import Config
from jax_resnet.training.optimizer import make_optimizer
from jax_resnet.training.step import TrainState, train_step

REFERENCE = SHARED / "reference"
SHORTCUTS = {"zeropad": "zeropad", "conv1x1": "conv1x1", "cnn": None}
BATCH, DECAY = 32, 0.9


@pytest.fixture(scope="module", params=SHORTCUTS)
def trajectory(request):
    """The recording, and from its initial weights our state in float32, and in float64 our own
    eight steps."""
    path = REFERENCE / f"pytorch_trajectory_{request.param}_n1.npz"
    if not path.exists():
        pytest.skip("no recorded PyTorch run on this machine")
    with np.load(path) as file:
        recorded = dict(file)
    classifier, _ = from_torch(under(recorded, "init/"), shortcut=SHORTCUTS[request.param])
    images = normalize(jnp.asarray(recorded["images"]), classifier.mean, classifier.std)
    labels = jnp.asarray(recorded["labels"])
    first, losses, accuracies = state_of(classifier), [], []
    with enable_x64(True):
        step, after = jax.jit(train_step), state_of(in_float64(classifier))
        for batch, target in zip(jnp.float64(images), labels, strict=True):
            after, metrics = step(after, batch, target)
            losses.append(float(metrics["loss"]))
            accuracies.append(float(metrics["accuracy"]))
        after = jax.tree.map(np.asarray, after)
    return recorded, classifier, first, after, images, labels, losses, accuracies


def in_float64(classifier):
    return classifier.replace(
        model=classifier.model.clone(dtype=jnp.float64, param_dtype=jnp.float64),
        variables=jax.tree.map(jnp.float64, classifier.variables),
    )


def state_of(classifier):
    """The state before the first step."""
    return TrainState.create(
        apply_fn=classifier.model.apply,
        params=classifier.variables["params"],
        tx=make_optimizer(Config(steps=8, batch_size=BATCH)),
        batch_stats=classifier.variables["batch_stats"],
    )


def under(recorded, prefix):
    return {k.removeprefix(prefix): v for k, v in recorded.items() if k.startswith(prefix)}


def variables(state):
    return {"params": state.params, "batch_stats": state.batch_stats}


def assert_close(ours, theirs, *, median, largest):
    """Bounds on the absolute difference in each tensor: its median, and its largest."""
    assert theirs, "nothing to compare"
    assert ours.keys() >= theirs.keys(), f"not ours: {theirs.keys() - ours.keys()}"
    for name in theirs:
        gap = np.abs(ours[name] - theirs[name])
        assert np.median(gap) < median, f"{name}: half the gaps exceed {np.median(gap)}"
        assert gap.max() < largest, f"{name} differs by up to {gap.max()}"


@pytest.mark.long
def test_logits_of_the_first_batch_in_train_mode(trajectory):
    recorded, classifier, first, _, images, *_ = trajectory
    logits, _ = classifier.model.apply(
        variables(first), images[0], train=True, mutable=["batch_stats"]
    )
    gap = np.abs(logits - recorded["train_logits_step0"]).max()
    assert gap < 2e-5, f"logits differ by up to {gap}"


def test_every_gradient_of_the_first_step(trajectory):
    """Read from our optimizer: PyTorch's momentum after one step is the gradient with decay."""
    recorded, classifier, first, _, images, labels, *_ = trajectory
    after, _ = jax.jit(train_step)(first, images[0], labels[0])
    traces = [
        leaf for leaf in jax.tree.leaves(after.opt_state, is_leaf=is_params) if is_params(leaf)
    ]
    assert len(traces) == 1
    grads = jax.tree.map(lambda trace, p: trace - 1e-4 * p, traces[0], first.params)
    ours = to_torch({"params": grads, "batch_stats": first.batch_stats}, classifier.model)
    # A decay that left out BatchNorm would show as 1e-4 in the median of its scales.
    assert_close(ours, under(recorded, "grad0/"), median=4e-5, largest=1e-3)


def is_params(leaf):
    return isinstance(leaf, dict) and "head" in leaf


def test_loss_and_accuracy_of_every_step(trajectory):
    recorded, *_, losses, accuracies = trajectory
    bounds = [2e-6, 1e-4, 1e-3, 4e-3, 2e-2, 4e-2, 4e-2, 4e-2]
    gaps = np.abs(losses - recorded["losses"])
    assert (gaps < bounds).all(), f"losses differ by {gaps}, at most {bounds} is right"
    one_image = 1 / BATCH + 1e-6
    assert accuracies[0] == pytest.approx(recorded["accuracies"][0])
    np.testing.assert_allclose(accuracies, recorded["accuracies"], atol=one_image)


def test_weights_and_running_means_after_the_last_step(trajectory):
    recorded, classifier, _, after, *_ = trajectory
    ours = to_torch(variables(after), classifier.model)
    final = under(recorded, "final/")
    theirs = {k: v for k, v in final.items() if "running_var" not in k and "num_batches" not in k}
    assert_close(ours, theirs, median=1e-2, largest=3e-2)


def test_running_variances_but_for_bessels_correction(trajectory):
    recorded, classifier, _, after, images, *_ = trajectory
    ours = to_torch(
        with_unbiased_variances(variables(after), DECAY**8, BATCH, images.shape[2]),
        classifier.model,
    )
    theirs = {k: v for k, v in under(recorded, "final/").items() if k.endswith("running_var")}
    assert_close(ours, theirs, median=1e-2, largest=5e-2)


def test_logits_in_eval_mode_after_the_last_step(trajectory):
    recorded, classifier, _, after, images, *_ = trajectory
    corrected = with_unbiased_variances(variables(after), DECAY**8, BATCH, images.shape[2])
    ours = classifier.replace(variables=jax.tree.map(jnp.float32, corrected))
    logits = np.asarray(ours(recorded["images"][0]))
    gaps = np.abs(logits - recorded["eval_logits_after"])
    assert np.median(gaps) < 1e-2, f"half the gaps exceed {np.median(gaps)}"
    assert gaps.max() < 5e-2, f"logits differ by up to {gaps.max()}"


def test_eval_mode_computes_what_pytorch_computes(trajectory):
    """From PyTorch's own final weights no step has amplified anything: 1e-5 is enough."""
    recorded, classifier, *_ = trajectory
    theirs, _ = from_torch(under(recorded, "final/"), shortcut=classifier.model.shortcut)
    gap = np.abs(theirs(recorded["images"][0]) - recorded["eval_logits_after"]).max()
    assert gap < 1e-5, f"logits differ by up to {gap}"
