"""The CIFAR-10 ResNets of He et al. (2015) in JAX and Flax."""

from jax_resnet.classifier import Classifier
from jax_resnet.model import ResNet, resnet20, resnet32, resnet44, resnet56, resnet110
from jax_resnet.pretrained import pretrained

__all__ = [
    "Classifier",
    "ResNet",
    "pretrained",
    "resnet20",
    "resnet32",
    "resnet44",
    "resnet56",
    "resnet110",
]
