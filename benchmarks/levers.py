"""Train the recipe `fast` with changes that are not flags, to be judged by validation images alone.

    python benchmarks/levers.py split --seed 20 --seeds 2
    python benchmarks/levers.py split whiten --seed 20 --precision bf16
    python benchmarks/levers.py distill --seed 20 --teacher runs/teacher-seed20
    python benchmarks/levers.py distill --seed 20 --teacher resnet20-conv1x1-30epochs \
        --validation-seed 0

The words before the first flag name changes; flags of `train.py` follow. Runs are named after the
changes, count no test image, and continue from their last checkpoint. The validation images are
those that --validation-seed draws, and --seed where it is not given.

    split     SGD's rate is 0.05 for the head and 0.2 for biases, 0.02 for the rest
    whiten    the stem's filters are the eight main directions of 3x3 patches and their negatives,
              and are not trained in the first quarter of the steps
    stem      Muon trains the stem's kernel too
    zero      the scale of each block's last BatchNorm begins with 0, so the block is its shortcut
    power     the rates fall as (1 - t)^1.3
    nocrop    the last 8 % of the steps have no crops
    filters   the norm of each filter is fixed, to 1, instead of the kernel's
    equal     the update of each filter has the same norm
    jitter    brightness and contrast of each image change by up to a tenth of the deviation
    distill   half the loss is the cross-entropy with the predictions, at temperature 2, of the net
              of --teacher, which should have the same training images: one seed at a time.
              The package's nets of 30 epochs have those of --validation-seed 0
"""

import argparse
import dataclasses
import itertools
import sys
from collections.abc import Sequence
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import traverse_util

from jax_resnet import Classifier
from jax_resnet.cli import main
from jax_resnet.cli.train import parse_config
from jax_resnet.data import split_validation, statistics
from jax_resnet.errors import UserError, with_flags
from jax_resnet.pretrained import find_classifier
from jax_resnet.report.run_model import check_fits
from jax_resnet.training import batches, programs, train
from jax_resnet.training import config as configs
from jax_resnet.training.config import Config, load_dataset
from jax_resnet.training.initial import identity
from jax_resnet.training.optimizer import (
    fix_norms,
    make_schedule,
    muon_or_sgd,
    orthogonalize,
    sgd,
)
from jax_resnet.training.step import cross_entropy

OF_OPTIMIZER = ["split", "whiten", "stem", "power", "filters", "equal"]
LEVERS = [*OF_OPTIMIZER, "zero", "nocrop", "jitter", "distill"]
TEMPERATURE, SHARE_OF_TEACHER = 2.0, 0.5


