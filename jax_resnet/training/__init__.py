"""Training, to be read in this order: batches, step, optimizer, programs, loop, recipes."""

from jax_resnet.training.step import TrainState, cross_entropy, eval_step, train_step

__all__ = ["TrainState", "cross_entropy", "eval_step", "train_step"]
