"""Predict the classes of image files."""

from jax_resnet.cli import main

main("predict")
