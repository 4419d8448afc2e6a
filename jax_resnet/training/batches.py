"""The batch at step s is a function of the seed and of s alone.

The images form one stream: a random permutation of the data, then another one, and so on. Batch s
is the stream's images s * batch_size up to (s + 1) * batch_size, so every batch is full, and every
image is seen once an epoch; a batch may end one epoch and begin the next. Nothing has to be saved
to continue the stream at any step.
"""

from typing import Annotated, Any, Literal, assert_never

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, UInt8
from typing_extensions import Doc

from jax_resnet.classifier import normalize

PadMode = Annotated[
    Literal["black", "mean", "reflect"],
    Doc("What fills the pixels outside of a shifted image: black, the mean, or its reflection."),
]
Flip = Annotated[
    Literal["none", "random", "alternating"],
    Doc("Mirror no images, each at random, or each in every second epoch; never digits."),
]


def epoch_of(step: Any, count: int, batch_size: int) -> Any:
    """The epoch in which batch `step` begins; ints, or arrays inside `jit`."""
    return step * batch_size // count


def epoch_start(epoch: Any, count: int, batch_size: int) -> Any:
    """The first step whose batch begins in `epoch`."""
    return -(-epoch * count // batch_size)


def epoch_permutations(
    key: Key[Array, ""], step: Array, count: int, batch_size: int
) -> Int[Array, " n"]:
    """The stream's next `2 * count` indices, from the start of `step`'s epoch.

    They serve every step of the epoch: drawing them at every step would be slow.
    """
    epoch = epoch_of(step, count, batch_size)
    return jnp.concatenate(
        [jax.random.permutation(jax.random.fold_in(key, epoch + i), count) for i in range(2)]
    )


def batch_indices(permutations: Int[Array, " n"], step: Array, batch_size: int) -> Int[Array, " b"]:
    """The indices of batch `step`'s images; `permutations` are those of its epoch."""
    count = len(permutations) // 2
    start = step * batch_size - epoch_of(step, count, batch_size) * count
    return jax.lax.dynamic_slice_in_dim(permutations, start, batch_size)


def augment(
    images: UInt8[Array, "b h w c"],
    parity: Int[Array, " b"],
    key: Key[Array, ""],
    mean: Array,
    std: Array,
    *,
    pad: int,
    pad_mode: PadMode,
    flip: Flip,
) -> Float[Array, "b h w c"]:
    """Normalised images, each shifted by up to `pad` pixels and perhaps mirrored.

    Args:
        images: the batch.
        parity: 0 or 1 for each image; `flip="alternating"` mirrors those with 1.
        key: of the step.
        mean, std: as in `Classifier`.
        pad: pixels added on each side before the crop back to size.
        pad_mode: the added pixels are black, zero after normalisation (as in the paper, which
            subtracts the mean first), or the image's reflection.
        flip: mirror no image, each with probability 1/2, or those of `parity` 1.
    """
    crop_key, flip_key = jax.random.split(key)
    match pad_mode:
        case "black":
            x = normalize(crop(images, crop_key, pad, "constant"), mean, std)
        case "mean":
            x = crop(normalize(images, mean, std), crop_key, pad, "constant")
        case "reflect":
            x = normalize(crop(images, crop_key, pad, "reflect"), mean, std)
        case _:
            assert_never(pad_mode)
    match flip:
        case "none":
            return x
        case "random":
            mirrored = jax.random.bernoulli(flip_key, 0.5, parity.shape)
        case "alternating":
            mirrored = parity == 1
        case _:
            assert_never(flip)
    return jnp.where(mirrored[:, None, None, None], x[:, :, ::-1], x)


def crop(x: Array, key: Key[Array, ""], pad: int, mode: str) -> Array:
    """A random crop, of the images' own size, of each image padded by `pad` pixels a side."""
    if pad == 0:
        return x
    n, *shape = x.shape
    padded = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode=mode)
    offsets = jax.random.randint(key, (n, 2), 0, 2 * pad + 1)
    return jax.vmap(lambda image, at: jax.lax.dynamic_slice(image, (at[0], at[1], 0), shape))(
        padded, offsets
    )


def flip_parity(
    key: Key[Array, ""], indices: Int[Array, " b"], step: Array, count: int
) -> Int[Array, " b"]:
    """0 or 1 for each image of batch `step`: random in the first epoch, the other in the next."""
    size = len(indices)
    epochs = (step * size + jnp.arange(size)) // count  # a batch may lie in two
    return (jax.random.bernoulli(key, 0.5, (count,))[indices] + epochs) % 2
