"""The precision of the computation."""

from typing import Annotated, Any, Literal, assert_never

import jax.numpy as jnp
from typing_extensions import Doc

from jax_resnet.run.distributed import say_first

Precision = Annotated[
    Literal["default", "float32", "bf16", "tf32"],
    Doc(
        "Float32 with the device's fast matrix products (default: TF32 on NVIDIA GPUs, bfloat16 on "
        "TPUs, float32 on CPUs; tf32 is its old name); exact float32; or bfloat16 with float32 "
        "parameters (bf16; on CPUs computed in float32)."
    ),
]


def matmul_precision(precision: Precision) -> str:
    """The precision of matrix products, as `jax.default_matmul_precision` names it."""
    match precision:
        case "default" | "tf32" | "bf16":
            return "default"
        case "float32":
            return "float32"
        case _:
            assert_never(precision)


def compute_dtype(precision: Precision) -> Any:
    """The dtype of a net's activations."""
    match precision:
        case "default" | "tf32" | "float32":
            return jnp.float32
        case "bf16":
            return jnp.bfloat16
        case _:
            assert_never(precision)


def dtype_on(platform: str, precision: Precision) -> Any:
    """`compute_dtype`, but float32 on CPU, with a line on stderr.

    XLA for CPU multiplies bfloat16 in float32: it is no faster, and wrong in jaxlib 0.12.0.
    """
    dtype = compute_dtype(precision)
    if platform != "cpu" or dtype == jnp.float32:
        return dtype
    say_first(f"{precision} is computed in float32 on CPU")
    return jnp.float32
