"""Count a model's correct predictions on a split."""

from jax_resnet.cli import main

main("evaluate")
