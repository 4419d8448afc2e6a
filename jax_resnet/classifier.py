"""`Classifier`: a trained net from uint8 images to logits, and its file format."""

import hashlib
import json
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct, traverse_util
from jaxtyping import Array, Float, UInt8
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from jax_resnet.errors import UserError
from jax_resnet.files import replace_file
from jax_resnet.model import ResNet

FORMAT = "jax_resnet.Classifier/1"
CLASSIFIER_FILE = "classifier.safetensors"  # in the folder of a finished run


class Classifier(struct.PyTreeNode):
    """A trained net with its normalisation and class names; a frozen pytree.

    Attributes:
        variables: `{"params": ..., "batch_stats": ...}` of `model`.
        mean: float32, of images scaled to [0, 1]: `(channels,)`, or `(height, width, channels)`
            where it differs by pixel.
        std: standard deviation, like `mean`.
        model: the net; its input is `(images / 255 - mean) / std`.
        class_names: the class of each logit.
        image_size: height and width, in pixels, of the images in training.
    """

    variables: Any
    mean: Array
    std: Array
    model: ResNet = struct.field(pytree_node=False)
    class_names: tuple[str, ...] = struct.field(pytree_node=False)
    image_size: tuple[int, int] = struct.field(pytree_node=False, default=(32, 32))

    @property
    def channels(self) -> int:
        """Number of channels of the images."""
        return self.variables["params"]["stem_conv"]["kernel"].shape[2]

    def __call__(
        self,
        images: UInt8[Array | np.ndarray, "n height width channels"],
        precision: str = "float32",
    ) -> Float[Array, "n classes"]:
        """Float32 logits of uint8 NHWC images.

        Args:
            images: pixels in [0, 255].
            precision: of matrix products, a value of `jax.default_matmul_precision`.

        Raises:
            TypeError: if the images are not uint8.
            UserError: if they are smaller than 4x4, or not NHWC.
        """
        if images.dtype != jnp.uint8:
            raise TypeError(f"`images` is {images.dtype}, expected uint8 pixels in [0, 255]")
        with jax.default_matmul_precision(precision):
            x = normalize(jnp.asarray(images), self.mean, self.std)
            logits: Any = self.model.apply(self.variables, x)
            return logits.astype(jnp.float32)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes a safetensors file; an existing one is replaced atomically."""
        arrays = {
            name: np.ascontiguousarray(array)
            for name, array in traverse_util.flatten_dict(self._tree(), sep="/").items()
        }
        header = {
            "depth": self.model.depth,
            "shortcut": self.model.shortcut,
            "class_names": self.class_names,
            "image_size": self.image_size,
        }
        metadata = {"format": FORMAT, "classifier": json.dumps(header), "sha256": digest(arrays)}
        replace_file(path, save(arrays, metadata))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Classifier":
        """Reads the file that `save` wrote.

        Raises:
            UserError: if the file does not exist, is of another format, or is damaged.
        """
        try:
            with safe_open(path, framework="numpy") as file:
                metadata = file.metadata() or {}
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise UserError(f"{path} can't be read as a Classifier file: {error}") from error
        if metadata.get("format") != FORMAT:
            raise UserError(f"{path} is not a Classifier file: its header lacks {FORMAT!r}")
        if metadata.get("sha256") != digest(arrays):
            raise UserError(f"{path} is damaged: its arrays don't match their checksum")
        try:
            header = json.loads(metadata["classifier"])
            class_names = tuple(header["class_names"])
            height, width = header.get("image_size", (32, 32))
            model = ResNet(header["depth"], len(class_names), header["shortcut"])
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} is damaged: its header can't be read: {error!r}") from error
        tree = jax.tree.map(jnp.asarray, traverse_util.unflatten_dict(arrays, sep="/"))
        return cls(model=model, class_names=class_names, image_size=(height, width), **tree)

    def _tree(self) -> dict[str, Any]:
        return {"variables": self.variables, "mean": self.mean, "std": self.std}


def normalize(images: Array, mean: Array, std: Array) -> Array:
    """Uint8 pixels, NHWC, to `(images / 255 - mean) / std` in `mean`'s dtype.

    Raises:
        UserError: if the images have another size than a mean by pixel.
    """
    if mean.ndim == 3 and images.shape[1:] != mean.shape:
        raise UserError(f"images have shape {images.shape}, expected (N, *{mean.shape})")
    mean, std = (jnp.expand_dims(x, range(images.ndim - x.ndim)) for x in (mean, std))
    return (images.astype(mean.dtype) / 255 - mean) / std


def digest(arrays: dict[str, np.ndarray]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes, in the names' order."""
    sha256 = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        sha256.update(f"{name} {array.dtype} {array.shape} ".encode())
        sha256.update(array.tobytes())
    return sha256.hexdigest()
