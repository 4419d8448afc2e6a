"""The weights that a run starts from where `init` names a trained net."""

from typing import Any

import jax
import numpy as np
from flax import traverse_util

from jax_resnet.classifier import Classifier
from jax_resnet.classifier_file import digest
from jax_resnet.data import Dataset
from jax_resnet.errors import UserError
from jax_resnet.model import ResNet
from jax_resnet.pretrained import find_classifier
from jax_resnet.run.distributed import say_first
from jax_resnet.run.folder import Run
from jax_resnet.training.config import Config
from jax_resnet.training.step import HEAD, TrainState


def read_init(config: Config, dataset: Dataset) -> Classifier | None:
    """The net that `config.init` names; None without `init`, and where a run that is resumed
    finds no such net any more.

    Raises:
        UserError: if there is no such net, its file is damaged, or it does not fit the run's net
            and images.
    """
    if config.init is None:
        return None
    try:
        file = find_classifier(config.init)
    except UserError as error:
        if config.resume and Run(config.folder).config_file.exists():
            return None  # the run's checkpoints have all that is needed
        raise UserError(f"`init`: {error}") from None
    classifier = Classifier.load(file)
    _check_fits(config, classifier, dataset.image_shape[2])
    return classifier


def identity(classifier: Classifier | None) -> dict[str, str]:
    """What `config.json` says of the weights, beside the data: their SHA-256."""
    if classifier is None:
        return {}
    flat = traverse_util.flatten_dict(classifier.variables, sep="/")
    return {"init": digest({name: np.asarray(array) for name, array in flat.items()})}


def start_from(
    state: TrainState, config: Config, classifier: Classifier | None, class_names: tuple[str, ...]
) -> TrainState:
    """A fresh state, with `init` with the classifier's weights and BatchNorm statistics. Where the
    classifier has other classes, the last layer keeps its fresh weights.

    Raises:
        UserError: if `init` is given and `read_init` found no classifier.
    """
    if config.init is None:
        return state
    if classifier is None:
        raise UserError(
            f"{config.folder} has no checkpoint to continue from, and `init` {config.init} does "
            "not exist, expected the net that the run was to start from"
        )
    variables: dict[str, Any] = dict(classifier.variables)
    if tuple(classifier.class_names) != class_names:
        say_first("the last layer starts from random weights: the net of `init` has other classes")
        variables["params"] = variables["params"] | {HEAD: state.params[HEAD]}
    params, batch_stats = (
        jax.tree.map(
            lambda fresh, trained: jax.device_put(trained.astype(fresh.dtype), fresh.sharding),
            getattr(state, name),
            variables[name],
        )
        for name in ("params", "batch_stats")
    )
    # The optimizers' fresh states are zeros, whatever the parameters.
    return state.replace(params=params, batch_stats=batch_stats)


def _check_fits(config: Config, classifier: Classifier, channels: int) -> None:
    """Raises a `UserError` unless all layers before the last have the shapes of the run's net."""
    net = classifier.model
    has = {
        "depth": (config.depth, net.depth),
        "model": (config.model, "cnn" if net.shortcut is None else "resnet"),
        "shortcut": (config.shortcut, net.shortcut),
    }
    for field, (ours, theirs) in has.items():
        if ours != theirs:
            raise UserError(
                f"`{field}` is {ours!r}, expected {theirs!r}, as in the net of `init` {config.init}"
            )
    if classifier.channels != channels:
        raise UserError(
            f"the net of `init` {config.init} takes images with {classifier.channels} channels, "
            f"but those of {config.dataset} have {channels}: expected the same number"
        )
    if net.channels != ResNet.channels:
        raise UserError(
            f"the net of `init` {config.init} has stages of {net.channels} channels, "
            f"expected {ResNet.channels}"
        )
