"""What comes before a run's data is loaded."""

from functools import partial

from jax_resnet.run.folder import Run
from jax_resnet.run.progress import say_once
from jax_resnet.training.config import Config
from jax_resnet.training.config_file import refuse_changes


def begin(config: Config) -> None:
    """Says which data set is loaded next, unless the run's folder is refused already now.

    `train` looks at the folder again, when it holds it.

    Raises:
        UserError: as `train`, if the run exists and is not to be resumed, had other
            hyper-parameters, or lacks files.
    """
    Run(config.folder).check(config.resume, partial(refuse_changes, config))
    say_once(f"loading {config.dataset}")
