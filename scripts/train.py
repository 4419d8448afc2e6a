"""Train a CIFAR-10 ResNet, with one seed or several, or continue a run."""

from jax_resnet.cli import main

main("train")
