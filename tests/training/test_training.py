"""The step, the programs around it, and evaluation."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support import digits, records, train

from jax_resnet import Classifier, ResNet
from jax_resnet.data import Split, load
from jax_resnet.errors import UserError
from jax_resnet.training.config import Config
from jax_resnet.training.evaluation import evaluate, to_device
from jax_resnet.training.optimizer import make_optimizer, make_schedule
from jax_resnet.training.programs import make_mesh, make_programs, replicated
from jax_resnet.training.recipes import RECIPES
from jax_resnet.training.step import TrainState, cross_entropy, eval_step, train_step

DIGITS = load("digits")


def fresh(config, seed=0):
    model = ResNet(8, 10, config.shortcut)
    return TrainState.init(jax.random.key(seed), model, make_optimizer(config), (8, 8, 1))


@pytest.mark.long
@pytest.mark.parametrize("recipe", RECIPES)
def test_steps_lower_the_loss_and_donate_the_state(recipe):
    state = fresh(RECIPES[recipe])
    images = jnp.asarray(DIGITS.train.images[:64] / 255 - 0.5, jnp.float32)
    labels = jnp.asarray(DIGITS.train.labels[:64])
    step = jax.jit(train_step, donate_argnums=0)
    first = state
    losses = []
    for _ in range(12):
        state, metrics = step(state, images, labels)
        losses.append(float(metrics["loss"]))
    assert losses[-1] < 0.5 * losses[0], f"the loss went {losses}"
    assert int(state.step) == 12
    for leaf in jax.tree.leaves((first.params, first.opt_state, first.batch_stats)):
        assert leaf.is_deleted(), "an old buffer is still alive"


def test_article_divides_the_rate_by_ten_at_half_and_three_quarters():
    schedule = make_schedule(RECIPES["article"], 0.1)
    rates = [float(schedule(step)) for step in (0, 31_999, 32_000, 47_999, 48_000, 63_999)]
    np.testing.assert_allclose(rates, [0.1, 0.1, 0.01, 0.01, 0.001, 0.001], rtol=1e-6)


def test_paper_warms_up_at_depth_110_only():
    for depth, rate in ((110, 0.01), (56, 0.1)):
        config = Config(**{**vars(RECIPES["paper"]), "depth": depth})
        schedule = make_schedule(config, 0.1)
        assert float(schedule(399)) == pytest.approx(rate)
        assert float(schedule(400)) == pytest.approx(0.1)


def test_decay_spares_biases_and_norms_where_asked():
    params = fresh(Config()).params
    zero = jax.tree.map(jnp.zeros_like, params)
    for decay_all in (True, False):
        tx = make_optimizer(Config(decay_all=decay_all))
        updates, _ = jax.jit(tx.update)(zero, tx.init(params), params)
        norm = updates["stage1"]["block1"]["norm1"]["scale"]
        np.testing.assert_allclose(norm, -0.1 * 1e-4 if decay_all else 0, rtol=1e-5)
        kernel = params["head"]["kernel"]
        np.testing.assert_allclose(updates["head"]["kernel"], -0.1 * 1e-4 * kernel, rtol=1e-5)


def test_muon_leaves_kernels_at_their_norm():
    state = fresh(RECIPES["fast"])
    grads = jax.tree.map(jnp.ones_like, state.params)
    updates, _ = jax.jit(state.tx.update)(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    kernel = params["stage2"]["block1"]["conv2"]["kernel"]
    rate = RECIPES["fast"].muon_learning_rate
    assert float(jnp.linalg.norm(kernel)) == pytest.approx(32**0.5, abs=2 * rate)


def test_label_smoothing_is_spread_over_all_classes():
    logits = jnp.array([[2.0, 0.0, -1.0]])
    plain = [float(cross_entropy(logits, jnp.array([i]))[0]) for i in range(3)]
    smoothed = float(cross_entropy(logits, jnp.array([0]), 0.3)[0])
    assert smoothed == pytest.approx(0.7 * plain[0] + 0.1 * sum(plain), rel=1e-6)


@pytest.mark.long
def test_two_views_of_each_image_are_trained_with_and_drawn_together():
    config = Config(depth=8, batch_size=4)
    state, n = fresh(config), 4
    views = jax.random.normal(jax.random.key(1), (2 * n, 8, 8, 1))
    labels = jnp.arange(n)
    _, metrics = jax.jit(train_step)(state, views, labels)
    apply = jax.jit(partial(state.apply_fn, train=True, mutable=["batch_stats"]))
    logits, _ = apply(state.variables, views)
    both = (cross_entropy(logits[:n], labels).mean() + cross_entropy(logits[n:], labels).mean()) / 2
    wanted = both + 0.1 * ((logits[:n] - logits[n:]) ** 2).mean()
    assert float(metrics["loss"]) == pytest.approx(float(wanted), rel=1e-5)
    right = np.asarray(logits).argmax(1) == np.tile(labels, 2)
    assert float(metrics["accuracy"]) == pytest.approx(right.mean())
    with pytest.raises(UserError, match="`images` are 7, expected one or two for each of the lab"):
        train_step(state, views[:7], labels)


@pytest.mark.parametrize("shape", [(4, 1), (1, 4), (0,)])
def test_labels_of_another_shape_are_refused(shape):
    """`(n, 1)` is what Keras returns: it would be broadcast to n x n."""
    labels = jnp.zeros(shape, jnp.int32)
    with pytest.raises(UserError, match="labels"):
        train_step(fresh(Config(depth=8)), jnp.zeros((4, 8, 8, 1)), labels)
    if len(shape) > 1:
        with pytest.raises(UserError, match=r"`labels` are int32.*, expected integers, \(4,\)"):
            eval_step(jnp.zeros((4, 10)), labels, jnp.ones(4, bool))


@pytest.mark.parametrize("mask", [np.ones((4, 1), bool), np.ones(1, bool), np.full(4, 2)])
def test_a_mask_of_another_kind_is_refused(mask):
    """A mask that is broadcast counts images several times, and so does an integer."""
    with pytest.raises(UserError, match=r"`mask` is (bool|int64).*, expected bool\(4,\)"):
        eval_step(jnp.zeros((4, 10)), jnp.arange(4), mask)


@pytest.mark.parametrize("classes", [256, 600])
@pytest.mark.parametrize("dtype", [np.uint8, np.int32])
def test_labels_of_any_integer_type_are_taken(dtype, classes):
    """Classes from 256 on have no number of 8 bits, where 259 would be 3."""
    logits, labels = jnp.zeros((2, classes)).at[0, 3].set(9.0), np.array([3, 255], dtype)
    losses = jax.jit(cross_entropy)(logits, labels)
    expected = [np.log(np.exp(9) + classes - 1) - 9, np.log(classes)]
    np.testing.assert_allclose(losses, expected, rtol=1e-4)
    assert eval_step(logits, labels, np.ones(2, bool))["correct"] == 1


@pytest.mark.parametrize("label", [-1, 10])
def test_a_label_of_no_class_has_no_loss(label):
    logits, labels = jnp.zeros((2, 10)), jnp.array([3, label])
    assert np.isinf(cross_entropy(logits, labels)).tolist() == [False, True]
    assert np.isinf(cross_entropy(logits, labels, 0.1)).tolist() == [False, True]
    mask = jnp.array([True, False])
    loss, gradient = jax.value_and_grad(lambda x: eval_step(x, labels, mask)["loss"])(logits)
    assert float(loss) == pytest.approx(np.log(10)), "a masked one is not counted"
    assert np.isfinite(gradient).all()
    assert not gradient[1].any()
    with pytest.raises(UserError, match="`labels` are float32"):
        cross_entropy(logits, labels.astype(jnp.float32))


@pytest.mark.parametrize("dispatch", ["step", "loop"])
def test_a_run_compiles_its_step_once_ahead_and_copies_nothing_to_the_device(dispatch, caplog):
    config, count = Config(dataset="digits", depth=8, steps=8, batch_size=16), 50
    mesh = make_mesh()
    programs = make_programs(config, count, mesh, dispatch)
    arrays = (DIGITS.train.images[:count], DIGITS.train.labels[:count], *np.float32([[0.3], [0.4]]))
    state, data = jax.device_put((fresh(config), arrays), replicated(mesh))
    totals, step = programs.zeros(), 0
    with jax.log_compiles():
        epoch = programs.draw_epoch(config.seed, state.step)
        programs.advance.compile(state, totals, data, epoch)
        done = [line for line in caplog.messages if line.startswith("Finished XLA compilation")]
        assert sum("jit(draw_epoch)" in line for line in done) == 1, f"compiled {done}"
        steps = [line for line in done if "step" in line]
        assert len(steps) == len(programs.advance.programs), f"compiled {done}"
        caplog.clear()
        while step < config.steps:
            if step == programs.epoch_end(step - 1):
                epoch, totals = programs.draw_epoch(config.seed, state.step), programs.zeros()
            with jax.transfer_guard_host_to_device("disallow_explicit"):
                state, totals = programs.advance(state, totals, data, epoch)
            step = programs.next_step(step)
            assert step == int(state.step)
    again = [line for line in caplog.messages if line.startswith("Finished XLA compilation")]
    assert not again, f"a dispatch compiles: {again}"


def test_a_run_of_another_seed_compiles_no_program_again(caplog, tmp_path):
    config = digits(tmp_path)
    with jax.log_compiles():
        for seed in (0, 1):
            train(dataclasses.replace(config, seed=seed))
    lines = [line for line in caplog.messages if line.startswith("Finished XLA compilation")]
    for program in ("jit(one_step)", "jit(draw_epoch)", "jit(init)"):
        assert sum(program in line for line in lines) <= 1, f"compiled {program}: {lines}"
    assert records(tmp_path / "resnet-zeropad-8-digits-article-seed0") != records(
        tmp_path / "resnet-zeropad-8-digits-article-seed1"
    )


def test_every_image_is_counted_once_at_any_batch_size():
    model = ResNet(8, 10)
    variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
    names = tuple("0123456789")
    classifier = Classifier(variables, jnp.float32([0.3]), jnp.float32([0.4]), model, names)
    split = Split(DIGITS.test.images[:101], DIGITS.test.labels[:101])
    logits = np.asarray(jax.jit(Classifier.__call__)(classifier, split.images))
    correct = (logits.argmax(-1) == split.labels).sum()
    for size in (7, 101, 200):
        scores = evaluate(classifier, to_device(split, size))
        assert (scores["count"], scores["correct"]) == (101, correct)
        assert scores["accuracy"] == correct / 101
    expected = float(cross_entropy(jnp.asarray(logits), jnp.asarray(split.labels)).mean())
    assert scores["loss"] == pytest.approx(expected, rel=1e-5)
    with pytest.raises(UserError, match="`batch_size` is -1, expected 1 or more"):
        to_device(split, -1)


def test_large_images_are_evaluated_a_few_at_a_time():
    def batch_size(side):
        images = np.zeros((2, side, side, 1), np.uint8)
        return to_device(Split(images, np.zeros(2, np.int32))).batch_size

    assert [batch_size(side) for side in (8, 32, 64, 512, 2048)] == [500, 500, 125, 1, 1]


def test_warm_up_steps_are_honoured_at_any_depth_and_refused_where_there_are_none():
    schedule = make_schedule(Config(warmup_steps=7), 0.1)
    assert float(schedule(6)) == pytest.approx(0.01)
    assert float(schedule(7)) == pytest.approx(0.1)
    with pytest.raises(UserError, match="`warmup_steps` is 7, expected 0 with the `schedule`"):
        Config(schedule="linear", warmup_steps=7)
    for fields, message in (
        ({"warmup_steps": 400}, "`warmup_steps` is 400, expected fewer than the 400 `"),
        (
            {"recipe": "paper", "depth": 110},
            "`steps` is 400, expected more than the 400 of",
        ),
    ):
        Config(**fields, steps=401)
        with pytest.raises(UserError, match=message):
            Config(**fields, steps=400)
    assert Config(recipe="paper", depth=110, schedule="cosine").warmup == 0


def test_logits_that_are_not_finite_are_no_predictions():
    model = ResNet(8, 10)
    variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
    variables["params"]["head"]["bias"] *= jnp.inf
    names = tuple("0123456789")
    classifier = Classifier(variables, jnp.float32([0.3]), jnp.float32([0.4]), model, names)
    with pytest.raises(UserError, match="the loss is not finite: a logit is"):
        evaluate(classifier, to_device(DIGITS.test))


def test_a_split_without_images_has_no_scores():
    model = ResNet(8, 10)
    variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
    mean = jnp.float32([0.3])
    classifier = Classifier(variables, mean, mean, model, DIGITS.class_names)
    with pytest.raises(UserError, match="the split has no images"):
        evaluate(classifier, to_device(DIGITS.validation))


def test_a_smoothing_of_all_targets_is_refused():
    with pytest.raises(UserError, match=r"`label_smoothing` is 1\.5, expected from 0 to below 1"):
        TrainState.init(jax.random.key(0), ResNet(8), optax.sgd(0.1), (8, 8, 1), 1.5)


def test_layers_that_no_name_stands_for_are_not_frozen():
    with pytest.raises(UserError, match="`freeze` is 'stage', expected one of 'none', 'stages'"):
        TrainState.init(jax.random.key(0), ResNet(8), optax.sgd(0.1), (8, 8, 3), freeze="stage")


def test_no_devices_are_refused():
    with pytest.raises(UserError, match="`devices` is empty, expected at least one"):
        make_mesh([])


@pytest.mark.parametrize("changes", [{}, {"steps": 100}, {"val_fraction": 0.3, "seed": 3}])
def test_a_recipe_in_name_alone_trains_nothing(changes, tmp_path):
    config = Config(recipe="fast", dataset="digits", runs_dir=tmp_path / "runs", **changes)
    with pytest.raises(UserError, match="`recipe` is 'fast', but no field has its value"):
        train(config)
    assert not config.folder.exists()
