"""Training; docs/design.md gives a reading order."""

from jax_resnet.training.step import TrainState, cross_entropy, eval_step, train_step

__all__ = ["TrainState", "cross_entropy", "eval_step", "train_step"]
