"""A convolution whose filter gradient is fast on CPUs; value and input gradient are JAX's own.

XLA computes the filter gradient as a convolution in which batch and channels trade places: it
first copies x and dy into transposed layouts, which on CPUs costs more than the arithmetic. Here
it is one matrix product instead. With stride (s, t), padding (p, q) above and to the left, and
x zero outside of the image, the gradient of

    y[n, h, w, o] = sum_{i, j, c} x[n, s h + i - p, t w + j - q, c] k[i, j, c, o]

is, once its sum over output rows h is written as a sum over *input* rows r = s h + i - p,

    dk[i, j, c, o] = sum_{n, r, w} X[n, r, w, (j, c)] Y[n, r, w, (i, o)]

    X[n, r, w, (j, c)] = x[n, r, t w + j - q, c]            columns of x, shifted
    Y[n, r, w, (i, o)] = dy[n, (r - i + p) / s, w, o]       rows of dy, shifted; 0 between rows

so the kernel's columns are unfolded from x and its rows from dy. For a 3x3 kernel this writes 3
copies of each instead of im2col's 9 of x, and the product, [3C, NHW] by [NHW, 3O], is closer to
square, which is faster. With a stride s > 1, a share 1 - 1/s of its terms is zero; a ResNet has
few such layers.

X and Y are computed for a block of images at a time, so that they stay in the cache; the blocks'
products are summed in float32 or better.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from jax_resnet.ops import cotangent_of, wide

_BLOCK_BYTES = 3 << 20  # of X and Y together; fits the caches, and amortises the dispatch

_Pair = tuple[int, int]


def conv_general_dilated(
    lhs: Array,
    rhs: Array,
    window_strides: Sequence[int],
    padding: str | Sequence[_Pair],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
    precision: lax.PrecisionLike = None,
    preferred_element_type: Any = None,
    *,
    shards: int = 1,
    **kwargs: Any,
) -> Array:
    """`jax.lax.conv_general_dilated`, with the filter gradient above where it applies.

    It applies to NHWC images [N, H, W, C] and HWIO kernels [I, J, C, O], real, ungrouped and
    undilated, in a program lowered for CPU; everything else uses the gradient of `jax.lax`.
    Forward-mode differentiation is not supported. Pass it to
    `flax.linen.Conv(conv_general_dilated=...)`.

    Where `jit` shards the batch over a mesh, `shards` (bound with `functools.partial`) is the
    number of shards: each then sums its blocks, and devices communicate once a layer instead of
    once a block. Inside `shard_map` the batch is local, and `shards` stays 1.
    """
    how: tuple[Any, ...] = (lhs_dilation, rhs_dilation, dimension_numbers, feature_group_count)
    how += (batch_group_count, precision, preferred_element_type)

    def conv(x: Array, k: Array) -> Array:
        return lax.conv_general_dilated(x, k, window_strides, padding, *how, **kwargs)

    ones = (*(lhs_dilation or ()), *(rhs_dilation or ()), feature_group_count, batch_group_count)
    is_plain = {*ones} == {1} and preferred_element_type in (None, lhs.dtype) and not kwargs
    if not is_plain or not _are_images(lhs, rhs, dimension_numbers):
        return conv(lhs, rhs)
    if isinstance(padding, str):
        pads = lax.padtype_to_pads(lhs.shape[1:3], rhs.shape[:2], window_strides, padding)
        padding = [(int(low), int(high)) for low, high in pads]  # NumPy's before JAX 0.8
    (i, j, c, o), (s, t), ((p, _), (q, _)) = rhs.shape, window_strides, padding
    gradient = partial(_block_gradient, static=((i, j), (s, t), (p, q), precision))

    def backward(saved: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
        x, k = saved
        (dx,) = jax.linear_transpose(lambda x: conv(x, k), x)(dy)

        def plain(x: Array, dy: Array) -> Array:
            return jax.linear_transpose(lambda k: conv(x, k), k)(dy)[0]

        def fast(x: Array, dy: Array) -> Array:
            return cotangent_of(k, _sum_over_blocks(gradient, x, dy, j * c + i * o, shards))

        return dx, lax.platform_dependent(x, dy, cpu=fast if dy.size else plain, default=plain)

    fast_conv = jax.custom_vjp(conv)
    fast_conv.defvjp(lambda x, k: (conv(x, k), (x, k)), backward)
    return fast_conv(lhs, rhs)


def _are_images(x: Array, k: Array, dimension_numbers: Any) -> bool:
    """Whether x are real NHWC images, at least one, and k is an HWIO kernel."""
    nhwc = ("NHWC", "HWIO", "NHWC")
    return (
        (x.ndim, k.ndim) == (4, 4)
        and x.size > 0
        and jnp.issubdtype(x.dtype, jnp.floating)
        and lax.conv_dimension_numbers(x.shape, k.shape, dimension_numbers)
        == lax.conv_dimension_numbers(x.shape, k.shape, nhwc)
    )


def _sum_over_blocks(
    gradient: Callable[..., Array], x: Array, dy: Array, channels: int, shards: int
) -> Array:
    """Sum `gradient` of blocks of images of x [N, H, W, C] and dy [N, H', W', O]: [I, J, C, O].

    `channels` is the number of channels of X and Y together.
    """
    shards = shards if x.shape[0] % shards == 0 else 1
    x, dy = (a.reshape(shards, -1, *a.shape[1:]) for a in (x, dy))
    n, h, w_out = x.shape[1], x.shape[2], dy.shape[3]
    block = min(max(_BLOCK_BYTES // (h * w_out * channels * x.dtype.itemsize), 1), n)
    whole = n - n % block

    def blocks(a: Array) -> Array:
        """[shards, N, ...] -> [blocks, shards, images of a block, ...]."""
        return a[:, :whole].reshape(shards, -1, block, *a.shape[2:]).swapaxes(0, 1)

    gradients = jax.vmap(gradient)
    dk = lax.map(lambda xy: gradients(*xy), (blocks(x), blocks(dy))).sum((0, 1))
    if whole < n:
        dk += gradients(x[:, whole:], dy[:, whole:]).sum(0)
    return dk


def _block_gradient(
    x: Array, dy: Array, static: tuple[_Pair, _Pair, _Pair, lax.PrecisionLike]
) -> Array:
    """dk [I, J, C, O] of x [N, H, W, C] and dy [N, H', W', O] as one matrix product."""
    (i, j), (s, t), (p, q), precision = static
    (_, h, w, c), (_, h_out, w_out, o) = x.shape, dy.shape
    zero, keep = jnp.zeros((), x.dtype), (0, 0, 0)
    x = lax.pad(x, zero, (keep, keep, (q, (w_out - 1) * t + j - w - q, 0), keep))
    dy = lax.pad(dy, zero, (keep, (i - 1 - p, h - 1 + p - (h_out - 1) * s, s - 1), keep, keep))
    columns = [lax.slice_in_dim(x, a, a + (w_out - 1) * t + 1, t, axis=2) for a in range(j)]
    rows = [lax.slice_in_dim(dy, a, a + h, axis=1) for a in reversed(range(i))]
    dk = lax.dot_general(
        jnp.concatenate(columns, -1).reshape(-1, j * c),
        jnp.concatenate(rows, -1).reshape(-1, i * o),
        (((0,), (0,)), ((), ())),
        precision=precision,
        preferred_element_type=wide(x.dtype),
    )
    return dk.reshape(j, c, i, o).transpose(2, 0, 1, 3)
