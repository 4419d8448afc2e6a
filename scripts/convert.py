"""Turn PyTorch's weights into a Classifier file, or back."""

from jax_resnet.cli import main

main("convert")
