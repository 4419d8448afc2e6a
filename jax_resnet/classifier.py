"""`Classifier`: a trained net from uint8 images to logits."""

import json
import os
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct, traverse_util
from jaxtyping import Array, Float, UInt8

from jax_resnet.classifier_file import DTYPES, read_arrays, write_arrays
from jax_resnet.errors import UserError, printable
from jax_resnet.files import parse_json
from jax_resnet.model import ResNet, check_image_size, variable_shapes

CIFAR_SIZE = (32, 32)  # height and width of images where nothing says another
_DEFAULTS = {"channels": ResNet.channels, "image_size": [*CIFAR_SIZE], "dtype": "float32"}


class Classifier(struct.PyTreeNode):
    """A trained net with its normalization and class names; a frozen pytree.

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
    image_size: tuple[int, int] = struct.field(pytree_node=False, default=CIFAR_SIZE)

    @property
    def channels(self) -> int:
        """Number of channels of the images."""
        return self.variables["params"]["stem_conv"]["kernel"].shape[2]

    @property
    def fixed_size(self) -> tuple[int, int] | None:
        """Height and width of the images that a mean or std by pixel takes; None for all sizes."""
        for each in (self.mean, self.std):
            if each.ndim == 3:
                height, width, _ = each.shape
                return height, width
        return None

    def input_shape(self, image_size: tuple[int, int] | None = None) -> tuple[int, int, int]:
        """Height, width and channels of its images.

        Args:
            image_size: height and width, by default those of the images in training; others than
                `fixed_size` are refused.

        Raises:
            UserError: if `image_size` differs from that of the mean, or is out of range.
        """
        fixed = self.fixed_size
        height, width = check_image_size(image_size or fixed or self.image_size)
        if fixed and (height, width) != fixed:
            raise UserError(
                f"`image_size` is {height} {width}, expected {fixed[0]} {fixed[1]} as in the "
                "classifier's mean"
            )
        return height, width, self.channels

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
            UserError: if they are smaller than 4x4, not NHWC, or don't fit the mean; or if there
                is not one logit for each of the class names.
        """
        if images.dtype != jnp.uint8:
            raise TypeError(f"`images` is {images.dtype}, expected uint8 pixels in [0, 255]")
        with jax.default_matmul_precision(precision):
            x = normalize(jnp.asarray(images), self.mean, self.std)
            logits: Any = self.model.apply(self.variables, x)
            if logits.shape[-1] != len(self.class_names):
                raise UserError(
                    f"`class_names` has {len(self.class_names)} names, expected "
                    f"{logits.shape[-1]}, one for each logit"
                )
            return logits.astype(jnp.float32)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes a safetensors file; an existing one, or a link, is replaced atomically.

        One classifier always gives the same bytes. The file keeps the `dtype` of the model, but
        neither its `param_dtype` nor its `conv_general_dilated`.

        Raises:
            UserError: for what `load` would refuse, such as weights that are not finite.
        """
        class_names = distinct_names(self.class_names)
        tree = {"variables": self.variables, "mean": self.mean, "std": self.std}
        flat = traverse_util.flatten_dict(tree, sep="/")
        arrays = {name: np.asarray(array) for name, array in flat.items()}
        header = json.dumps(
            {
                "depth": int(self.model.depth),
                "shortcut": self.model.shortcut,
                "channels": self.model.channels,
                "dtype": getattr(self.model.dtype, "__name__", str(self.model.dtype)),
                "class_names": class_names,
                "image_size": check_image_size(self.image_size),
            }
        )
        _build(header, arrays)
        write_arrays(path, header, arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Classifier":
        """Reads the file that `save` wrote, on this or an earlier version.

        Raises:
            UserError: if the file does not exist, is of another format, or is damaged; if its
                arrays are not those of its net; or if they are not finite.
        """
        header, arrays = read_arrays(path)
        try:
            return _build(header, arrays)
        except UserError as error:
            field = str(error).replace("`", "'")  # which is no argument
            raise UserError(f"{path} is damaged: {field}") from error


def normalize(images: Array, mean: Array, std: Array) -> Array:
    """Uint8 pixels, NHWC, to `(images / 255 - mean) / std` in `mean`'s dtype.

    Raises:
        UserError: if the images are not uint8, if the mean or the std is not floating-point, if the
            channels differ from theirs, or the size from that of a mean or std by pixel.
    """
    for name, each in (("mean", mean), ("std", std)):
        if not hasattr(each, "dtype") or not jnp.issubdtype(each.dtype, jnp.floating):
            found = getattr(each, "dtype", type(each).__name__)
            raise UserError(f"`{name}` is {found}, expected an array of floating-point numbers")
    if images.dtype != jnp.uint8:
        raise UserError(f"images are {images.dtype}, expected uint8 pixels from 0 to 255")
    for each in (mean, std):
        if images.shape[images.ndim - each.ndim :] != each.shape:
            raise UserError(f"images have shape {images.shape}, expected {each.shape} at the end")
    dtype = mean.dtype
    mean, std = (jnp.expand_dims(x, range(images.ndim - x.ndim)).astype(dtype) for x in (mean, std))
    return (images.astype(dtype) / 255 - mean) / std


def _build(header: str, arrays: dict[str, np.ndarray]) -> Classifier:
    """The classifier that a header and arrays describe; nothing of either is trusted.

    Raises:
        UserError: if they don't describe one.
    """
    values = _DEFAULTS | parse_json(header, "its header")
    if missing := {"depth", "shortcut", "class_names"} - values.keys():
        raise UserError(f"its header lacks {', '.join(sorted(missing))}")
    depth, class_names = values["depth"], values["class_names"]
    if type(depth) is not int or depth > len(arrays):  # every layer has an array
        raise UserError(f"`depth` is {depth!r}, which does not fit its {len(arrays)} arrays")
    if not isinstance(class_names, list) or not class_names:
        raise UserError(f"`class_names` is {class_names!r}, expected a list of names")
    check_class_names(class_names)
    size = check_image_size(values["image_size"])
    if values["dtype"] not in (*DTYPES, "bfloat16"):
        raise UserError(f"`dtype` is {values['dtype']!r}, expected a floating-point type")
    dtype, channels = getattr(jnp, values["dtype"]), values["channels"]
    channels = tuple(channels) if isinstance(channels, list) else channels
    model = ResNet(depth, len(class_names), values["shortcut"], dtype, channels=channels)
    _check_arrays(model, arrays)
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused
        arrays = {
            name: array.astype(jax.dtypes.canonicalize_dtype(array.dtype))
            for name, array in arrays.items()
        }
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise UserError(f"{name} has values that are not finite")
        least = {"std": np.finfo(np.float32).tiny, "var": 0}.get(name.rpartition("/")[2])
        if least is not None and array.min() < least:
            raise UserError(
                f"{name} has {array.min()}, which is not a standard deviation or variance"
            )
    tree = jax.tree.map(jnp.asarray, traverse_util.unflatten_dict(arrays, sep="/"))
    return Classifier(model=model, class_names=tuple(class_names), image_size=size, **tree)


def _check_arrays(model: ResNet, arrays: dict[str, np.ndarray]) -> None:
    """Raises a `UserError` unless the arrays have the names and shapes of the net's."""
    kernel = arrays.get("variables/params/stem_conv/kernel", np.empty(0))
    channels = kernel.shape[2] if kernel.ndim == 4 and kernel.size else 1
    if max(model.channels) > max((max(x.shape, default=0) for x in arrays.values()), default=0):
        raise UserError(f"`channels` is {model.channels}, which does not fit its arrays")
    variables = variable_shapes(model, channels)
    shapes = {
        name: each.shape
        for name, each in traverse_util.flatten_dict({"variables": variables}, sep="/").items()
    }
    for name in ("mean", "std"):  # of each channel, or of each pixel
        shape = arrays[name].shape if name in arrays else ()
        by_pixel = len(shape) == 3 and shape[2] == channels
        shapes[name] = (*check_image_size(shape[:2], name), channels) if by_pixel else (channels,)
    if len(shapes["mean"]) == len(shapes["std"]):
        shapes["std"] = shapes["mean"]
    if odd := sorted(shapes.keys() ^ arrays.keys()):
        which = "lacks" if odd[0] in shapes else "has"
        raise UserError(f"the file {which} {odd[0]}, unlike a net of `depth` {model.depth}")
    for name, array in arrays.items():
        if array.shape != shapes[name] or array.dtype.name not in DTYPES:
            raise UserError(
                f"{name} is {array.dtype.name}{list(array.shape)}, "
                f"expected {' or '.join(DTYPES)}, {list(shapes[name])}"
            )


def check_class_names(names: Any) -> None:
    """Raises a `UserError` unless `names` is a sequence of text, none of which is empty or has
    control characters."""
    if isinstance(names, str) or not isinstance(names, Sequence | np.ndarray):
        raise UserError(f"`class_names` is {names!r}, expected a sequence of names")
    for name in names:
        if not isinstance(name, str) or not name or printable(name) != name:
            raise UserError(
                f"`class_names` has {name!r}, expected UTF-8 without control characters"
            )


def distinct_names(names: Any) -> tuple[str, ...]:
    """The names as Python's text; raises as `check_class_names`, or if two classes have one."""
    check_class_names(names)
    if len({*names}) < len(names):
        raise UserError(f"`class_names` has a name twice: {' '.join(names)}")
    return tuple(map(str, names))
