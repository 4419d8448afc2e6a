"""The model as a module of NNX, as docs/inside_other_code.md shows it."""

import flax
import jax
import numpy as np
import optax
import pytest
from flax import nnx, traverse_util
from small_net import IMAGES, LABELS, assert_trees_close, small_net

from jax_resnet.training import TrainState, train_step

pytestmark = pytest.mark.long

FLAX = tuple(int(part) for part in flax.__version__.split(".")[:3])


def in_nnx(model, variables):
    """The model as an NNX module with these variables."""
    net = nnx.bridge.ToNNX(model, rngs=nnx.Rngs(0)).lazy_init(IMAGES)
    arrays = {path[1:]: leaf for path, leaf in traverse_util.flatten_dict(variables).items()}
    state = nnx.state(net)
    nnx.replace_by_pure_dict(state, traverse_util.unflatten_dict(arrays))
    nnx.update(net, state)
    return net


def test_evaluation_in_nnx():
    model, variables = small_net()
    logits = nnx.jit(lambda net, images: net(images))(in_nnx(model, variables), IMAGES)
    np.testing.assert_allclose(logits, jax.jit(model.apply)(variables, IMAGES), atol=1e-5)


@pytest.mark.skipif(FLAX <= (0, 11, 2), reason="this flax merges nested collections shallowly")
def test_training_in_nnx():
    model, variables = small_net()
    net = in_nnx(model, variables)
    optimizer = nnx.Optimizer(net, optax.sgd(0.1), wrt=nnx.Param)

    @nnx.jit
    def step(net, optimizer, images, labels):
        def loss_fn(net):
            logits = net(images, train=True, mutable=["batch_stats"])
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

        loss, grads = nnx.value_and_grad(loss_fn)(net)
        optimizer.update(net, grads)
        return loss

    loss = step(net, optimizer, IMAGES, LABELS)
    state = TrainState.create(
        apply_fn=model.apply,
        params=variables["params"],
        tx=optax.sgd(0.1),
        batch_stats=variables["batch_stats"],
    )
    after, metrics = jax.jit(train_step)(state, IMAGES, LABELS)
    assert float(loss) == pytest.approx(float(metrics["loss"]), rel=1e-5)
    ours = nnx.to_pure_dict(nnx.state(net, nnx.BatchStat))
    assert_trees_close(ours, after.batch_stats, atol=1e-5)
    assert_trees_close(nnx.to_pure_dict(nnx.state(net, nnx.Param)), after.params, atol=1e-4)
