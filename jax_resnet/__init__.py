"""The CIFAR-10 ResNets of He et al. (2015) in JAX and Flax."""

from importlib import metadata

if any(metadata.distributions(name="jax-resnet")):
    raise ImportError(
        "PyPI's `jax-resnet` is installed beside `jax-resnet-cifar`. Both are imported as "
        "`jax_resnet`, and each overwrites files of the other. Run "
        "`pip uninstall jax-resnet jax-resnet-cifar`, then install jax-resnet-cifar again; "
        "to use both, install them in separate virtual environments."
    )

from jax_resnet.classifier import Classifier
from jax_resnet.depths import resnet20, resnet32, resnet44, resnet56, resnet110
from jax_resnet.errors import UserError
from jax_resnet.model import ResNet
from jax_resnet.pretrained import pretrained

try:
    __version__ = metadata.version("jax-resnet-cifar")
except metadata.PackageNotFoundError:  # a checkout that is not installed
    __version__ = "0+unknown"

__all__ = [
    "Classifier",
    "ResNet",
    "UserError",
    "__version__",
    "pretrained",
    "resnet20",
    "resnet32",
    "resnet44",
    "resnet56",
    "resnet110",
]
