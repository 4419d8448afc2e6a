"""Initial kernels from few large draws."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

BLOCK = 2**19  # values in a draw: all kernels of a net of depth 20 or 32


class HeNormal:
    """Kernel initializer of He et al., "Delving Deep into Rectifiers" (2015), equation 14.

    Kernels are normally distributed with a variance of 2 / fan-out, not truncated. All kernels of
    a net are slices of a few draws: XLA compiles each draw in a fifth of a second, which would be
    seconds with a draw for each kernel.
    """

    def __init__(self, key: Key[Array, ""]) -> None:
        self._key = key
        self._draws = 0
        self._values = jnp.zeros((0,), jnp.float32)

    def __call__(self, key: Any, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
        """The next kernel, HWIO; `key`, the kernel's own, is not used."""
        size, fan_out = math.prod(shape), math.prod(shape) // shape[-2]
        while self._values.size < size:
            block_key = jax.random.fold_in(self._key, self._draws)
            block = jax.random.normal(block_key, (BLOCK,), jnp.float32)
            self._values = jnp.concatenate([self._values, block])
            self._draws += 1
        values, self._values = self._values[:size], self._values[size:]
        return (values * math.sqrt(2 / fan_out)).reshape(shape).astype(dtype)