def make_optimizer(levers: Sequence[str], config: Config) -> optax.GradientTransformation:
    """The recipe's optimizer with the changes."""

    def schedule(peak: float, start: int = 0) -> optax.Schedule:
        fall = make_schedule(config, peak)
        if "power" in levers:
            fall = optax.polynomial_schedule(peak, 0.0, 1.3, config.steps)
        return lambda step: jnp.where(step < start, 0.0, fall(step))

    def group(peak: float, start: int = 0) -> optax.GradientTransformation:
        decay = config.weight_decay, config.decay_all
        return sgd(schedule(peak, start), config.momentum, config.nesterov, *decay)

    kernels = optax.chain(
        orthogonalize(config.muon_momentum),
        equalize() if "equal" in levers else optax.identity(),
        optax.scale_by_learning_rate(schedule(config.muon_learning_rate)),
        fix_filters() if "filters" in levers else fix_norms(),
    )
    groups = {
        "muon": kernels,
        "whitening stem": group(config.learning_rate, config.steps // 4),
        "head": group(0.05),
        "biases": group(0.2),
        "sgd": group(config.learning_rate),
    }
    rename = partial(traverse_util.path_aware_map, partial(group_of, levers))
    return optax.partition(groups, lambda params: rename(muon_or_sgd(params)))


def group_of(levers: Sequence[str], path: tuple[str, ...], recipes: str) -> str:
    """The group of a parameter that has this one in the recipe."""
    part, *_, kind = path
    if part == "stem_conv":
        return "whitening stem" if "whiten" in levers else "muon" if "stem" in levers else recipes
    if "split" in levers and (part == "head" or kind == "bias"):
        return "head" if part == "head" else "biases"
    return recipes


def norms(kernel: jax.Array) -> jax.Array:
    """The norm of each filter."""
    return jnp.sqrt((kernel**2).sum(axis=(0, 1, 2)))


def fix_filters() -> optax.GradientTransformation:
    """`fix_norms` with a norm of 1 for each filter."""

    def update(updates: Any, params: Any = None) -> Any:
        return jax.tree.map(lambda u, p: u + p / norms(p) - p, updates, params)

    return optax.stateless(update)


def equalize() -> optax.GradientTransformation:
    """Updates whose filters have a norm of 1, which the orthogonalized ones have about."""
    return optax.stateless(lambda updates, _: jax.tree.map(lambda u: u / norms(u), updates))


def start(levers: Sequence[str], config: Config, *args: Any) -> Any:
    """The fresh state with the changes."""
    state = programs.init_state(config, *args)
    params: Any = dict(state.params)
    if "whiten" in levers:
        length = jnp.linalg.norm(params["stem_conv"]["kernel"]) / 4  # of a filter, of 16
        params["stem_conv"] = {"kernel": jnp.asarray(whitening_kernel(config)) * length}
    if "zero" in levers:
        params = traverse_util.path_aware_map(
            lambda path, p: 0 * p if path[-2:] == ("norm2", "scale") else p, params
        )
    params = jax.tree.map(lambda p, old: jax.device_put(p, old.sharding), params, state.params)
    return state.replace(params=params)


@cache
def whitening_kernel(config: Config) -> np.ndarray:
    """3x3xCx16, each filter with a norm of 1; of some of the run's training images."""
    images = load_dataset(config).train.images
    mean, std = statistics(images, config.normalization)
    some = (images[:: len(images) // 2000 + 1] - mean) / std
    windows = np.lib.stride_tricks.sliding_window_view(some, (3, 3), (1, 2))
    patches = windows.transpose(0, 1, 2, 4, 5, 3).reshape(-1, 9 * images.shape[-1])
    directions = np.linalg.eigh(np.cov(patches.T))[1][:, -8:]
    kernel = np.concatenate([directions, -directions], axis=1).reshape(3, 3, -1, 16)
    return kernel.astype(np.float32)


def stop_crops(make_step: Any, config: Config, mesh: Any) -> Any:
    """A step that crops only before the last 8 % of the steps."""
    cropped, whole = make_step(config, mesh), make_step(dataclasses.replace(config, pad=0), mesh)
    end = round(0.92 * config.steps)
    return lambda state, *args: jax.lax.cond(state.step < end, cropped, whole, state, *args)


def jitter(
    augment: Any, images: Any, parity: Any, crops: Any, flips: Any, *args: Any, **kw: Any
) -> Any:
    """Augmented images with brightness and contrast changed."""
    x = augment(images, parity, crops, flips, *args, **kw)
    key = jax.random.fold_in(flips, 1)  # the recipe itself draws nothing with the key of flips
    contrast, brightness = jax.random.uniform(key, (2, len(x), 1, 1, 1), x.dtype, -0.1, 0.1)
    return x * (1 + contrast) + brightness


def distilled_step(teacher: Classifier, state: Any, images: Any, labels: Any) -> Any:
    """`train_step` with half the loss from the teacher's predictions (Hinton et al., 2015)."""
    predicted: Any = teacher.model.apply(teacher.variables, images)
    soft = jax.nn.softmax(predicted / TEMPERATURE)

    def loss_fn(params: Any) -> Any:
        variables = {**state.variables, "params": params}
        logits, new = state.apply_fn(variables, images, train=True, mutable=["batch_stats"])
        hard = cross_entropy(logits, labels, state.label_smoothing).mean()
        likeness = optax.softmax_cross_entropy(logits / TEMPERATURE, soft).mean()
        loss = (1 - SHARE_OF_TEACHER) * hard + SHARE_OF_TEACHER * TEMPERATURE**2 * likeness
        return loss, (logits, new["batch_stats"])

    grad_fn = jax.value_and_grad(loss_fn, has_aux=True)
    (loss, (logits, batch_stats)), grads = grad_fn(state.params)
    metrics = {
        "loss": loss,
        "accuracy": (logits.argmax(axis=-1) == labels).mean(),
        "gradient_norms": {part: optax.tree.norm(grads[part]) for part in grads},
    }
    return state.apply_gradients(grads=grads, batch_stats=batch_stats), metrics


def check_suits_both(teacher: Classifier, check_suits: Any, config: Config, dataset: Any) -> None:
    """Raises a `UserError` unless the data suits the run and its teacher, which is given the images
    as the run normalizes them."""
    check_suits(config, dataset)
    check_fits(teacher, dataset)
    ours = statistics(dataset.train.images, config.normalization)
    for mine, theirs in zip(ours, (teacher.mean, teacher.std), strict=True):
        if mine.shape != theirs.shape or not np.allclose(mine, theirs, atol=0.01):
            raise UserError("the teacher had other images, or another `normalization`")


def apply(words: Sequence[str], teacher: Classifier | None, validation_seed: int | None) -> None:
    """Puts the changes where `train` finds them."""
    if any(word in OF_OPTIMIZER for word in words):
        programs.make_optimizer = partial(make_optimizer, words)
    if "whiten" in words or "zero" in words:
        train.init_state = partial(start, words)
    if "nocrop" in words:
        programs.make_step = partial(stop_crops, programs.make_step)
    if "jitter" in words:
        batches.augment = partial(jitter, batches.augment)
    if teacher is not None:
        programs.train_step = partial(distilled_step, teacher)
        # So `config.json` has the teacher's SHA-256, as `init`: no other one continues the run.
        train.identity = lambda classifier: identity(teacher)
        train.check_suits = partial(check_suits_both, teacher, train.check_suits)
    if validation_seed is not None:
        configs.split_validation = lambda dataset, val_fraction, seed: split_validation(
            dataset, val_fraction, validation_seed
        )


def command() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--teacher", help="of distill: as --init of train.py")
    parser.add_argument("--validation-seed", type=int, help="draws the validation images; from 0")
    words = list(itertools.takewhile(lambda word: not word.startswith("-"), sys.argv[1:]))
    own, flags = parser.parse_known_args(sys.argv[1 + len(words) :])
    if unknown := [word for word in words if word not in LEVERS]:
        parser.error(f"no change is named {unknown[0]}, expected some of {', '.join(LEVERS)}")
    if (own.teacher is None) == ("distill" in words):
        parser.error("expected --teacher with distill, and with nothing else")
    fixed = ["--no-test", "--resume"]
    try:
        config = parse_config(["--recipe", "fast", *flags, *fixed])
        teacher = Classifier.load(find_classifier(own.teacher)) if own.teacher else None
    except UserError as error:
        parser.error(with_flags(str(error)))
    if config.name is not None:
        parser.error(f"--name is {config.name}, expected none: the changes name the run")
    if config.init is not None:
        parser.error(f"--init is {config.init}, expected none, as in the recipe")
    if (config.optimizer, config.freeze) != ("muon", "none"):
        parser.error("expected --optimizer muon and --freeze none, as in the recipe")
    if own.validation_seed is not None and own.validation_seed < 0:
        parser.error(f"--validation-seed is {own.validation_seed}, expected a number from 0")
    if teacher and config.cutout != "none":
        parser.error(f"--cutout is {config.cutout}, expected none with --teacher")
    if teacher and config.seeds > 1:
        parser.error(f"--seeds is {config.seeds}, expected 1 with --teacher")
    apply(words, teacher, own.validation_seed)
    name = "-".join(["fast", *words])
    if own.validation_seed is not None:
        name += f"-validation{own.validation_seed}"
    if config.seeds == 1:
        name += f"-seed{config.seed}"
    sys.argv[1:] = ["--recipe", "fast", "--name", name, *flags, *fixed]
    main("train")


if __name__ == "__main__":
    command()
