"""Operations whose usual form XLA computes slowly or wrongly on CPUs."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array


def wide(*dtypes: Any) -> Any:
    """float32, or float64 where one of these floating-point dtypes is: what sums are computed in.

    `jnp.promote_types` would refuse two dtypes where JAX is told to promote none implicitly.
    """
    bits = [jnp.finfo(jax.dtypes.canonicalize_dtype(dtype)).bits for dtype in dtypes]
    return jnp.float64 if max(bits) > 32 else jnp.float32


def max_pool_2x2(x: Array) -> Array:
    """Maximum over 2x2 pixels; `(N, H, W, C)` to `(N, ceil(H/2), ceil(W/2), C)`.

    Not a windowed maximum, whose gradient is several times slower on CPU, nor one over axes: its
    gradient looks for the pixel that equals the maximum, and misses it where XLA computes the
    pixels a second time and rounds them otherwise.
    """
    _, height, width, _ = x.shape
    x = jnp.pad(x, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), constant_values=-jnp.inf)
    x = larger(x[:, ::2], x[:, 1::2])
    return larger(x[:, :, ::2], x[:, :, 1::2])


def larger(x: Array, y: Array) -> Array:
    """The elementwise maximum, NaN where either is NaN. Where both are equal, the gradient goes to
    `x`."""
    return jnp.where((x >= y) | jnp.isnan(x), x, y)


def relu(x: Array) -> Array:
    """The maximum of each number and 0; NaN stays NaN, and the gradient at 0 is 0.

    In fused loops on CPU, XLA's maximum of NaN and 0 is 0: an overflow would go unnoticed.
    """
    return larger(jnp.zeros((), x.dtype), x)


def cotangent_of(x: Array, cotangent: Array) -> Array:
    """`cotangent` as a hand-written gradient returns it for `x`: in its dtype, and where
    `jax.shard_map` gives each device the same `x`, summed over the devices."""
    cotangent = cotangent.astype(x.dtype)
    # The transpose of a use of `x` has that sum; elsewhere it costs nothing.
    used = (cotangent == cotangent) | True
    return jax.linear_transpose(lambda x: jnp.where(used, x, 0), x)(cotangent)[0]


def fence(x: Array) -> Array:
    """Returns `x`; in bfloat16 on CPU, keeps XLA from fusing what computes it with what uses it.

    In jaxlib 0.12.0, a fusion of a convolution in bfloat16 and a sum after it returns NaN.
    """
    if jnp.finfo(x.dtype).bits >= 32:
        return x
    return jax.lax.platform_dependent(x, cpu=jax.lax.optimization_barrier, default=lambda x: x)
