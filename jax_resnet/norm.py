"""BatchNorm, and what follows it in a residual net: the shortcut's addition and ReLU."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jax_resnet import ops
from jax_resnet.errors import UserError

MOMENTUM, EPSILON = 0.9, 1e-5


class BatchNorm(nn.Module):
    """Batch normalization (Ioffe and Szegedy, 2015), the shortcut added, and ReLU.

    The variables are those of `flax.linen.BatchNorm` with a momentum of 0.9 and an epsilon of 1e-5.
    The gradient is written out, with both of its sums in one pass over the batch; it has no
    forward-mode derivative.

    Attributes:
        use_running_average: normalize by the running statistics, not by those of the batch.
        dtype: of the result; statistics and sums use at least float32.
        param_dtype: of scale and bias.
    """

    use_running_average: bool
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "n h w c"], shortcut: Array | None = None, relu: bool = True
    ) -> Float[Array, "n h w c"]:
        """The batch, normalized and scaled, in `dtype`.

        Args:
            x: of a floating-point dtype.
            shortcut: is added to the normalized batch; of its shape.
            relu: take the maximum of the sum and 0.

        Raises:
            UserError: if `x` is not NHWC, if `shortcut` has another shape, or if the statistics are
                to be those of an empty batch.
        """
        if x.ndim != 4 or (shortcut is not None and shortcut.shape != x.shape):
            other = "" if shortcut is None else f" and the shortcut {shortcut.shape}"
            raise UserError(f"the batch has shape {x.shape}{other}, expected NHWC, both alike")
        channels = (x.shape[-1],)
        wide = ops.wide(self.param_dtype)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, channels, wide)
        running_var = self.variable("batch_stats", "var", jnp.ones, channels, wide)
        scale = self.param("scale", nn.initializers.ones, channels, self.param_dtype)
        bias = self.param("bias", nn.initializers.zeros, channels, self.param_dtype)
        if self.use_running_average:
            y = _normalize(x, running_mean.value, running_var.value, scale, bias)
            return _finish(y, shortcut, relu).astype(self.dtype)
        if not x.size and not self.is_initializing():
            raise UserError(f"a batch of shape {x.shape} has no statistics, expected an image")
        x = x.astype(self.dtype)
        y, mean, var = normalize_batch(x, scale, bias, shortcut, relu)
        if not self.is_initializing():
            for running, value in ((running_mean, mean), (running_var, var)):
                running.value = MOMENTUM * running.value + (1 - MOMENTUM) * value.astype(wide)
        return y


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def normalize_batch(
    x: Array, scale: Array, bias: Array, shortcut: Array | None, relu: bool
) -> tuple[Array, Array, Array]:
    """The batch normalized by its own statistics, plus `shortcut`, then ReLU; mean and variance."""
    return _forward(x, scale, bias, shortcut, relu)[0]


def _forward(x: Array, scale: Array, bias: Array, shortcut: Array | None, relu: bool) -> Any:
    values, count = x.astype(ops.wide(x.dtype)), x.size // x.shape[-1]
    total, squares = _channel_sums(values, values * values)
    mean = total / count
    var = jnp.maximum(squares / count - mean * mean, 0)
    y = _finish(_normalize(x, mean, var, scale, bias), shortcut, relu).astype(x.dtype)
    return (y, mean, var), (x, y if relu else None, mean, var, scale, bias, shortcut)


def _backward(relu: bool, saved: Any, gradients: Any) -> Any:
    x, y, mean, var, scale, bias, shortcut = saved
    dy, dmean, dvar = gradients
    if relu:
        dy = jnp.where(y > 0, dy, 0)
    wide = ops.wide(x.dtype, scale.dtype)
    g, values, mean, var, dmean, dvar = (
        each.astype(wide) for each in (dy, x, mean, var, dmean, dvar)
    )
    count, inverse = x.size // x.shape[-1], jax.lax.rsqrt(var + EPSILON)
    centered = values - _channelwise(mean)
    dbias, product = _channel_sums(g, g * centered)
    slope = scale.astype(wide) * inverse
    of_centered = (2 * dvar - slope * inverse * inverse * product) / count
    constant = (dmean - slope * dbias) / count
    dx = _channelwise(slope) * g + _channelwise(of_centered) * centered + _channelwise(constant)
    cotangents = dx, inverse * product, dbias, None if shortcut is None else dy
    return jax.tree.map(ops.cotangent_of, (x, scale, bias, shortcut), cotangents)


normalize_batch.defvjp(_forward, _backward)


def _normalize(x: Array, mean: Array, var: Array, scale: Array, bias: Array) -> Array:
    wide = ops.wide(x.dtype, mean.dtype, scale.dtype)
    x, mean, var, scale, bias = (each.astype(wide) for each in (x, mean, var, scale, bias))
    slope = jax.lax.rsqrt(var + EPSILON) * scale
    return (x - _channelwise(mean)) * _channelwise(slope) + _channelwise(bias)


def _finish(y: Array, shortcut: Array | None, relu: bool) -> Array:
    y = y if shortcut is None else y + shortcut.astype(y.dtype)
    return ops.relu(y) if relu else y


def _channelwise(values: Array) -> Array:
    """Values of the channels, `(C,)`, in a shape that broadcasts over NHWC."""
    return values[None, None, None]


def _channel_sums(a: Array, b: Array) -> tuple[Array, Array]:
    """Sums over all axes but the last. One reduction of both is faster on GPUs, slower on CPUs."""
    axes, zero = tuple(range(a.ndim - 1)), jnp.zeros((), a.dtype)

    def together(a: Array, b: Array) -> tuple[Array, Array]:
        return jax.lax.reduce((a, b), (zero, zero), lambda x, y: (x[0] + y[0], x[1] + y[1]), axes)

    def each(a: Array, b: Array) -> tuple[Array, Array]:
        return a.sum(axes), b.sum(axes)

    return jax.lax.platform_dependent(a, b, cuda=together, default=each)
