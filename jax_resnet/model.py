"""The CIFAR-10 residual nets of He et al. (2015), section 4.2, and the same without shortcuts.

    layer      output        channels   what it is
    stem       height        16         3x3 convolution
    stage1     height        16         n blocks of two 3x3 convolutions
    stage2     height / 2    32         n blocks, the first one strides by 2
    stage3     height / 4    64         n blocks, the first one strides by 2
    head       1             classes    global average pooling, dense layer

A net of depth 6n + 2 has n blocks in each stage. Every convolution is followed by BatchNorm, and
has no bias.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Shortcut = Literal["zeropad", "conv1x1", "subsample"]
STAGE_CHANNELS = (16, 32, 64)
SMALLEST_IMAGE = 4  # two strides by 2 leave one pixel of it

# He et al., "Delving Deep into Rectifiers" (2015), in its fan-out form; not truncated.
he_normal = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


def max_pool_2x2(x: Array) -> Array:
    """Maximum over 2x2 pixels; `(N, H, W, C)` to `(N, ceil(H/2), ceil(W/2), C)`.

    Written as a reshape because the gradient of a windowed maximum is several times slower on CPU.
    """
    n, height, width, channels = x.shape
    x = jnp.pad(x, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), constant_values=-jnp.inf)
    return x.reshape(n, (height + 1) // 2, 2, (width + 1) // 2, 2, channels).max(axis=(2, 4))


def pad_channels(x: Array, before: int, after: int) -> Array:
    """Zero channels before and after those of `x`, `(..., C)`."""
    return jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(before, after)])


class Block(nn.Module):
    """Two 3x3 convolutions, and the shortcut past them (He et al., figure 2 and equation 2).

    Where the block strides, `shortcut` says how its input is made to fit its output:

    - `"zeropad"`: 2x2 max-pooling, zero channels at the end;
    - `"conv1x1"`: a 1x1 convolution and BatchNorm (option B of the paper);
    - `"subsample"`: every second pixel, zero channels on both sides (option A of the paper);
    - `None`: no shortcut at all, in any block: the plain net.
    """

    channels: int
    stride: int
    shortcut: Shortcut | None
    conv: Callable[..., Any]
    norm: Callable[..., Any]

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 c2"]:
        strides = (self.stride, self.stride)
        y = self.conv(self.channels, (3, 3), strides, name="conv1")(x)
        y = nn.relu(self.norm(name="norm1")(y))
        y = self.conv(self.channels, (3, 3), name="conv2")(y)
        y = self.norm(name="norm2")(y)
        if self.shortcut is None:
            return nn.relu(y)
        if self.stride > 1:
            missing = self.channels - x.shape[-1]
            if self.shortcut == "zeropad":
                x = pad_channels(max_pool_2x2(x), 0, missing)
            elif self.shortcut == "subsample":
                x = pad_channels(x[:, ::2, ::2], missing // 2, missing - missing // 2)
            else:
                x = self.conv(self.channels, (1, 1), strides, padding=0, name="shortcut_conv")(x)
                x = self.norm(name="shortcut_norm")(x)
        return nn.relu(y + x)


class Stage(nn.Module):
    """`blocks` blocks, the first of which strides."""

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
        shortcut: see `Block`; `None` is the plain net.
        dtype: of the computation; pooling, head and logits are in float32 where it is narrower.
        param_dtype: of the parameters.
        conv_general_dilated: the convolution, called as `jax.lax.conv_general_dilated` is.
    """

    depth: int = 20
    num_classes: int = 10
    shortcut: Shortcut | None = "zeropad"
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32
    conv_general_dilated: Callable[..., Array] = jax.lax.conv_general_dilated

    def __post_init__(self) -> None:
        check_depth(self.depth)
        if self.shortcut is not None and self.shortcut not in get_args(Shortcut):
            raise ValueError(
                f"shortcut is {self.shortcut!r}, expected one of {get_args(Shortcut)} or None"
            )
        super().__post_init__()

    @nn.compact
    def __call__(
        self, images: Float[Array, "n height width channels"], train: bool = False
    ) -> Float[Array, "n classes"]:
        """Logits of normalised images.

        Args:
            images: NHWC, height and width at least 4.
            train: normalise by the batch's own statistics, and update `batch_stats`, which
                `apply` must then be told are mutable.

        Raises:
            ValueError: if the images are smaller than 4x4, or not NHWC.
        """
        if images.ndim != 4 or min(images.shape[1:3]) < SMALLEST_IMAGE:
            raise ValueError(
                f"images have shape {images.shape}, expected NHWC of at least "
                f"{SMALLEST_IMAGE}x{SMALLEST_IMAGE} pixels"
            )
        dtypes = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        conv: Callable[..., Any] = partial(
            nn.Conv,
            use_bias=False,
            padding=1,  # not "SAME", which pads a strided convolution on one side only
            kernel_init=he_normal,
            conv_general_dilated=self.conv_general_dilated,
            **dtypes,
        )
        norm = partial(
            nn.BatchNorm, use_running_average=not train, momentum=0.9, epsilon=1e-5, **dtypes
        )
        block = partial(Block, shortcut=self.shortcut, conv=conv, norm=norm)

        x = conv(STAGE_CHANNELS[0], (3, 3), name="stem_conv")(images)
        x = nn.relu(norm(name="stem_norm")(x))
        for i, channels in enumerate(STAGE_CHANNELS):
            stride = 1 if i == 0 else 2
            blocks = (self.depth - 2) // 6
            x = Stage(blocks, channels, stride, block, name=f"stage{i + 1}")(x)
        wide = jnp.promote_types(self.dtype, jnp.float32)
        x = x.mean(axis=(1, 2), dtype=wide)
        uniform = uniform_within(x.shape[-1] ** -0.5)
        head = partial(nn.Dense, dtype=wide, param_dtype=self.param_dtype)
        return head(self.num_classes, kernel_init=uniform, bias_init=uniform, name="head")(x)


def uniform_within(bound: float) -> Callable[..., Array]:
    """An initialiser, uniform in [-bound, bound); PyTorch's for a dense layer at 1/sqrt(fan-in)."""

    def init(key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


def check_depth(depth: int) -> None:
    """Raises a `ValueError` that names the nearest depths, unless `depth` is 6n + 2, n >= 1."""
    if depth < 8 or (depth - 2) % 6:
        below = max(8, depth - (depth - 2) % 6)
        near = "8" if depth < 8 else f"{below} or {below + 6}"
        raise ValueError(f"depth is {depth}, expected 6n + 2 with n >= 1: {near}, say")


resnet20 = partial(ResNet, depth=20)
resnet32 = partial(ResNet, depth=32)
resnet44 = partial(ResNet, depth=44)
resnet56 = partial(ResNet, depth=56)
resnet110 = partial(ResNet, depth=110)
