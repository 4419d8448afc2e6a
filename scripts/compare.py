"""Train several nets, depths and seeds, and draw them together."""

from jax_resnet.cli import main

main("compare")
