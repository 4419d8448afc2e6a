"""Write a model as a file that runs without this package."""

from jax_resnet.cli import main

main("export")
