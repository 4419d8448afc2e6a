"""Write one HTML page about a run, or several side by side."""

from jax_resnet.cli import main

main("report")
