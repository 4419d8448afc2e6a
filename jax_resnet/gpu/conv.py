"""A convolution that several nets share under `jax.vmap`: with block-diagonal kernels, it is one.

The small nets of this project leave most of a GPU idle: a convolution of 16 channels takes little
less time than one of 64. `vmap` over images and kernels makes a grouped convolution, which is
slower still. Here the channels of K nets lie side by side, x' = (x_1, ..., x_K), and

    k' = [k_1        ]
         [    ...    ]    k'[i, j] is [K C, K O], zero outside of its K blocks of [C, O]
         [        k_K]

so that x' * k' = (x_1 * k_1, ..., x_K * k_K). The input gradient is the same with dy'; the filter
gradient of k' is [K C, K O] too, and its diagonal blocks are those of k_1 to k_K.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.custom_batching import custom_vmap

NHWC = ("NHWC", "HWIO", "NHWC")


def conv_general_dilated(
    lhs: Array, rhs: Array, window_strides: Sequence[int], padding: Any, **how: Any
) -> Array:
    """`jax.lax.conv_general_dilated` of NHWC images and HWIO kernels in one group, as one
    convolution under `jax.vmap`. It has no forward-mode and no second derivatives, and none where
    `jax.shard_map` checks what varies over the devices."""

    def conv(x: Array, k: Array) -> Array:
        return lax.conv_general_dilated(x, k, window_strides, padding, **how)

    assert how.get("feature_group_count", 1) == how.get("batch_group_count", 1) == 1
    shapes = lhs.shape, rhs.shape
    numbers = lax.conv_dimension_numbers(*shapes, how.get("dimension_numbers"))
    assert numbers == lax.conv_dimension_numbers(*shapes, NHWC), f"{numbers} are not {NHWC}"

    def input_gradient(dy: Array, k: Array) -> Array:
        shape = len(dy), *lhs.shape[1:3], k.shape[2]
        like = jax.ShapeDtypeStruct(shape, lhs.dtype)
        return jax.linear_transpose(lambda x: conv(x, k), like)(dy)[0]

    def filter_gradient(x: Array, dy: Array) -> Array:
        shape = *rhs.shape[:2], x.shape[3], dy.shape[3]
        like = jax.ShapeDtypeStruct(shape, rhs.dtype)
        return jax.linear_transpose(lambda k: conv(x, k), like)(dy)[0]

    forward = as_one(conv, side_by_side, block_diagonal, apart)
    to_input = as_one(input_gradient, side_by_side, block_diagonal, apart)
    to_filter = as_one(filter_gradient, side_by_side, side_by_side, diagonal_blocks)
    shared = jax.custom_vjp(forward)
    shared.defvjp(
        lambda x, k: (forward(x, k), (x, k)),
        lambda saved, dy: (to_input(dy, saved[1]), to_filter(saved[0], dy)),
    )
    return shared(lhs, rhs)


def as_one(
    operation: Callable[[Array, Array], Array],
    join_first: Callable[[Array], Array],
    join_second: Callable[[Array], Array],
    split: Callable[[Array, int], Array],
) -> Callable[[Array, Array], Array]:
    """`operation`; under `vmap`, that of the joined arguments, split."""
    each = custom_vmap(operation)

    @each.def_vmap
    def together(count: int, is_batched: Sequence[bool], *arguments: Array) -> tuple[Array, bool]:
        first, second = (
            x if batched else jnp.broadcast_to(x, (count, *x.shape))
            for x, batched in zip(arguments, is_batched, strict=True)
        )
        return split(operation(join_first(first), join_second(second)), count), True

    return each


def side_by_side(images: Array) -> Array:
    """`[K, N, H, W, C]` to `[N, H, W, K C]`."""
    _, n, h, w, _ = images.shape
    return images.transpose(1, 2, 3, 0, 4).reshape(n, h, w, -1)


def apart(images: Array, count: int) -> Array:
    """`[N, H, W, K C]` to `[K, N, H, W, C]`."""
    return images.reshape(*images.shape[:3], count, -1).transpose(3, 0, 1, 2, 4)


def block_diagonal(kernels: Array) -> Array:
    """`[K, I, J, C, O]` to `[I, J, K C, K O]`."""
    count, i, j, c, o = kernels.shape
    blocks = kernels.transpose(1, 2, 0, 3, 4)[:, :, :, :, None]
    one_each = jnp.eye(count, dtype=kernels.dtype)[:, None, :, None]
    return (blocks * one_each).reshape(i, j, count * c, count * o)


def diagonal_blocks(kernel: Array, count: int) -> Array:
    """`[I, J, K C, K O]` to `[K, I, J, C, O]`."""
    i, j, c, o = kernel.shape
    blocks = kernel.reshape(i, j, count, c // count, count, o // count)
    return jnp.stack([blocks[:, :, k, :, k] for k in range(count)])
