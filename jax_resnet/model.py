"""The CIFAR-10 residual nets of He et al. (2015), section 4.2, and the same without shortcuts.

    layer      output        channels   what it is
    stem       height        16         3x3 convolution
    stage1     height        16         n blocks of two 3x3 convolutions
    stage2     height / 2    32         n blocks, the first one strides by 2
    stage3     height / 4    64         n blocks, the first one strides by 2
    head       1             classes    global average pooling, dense layer

A net of depth 6n + 2 has n blocks in each stage. Every convolution is followed by BatchNorm, and
has no bias. The channels are the paper's, and a field of the net.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Annotated, Any, Literal, assert_never, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from typing_extensions import Doc

from jax_resnet.errors import UserError
from jax_resnet.initializers import HeNormal
from jax_resnet.norm import BatchNorm
from jax_resnet.ops import fence, max_pool_2x2, wide

ShortcutName = Literal["zeropad", "conv1x1", "subsample"]
Shortcut = Annotated[
    ShortcutName | None,
    Doc(
        "Past a block that strides: 2x2 max-pooling and zero channels at the end (zeropad), 1x1 "
        "convolution and BatchNorm (conv1x1; the paper's option B), or every second pixel and zero "
        "channels on both sides (subsample; option A). None is the plain net, without shortcuts."
    ),
]
SHORTCUTS = (*get_args(ShortcutName), None)
MIN_IMAGE_SIZE = 4  # two strides by 2 leave one pixel
MAX_IMAGE_SIZE = 4096  # of what a file or a flag says, so that a typo does not fill the memory
PARTS = ("stem_conv", "stem_norm", "stage1", "stage2", "stage3", "head")  # names in the variables


class Block(nn.Module):
    """Two 3x3 convolutions, and the shortcut past them (He et al., figure 2 and equation 2).

    It maps `(n, h, w, c)` to `(n, ceil(h / stride), ceil(w / stride), channels)`.

    Attributes:
        channels: of the result.
        stride: of the first convolution and of the shortcut.
        shortcut: see `Shortcut`.
        conv: called as `conv(channels, kernel_size, strides, padding=..., name=...)`, a module.
        norm: called as `norm(name=...)`, a module as `BatchNorm`: it also adds a shortcut, and
            takes the ReLU.
    """

    channels: int
    stride: int
    shortcut: Shortcut
    conv: Callable[..., Any]
    norm: Callable[..., Any]

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 c2"]:
        stride = (self.stride, self.stride)
        y = self.conv(self.channels, (3, 3), stride, name="conv1")(x)
        y = self.norm(name="norm1")(y)
        y = self.conv(self.channels, (3, 3), name="conv2")(y)
        if self.shortcut is None:
            return self.norm(name="norm2")(y)
        if self.stride > 1:
            unpadded, missing = [(0, 0)] * 3, self.channels - x.shape[-1]
            match self.shortcut:
                case "zeropad":
                    x = jnp.pad(max_pool_2x2(x), [*unpadded, (0, missing)])
                case "conv1x1":
                    x = self.conv(self.channels, (1, 1), stride, padding=0, name="shortcut_conv")(x)
                    x = self.norm(name="shortcut_norm")(x, relu=False)
                case "subsample":
                    before, after = missing // 2, missing - missing // 2
                    x = jnp.pad(x[:, ::2, ::2], [*unpadded, (before, after)])
                case _:
                    assert_never(self.shortcut)
        return self.norm(name="norm2")(y, shortcut=x)


class Stage(nn.Module):
    """A sequence of blocks, of which the first one has the stage's stride.

    Attributes:
        blocks: how many.
        channels: of all of them.
        stride: of the first one.
        block: called as `block(channels, stride, name=...)`, a module.
    """

    blocks: int
    channels: int
    stride: int
    block: Callable[..., Any]

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 c2"]:
        for i in range(self.blocks):
            stride = self.stride if i == 0 else 1
            x = self.block(self.channels, stride, name=f"block{i + 1}")(x)
        return x


class ResNet(nn.Module):
    """A residual or plain net of depth 6n + 2.

    Attributes:
        depth: number of layers with weights, shortcuts not counted: 8, 14, 20, 26, 32, ...
        num_classes: number of logits.
        shortcut: see `Shortcut`; `None` is the plain net.
        dtype: dtype of the computation; pooling, head and logits use at least float32. On CPU,
            bfloat16 is no faster than float32.
        param_dtype: dtype of the parameters.
        conv_general_dilated: the convolution, with the signature of `jax.lax.conv_general_dilated`.
        channels: of the three stages; the stem has those of the first. Only conv1x1 and the plain
            net can have fewer than in the stage before.

    Raises:
        UserError: for another depth or shortcut, other channels, or no class.
    """

    depth: int = 20
    num_classes: int = 10
    shortcut: Shortcut = "zeropad"
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32
    conv_general_dilated: Callable[..., Array] = jax.lax.conv_general_dilated
    channels: tuple[int, int, int] = (16, 32, 64)

    def __post_init__(self) -> None:
        check_depth(self.depth)
        if self.shortcut not in SHORTCUTS:
            raise UserError(f"`shortcut` is {self.shortcut!r}, expected one of {SHORTCUTS}")
        check_channels(self.channels, self.shortcut)
        whole = isinstance(self.num_classes, int | np.integer) and self.num_classes is not True
        if not whole or self.num_classes < 1:
            raise UserError(
                f"`num_classes` is {self.num_classes!r}, expected a whole number of 1 or more"
            )
        super().__post_init__()

    @nn.compact
    def __call__(
        self, images: Float[Array, "n height width channels"], train: bool = False
    ) -> Float[Array, "n classes"]:
        """Logits of normalized images.

        Args:
            images: float, NHWC, height and width at least 4.
            train: normalize by the statistics of the batch, and update `batch_stats`; `apply` then
                needs `mutable=["batch_stats"]`.

        Raises:
            UserError: if the images are smaller than 4x4, not NHWC, or not floating-point.
        """
        if not jnp.issubdtype(images.dtype, jnp.floating):
            wanted = "normalized ones, which `jax_resnet.classifier.normalize` makes of pixels"
            raise UserError(f"images are {images.dtype}, expected {wanted}")
        if images.ndim != 4 or min(images.shape[1:3]) < MIN_IMAGE_SIZE:
            raise UserError(
                f"images have shape {images.shape}, expected NHWC of at least "
                f"{MIN_IMAGE_SIZE}x{MIN_IMAGE_SIZE} pixels"
            )
        dtypes = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        kernel_init: Any = nn.initializers.zeros  # where Flax compares its shape, and no more
        if self.is_initializing():
            kernel_init = HeNormal(self.make_rng("params"))
        elif self.is_mutable_collection("params"):  # Flax creates those that are missing
            kernel_init = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
        conv: Callable[..., Any] = partial(
            nn.Conv,
            use_bias=False,
            padding=1,  # not "SAME", which pads a strided convolution on one side only
            kernel_init=kernel_init,
            conv_general_dilated=lambda *a, **k: fence(self.conv_general_dilated(*a, **k)),
            **dtypes,
        )
        norm = partial(BatchNorm, use_running_average=not train, **dtypes)
        block = partial(Block, shortcut=self.shortcut, conv=conv, norm=norm)

        x = conv(self.channels[0], (3, 3), name="stem_conv")(images)
        x = norm(name="stem_norm")(x)
        for i, channels in enumerate(self.channels):
            stride = 1 if i == 0 else 2
            blocks = (self.depth - 2) // 6
            x = Stage(blocks, channels, stride, block, name=f"stage{i + 1}")(x)
        dtype = wide(self.dtype)
        x = x.mean(axis=(1, 2), dtype=dtype)
        bound = x.shape[-1] ** -0.5  # PyTorch's initialization of a dense layer
        uniform = partial(jax.random.uniform, minval=-bound, maxval=bound)
        head = partial(nn.Dense, dtype=dtype, param_dtype=self.param_dtype)
        return head(self.num_classes, kernel_init=uniform, bias_init=uniform, name="head")(x)


@lru_cache
def variable_shapes(model: ResNet, channels: int) -> Any:
    """Shapes and dtypes of the variables for images with these channels, of any size."""
    images = jax.ShapeDtypeStruct((1, MIN_IMAGE_SIZE, MIN_IMAGE_SIZE, channels), jnp.float32)
    return jax.eval_shape(model.init, jax.random.key(0), images)


def check_depth(depth: int) -> None:
    """Raises a `UserError` that names the nearest depths, unless `depth` is 6n + 2, n >= 1."""
    n, rest = divmod(depth - 2, 6) if isinstance(depth, int | np.integer) else (0, 0)
    if n < 1 or rest:
        near = f"{6 * n + 2} or {6 * n + 8}" if n >= 1 else "8"
        raise UserError(f"`depth` is {depth!r}, expected 6n + 2 with n >= 1, such as {near}")


def check_image_size(size: Any, name: str = "image_size") -> tuple[int, int]:
    """Height and width, in pixels, that a file or a flag says under this name.

    Raises:
        UserError: if `size` is not two integers from 4 to 4096.
    """
    numbers = size if isinstance(size, tuple | list) else ()
    if (
        len(numbers) != 2
        or not all(isinstance(n, int | np.integer) for n in numbers)
        or not MIN_IMAGE_SIZE <= min(numbers) <= max(numbers) <= MAX_IMAGE_SIZE
    ):
        shown = " ".join(map(str, numbers)) or size
        raise UserError(
            f"`{name}` is {shown}, expected a height and a width from {MIN_IMAGE_SIZE} to "
            f"{MAX_IMAGE_SIZE} pixels"
        )
    return int(size[0]), int(size[1])  # json refuses NumPy's integers


def check_channels(channels: object, shortcut: Shortcut) -> None:
    """Raises a `UserError` unless a net with this shortcut can have stages of these channels."""
    if (
        not isinstance(channels, tuple)
        or len(channels) != 3
        or not all(type(n) is int and n > 0 for n in channels)
    ):
        raise UserError(
            f"`channels` is {channels!r}, expected a tuple of three whole numbers above 0"
        )
    if shortcut in ("zeropad", "subsample") and list(channels) != sorted(channels):
        raise UserError(
            f"`channels` is {channels}, expected no fewer than in the stage before: shortcut "
            f"{shortcut} can add channels, but not remove them"
        )
