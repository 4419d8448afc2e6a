"""The `Classifier` of what a command calls a model; a run that has not finished is one too.

This module imports nothing that only training needs, unless such a run is given.
"""

import os
from pathlib import Path

from jax_resnet.classifier import Classifier
from jax_resnet.errors import UserError
from jax_resnet.pretrained import is_unfinished, load_classifier


def load_model(model: str | os.PathLike[str]) -> Classifier:
    """The classifier of a run's folder, a Classifier file, or the name of a net in the package; of
    a run that has not finished, that of its best or else last checkpoint, as stderr says.

    Raises:
        UserError: if there is none; and, of a run that has not finished, if its data, whose mean
            and deviation the classifier takes, can't be loaded.
    """
    folder = Path(model)
    if not is_unfinished(folder):
        return load_classifier(model)
    from jax_resnet.report.run_model import run_dataset
    from jax_resnet.training.unfinished import from_checkpoint

    try:
        dataset = run_dataset(None, folder, {})
    except UserError as error:
        reason = str(error).replace("`data_dir`", "its data_dir")  # commands for models have none
        raise UserError(
            f"{folder} has not finished, and the data whose mean and std its model takes can't be "
            f"loaded: {reason}; a finished run needs none"
        ) from error
    return from_checkpoint(folder, dataset)[0]
