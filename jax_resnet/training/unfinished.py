"""The `Classifier` of a run that has not finished, from a checkpoint."""

from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from jax_resnet.checksums import find_damage
from jax_resnet.classifier import Classifier
from jax_resnet.data import Dataset, statistics
from jax_resnet.errors import UserError, say
from jax_resnet.run.checkpoints import all_checkpoints, read_checkpoint
from jax_resnet.run.environment import pinned
from jax_resnet.run.folder import Run
from jax_resnet.run.records import best_step, read_records, refuse_other_data
from jax_resnet.training.config import Config
from jax_resnet.training.config_file import read_config, refuse_changes
from jax_resnet.training.evaluation import classifier_of
from jax_resnet.training.programs import init_state, make_mesh, replicated, zero_totals


@pinned()
def from_checkpoint(folder: Path, dataset: Dataset) -> tuple[Classifier, int]:
    """The classifier of the checkpoint that is best on validation, or else the last, and its step,
    which is printed on stderr. The run may continue meanwhile: nothing in its folder is changed.

    Args:
        folder: the run's.
        dataset: the run's, with its validation split; its statistics are in no checkpoint.

    Raises:
        UserError: if no checkpoint is good, or the chosen one is another run's.
    """
    run = Run(folder)
    config = Config(**read_config(run.config_file))
    step, which = choose_step(run)
    checkpoint = run.checkpoints / str(step)
    if (copy := checkpoint / run.config_file.name).exists():
        refuse_changes(config, copy)
        data_set = dataset.identity()
        del data_set["sequence"]  # the classifier does not depend on it
        refuse_other_data(copy, data_set)
    state = read_checkpoint(checkpoint, abstract_state(config, dataset))["state"]
    say(f"{folder} has not finished: taking {which}, step {step} of {config.steps}")
    mean, std = map(jnp.float32, statistics(dataset.train.images, config.normalization))
    return classifier_of(config, dataset, state.variables, mean, std), step


def choose_step(run: Run) -> tuple[int, str]:
    """The step of the checkpoint that is taken, and which one that is.

    Raises:
        UserError: if none is good.
    """
    found = all_checkpoints(run.checkpoints)
    damages = {int(path.name): _fault(path) for path in found}
    steps = [step for step, damage in damages.items() if damage is None]
    faults = "; ".join(damage for damage in damages.values() if damage)
    if not steps:
        raise UserError(f"{run.folder} has no good checkpoint: {faults}")
    if faults:
        say(f"{faults} (a run in progress writes and deletes them); other checkpoints are good")
    known = known_records(run, steps[-1])
    records = [line for line in known if line["step"] <= max(damages)]  # a later one is being saved
    best, of_all = best_step(records, steps), best_step(records)
    if best is None:
        return steps[-1], "its last checkpoint"
    if best != of_all:
        return (
            best,
            f"its best checkpoint on validation that is left, without that of step {of_all}",
        )
    return best, "its best checkpoint on validation"


def _fault(checkpoint: Path) -> str | None:
    """Why a checkpoint can't be taken."""
    try:
        return find_damage(checkpoint)
    except UserError as error:
        return str(error)


def known_records(run: Run, step: int) -> list[dict[str, Any]]:
    """The lines of `metrics.jsonl`, or of its copy in the checkpoint of a step if it has more."""
    copy = run.checkpoints / str(step) / run.metrics_file.name
    return max(run.records(), read_records(copy), key=len)


def abstract_state(config: Config, dataset: Dataset) -> Any:
    """Shapes and dtypes of what a checkpoint holds, to be read onto one device."""
    mesh = make_mesh(jax.local_devices()[:1])
    init = partial(init_state, config, dataset.num_classes, dataset.image_shape, mesh)
    shapes = jax.eval_shape(lambda: {"state": init(), "totals": zero_totals()})
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=replicated(mesh)), shapes
    )
