"""A run that diverges ends with an error that says where, and what to try."""

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from jax_resnet.classifier import Classifier
from jax_resnet.errors import UserError
from jax_resnet.training.evaluation import NotFinite, Padded, evaluate
from jax_resnet.training.step import Metrics, TrainState

if TYPE_CHECKING:
    from jax_resnet.training.loop import Training


def check_finite(training: "Training", state: TrainState, totals: Metrics) -> None:
    """Raises a `UserError` if a loss or a variable is NaN or infinite, so that none is ever saved.

    A step's loss is computed before its update, so the last update shows in the variables only.
    """
    bad_step, what = int(totals["bad_step"]), "the loss"
    if bad_step < 0:
        if _all_finite(state.variables):
            return
        bad_step, what = int(state.step) - 1, "a variable"
    raise _not_finite(training, what, bad_step)


def _not_finite(training: "Training", what: str, step: int) -> UserError:
    """The error of a run that has diverged: where, and what to try."""
    rates = ["`learning_rate`"]
    if training.config.optimizer == "muon":
        rates.append("`muon_learning_rate`")
    rate, latest = training.learning_rate(step), training.run.latest
    return UserError(
        f"{what} is not finite at step {step}, learning rate {rate:g}; "
        f"the last good checkpoint is {'none' if latest is None else f'of step {latest}'}: "
        f"try a lower {' or '.join(rates)}"
    )


@jax.jit
def _all_finite(tree: Any) -> jax.Array:
    return jnp.all(jnp.stack([jnp.isfinite(x).all() for x in jax.tree.leaves(tree)]))


def scores_of(
    training: "Training", classifier: Classifier, images: Padded, split: str, step: int
) -> dict[str, Any]:
    """`evaluate` after `step` steps; the error of a net that has diverged says where."""
    try:
        return evaluate(classifier, images)
    except NotFinite as error:  # the labels were checked with the data set
        raise _not_finite(training, f"{split}'s loss", step - 1) from error
