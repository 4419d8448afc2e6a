"""What a run is made of: its data on the devices, its programs, its first state."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jax_resnet.classifier import Classifier
from jax_resnet.data import Dataset, load, split_validation, statistics
from jax_resnet.run.checkpoints import Checkpoints
from jax_resnet.run.folder import Run
from jax_resnet.training.config import Config, make_model
from jax_resnet.training.evaluation import Padded, to_device
from jax_resnet.training.programs import Programs, replicated
from jax_resnet.training.recipes import make_optimizer
from jax_resnet.training.step import TrainState


class Job(NamedTuple):
    """What stays the same through a run, all of it in the memory of every device.

    `data` is the training images and labels, and the images' mean and deviation.
    """

    config: Config
    run: Run
    programs: Programs
    data: tuple[jax.Array, ...]
    validation: Padded | None
    test: Padded
    class_names: tuple[str, ...]
    checkpoints: Checkpoints


def load_dataset(config: Config) -> Dataset:
    """The data set that the flags name, split."""
    dataset = load(
        config.dataset,
        config.data_dir,
        mirror=config.mirror,
        image_size=config.image_size,
        channels=config.channels,
        split_proportions=config.split_proportions,
    )
    return split_validation(dataset, config.val_fraction, config.seed)


def make_job(
    config: Config, dataset: Dataset, programs: Programs, run: Run, checkpoints: Checkpoints
) -> Job:
    """A job with its images in the devices' memory."""
    everywhere = replicated(programs.mesh)
    validation = to_device(dataset.validation, sharding=everywhere) if dataset.validation else None
    test = to_device(dataset.test, sharding=everywhere)
    data = training_data(config, dataset, programs.mesh)
    return Job(config, run, programs, data, validation, test, dataset.class_names, checkpoints)


def training_data(config: Config, dataset: Dataset, mesh: Mesh) -> tuple[jax.Array, ...]:
    """Training images, labels, mean and deviation in the devices' memory."""
    mean, std = statistics(dataset.train.images, config.normalization)
    arrays = (dataset.train.images, dataset.train.labels, np.float32(mean), np.float32(std))
    return jax.device_put(arrays, replicated(mesh))


def initial(config: Config, dataset: Dataset, mesh: Mesh) -> TrainState:
    """A fresh state, on CPU with the convolution that is fast there."""
    fields: dict[str, Any] = {"dtype": jnp.bfloat16} if config.precision == "bf16" else {}
    if jax.default_backend() == "cpu":
        from jax_resnet.cpu.conv import conv_general_dilated

        fields["conv_general_dilated"] = partial(conv_general_dilated, shards=mesh.size)
    state = TrainState.init(
        jax.random.fold_in(jax.random.key(config.seed), 0),
        make_model(config, dataset.num_classes, **fields),
        make_optimizer(config),
        dataset.image_shape,
        config.label_smoothing,
    )
    return jax.device_put(state, replicated(mesh))


def make_classifier(job: Job, state: TrainState) -> Classifier:
    """What the run has come to: the plain float32 net with the state's variables."""
    images, _, mean, std = job.data
    height, width = images.shape[1:3]
    model = make_model(job.config, len(job.class_names))
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    return Classifier(variables, mean, std, model, job.class_names, (height, width))
