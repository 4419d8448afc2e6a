"""The batch at step s is a function of the seed and of s alone.

The images form one stream: a random permutation of the data, then another one, and so on. Batch s
is the stream's images s * batch_size up to (s + 1) * batch_size, so every batch is full, and every
image is seen once an epoch; a batch may end one epoch and begin the next. Nothing has to be saved
to continue the stream at any step.
"""

from typing import Annotated, Any, Literal, NamedTuple, assert_never

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, UInt8
from typing_extensions import Doc

from jax_resnet.classifier import normalize

PadMode = Annotated[
    Literal["black", "mean", "reflect"],
    Doc("What fills the pixels outside of a shifted image: black, the mean, or its reflection."),
]
Flip = Literal["none", "random", "alternating"]
Cutout = Annotated[
    Literal["none", "dual"],
    Doc(
        "No cutout, or two copies of each augmented image with different cutouts, both trained "
        "with (dual). A cutout sets a square of 16x16 in a 32x32 image to the mean; it can be "
        "anywhere, also partly outside. The loss is the mean over both copies, plus a tenth of the "
        "mean squared difference of their logits."
    ),
]


class Keys(NamedTuple):
    """A key for each thing that is drawn. Epochs and steps are folded into these keys, so no two
    draws share a key."""

    init: Key[Array, ""]
    permutations: Key[Array, ""]
    parity: Key[Array, ""]
    crops: Key[Array, ""]
    flips: Key[Array, ""]
    cutouts: Key[Array, ""]


def keys_of(seed: Any) -> Keys:
    """The keys of a run, the same whatever JAX's default generator is."""
    key = jax.random.key(seed, impl="threefry2x32")
    return Keys(*(jax.random.fold_in(key, i) for i in range(len(Keys._fields))))


class Epoch(NamedTuple):
    """What the steps of an epoch share; drawing it at every step would be slow."""

    permutations: Int[Array, " n"]  # the stream's next 2 * count indices
    parity: Bool[Array, " count"]  # which images `flip="alternating"` mirrors in this epoch
    crops: Key[Array, ""]
    flips: Key[Array, ""]
    cutouts: Key[Array, ""]


def epoch_of(step: Any, count: int, batch_size: int) -> Any:
    """The epoch in which batch `step` begins; ints, or arrays inside `jit`."""
    return step * batch_size // count


def epoch_end(step: Any, count: int, batch_size: int) -> Any:
    """The first step whose batch begins in the epoch after that of `step`."""
    left = count - (step * batch_size - epoch_of(step, count, batch_size) * count)
    return step + (left + batch_size - 1) // batch_size  # no product beyond those of `step`


def draw_epoch(seed: Any, step: Int[Array, ""], count: int, batch_size: int) -> Epoch:
    """The epoch in which batch `step` begins; `seed` is an int, or a scalar inside `jit`."""
    keys = keys_of(seed)
    epoch = epoch_of(step, count, batch_size)
    permutations = [
        jax.random.permutation(jax.random.fold_in(keys.permutations, epoch + i), count)
        for i in range(2)
    ]
    parity = jax.random.bernoulli(keys.parity, 0.5, (count,)) ^ (epoch % 2 == 1)
    return Epoch(jnp.concatenate(permutations), parity, keys.crops, keys.flips, keys.cutouts)


def draw_batch(
    epoch: Epoch, step: Int[Array, ""], batch_size: int
) -> tuple[Int[Array, " b"], Bool[Array, " b"]]:
    """Indices of batch `step`'s images, and their parity in their own epoch: a batch may begin in
    one and end in the next."""
    count, step = len(epoch.parity), jnp.asarray(step)
    start = step * batch_size - epoch_of(step, count, batch_size) * count
    indices = jax.lax.dynamic_slice_in_dim(epoch.permutations, start, batch_size)
    is_next = start + jnp.arange(batch_size, dtype=start.dtype) >= count
    return indices, epoch.parity[indices] ^ is_next


def shift_of(pad: int, side: int) -> int:
    """How many pixels are added to an image with this shorter side: `pad` to 32 pixels, to others
    in proportion, but one at least."""
    return max(1, round(pad * side / 32)) if pad else 0


def augment(
    images: UInt8[Array, "b h w c"],
    parity: Bool[Array, " b"],
    crop_key: Key[Array, ""],
    flip_key: Key[Array, ""],
    cutout_key: Key[Array, ""],
    mean: Array,
    std: Array,
    *,
    pad: int,
    pad_mode: PadMode,
    flip: Flip,
    cutout: Cutout,
) -> Float[Array, "views h w c"]:
    """Normalized images, each shifted by up to `pad` pixels and perhaps mirrored.

    Args:
        images: the batch.
        parity: which images `flip="alternating"` mirrors.
        crop_key, flip_key, cutout_key: of the step.
        mean, std: as in `Classifier`.
        pad: pixels added on each side before the crop back to size.
        pad_mode: see `PadMode`; "mean", zero after normalization, is the paper's, which subtracts
            the mean first.
        flip: see `Config.flip`; "random" mirrors with probability 1/2.
        cutout: see `Cutout`; "dual" gives all first copies before all second ones.
    """
    match pad_mode:
        case "black" | "reflect":
            mode = "reflect" if pad_mode == "reflect" else "constant"
            x = normalize(crop(images, crop_key, pad, mode), mean, std)
        case "mean":
            x = crop(normalize(images, mean, std), crop_key, pad, "constant")
        case _:
            assert_never(pad_mode)
    match flip:
        case "none":
            pass
        case "random":
            x = mirror(x, jax.random.bernoulli(flip_key, 0.5, parity.shape))
        case "alternating":
            x = mirror(x, parity)
        case _:
            assert_never(flip)
    match cutout:
        case "none":
            return x
        case "dual":
            side = 2 * round(8 * min(x.shape[1:3]) / 32)
            return jnp.concatenate([cut_out(x, key, side) for key in jax.random.split(cutout_key)])
        case _:
            assert_never(cutout)


def crop(x: Array, key: Key[Array, ""], pad: int, mode: str) -> Array:
    """A random crop, of the images' own size, of each image padded by `pad` pixels a side."""
    if pad == 0:
        return x
    n, *shape = x.shape
    padded = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode=mode)
    offsets = jax.random.randint(key, (n, 2), 0, 2 * pad + 1, jnp.int32)
    zero = jnp.int32(0)
    return jax.vmap(lambda image, at: jax.lax.dynamic_slice(image, (at[0], at[1], zero), shape))(
        padded, offsets
    )


def mirror(x: Float[Array, "b h w c"], chosen: Bool[Array, " b"]) -> Float[Array, "b h w c"]:
    """Images, the chosen ones with left and right exchanged."""
    return jnp.where(chosen[:, None, None, None], x[:, :, ::-1], x)


def cut_out(x: Float[Array, "b h w c"], key: Key[Array, ""], side: int) -> Float[Array, "b h w c"]:
    """Sets a square in each normalized image to 0, the mean (DeVries and Taylor, 2017).

    Args:
        x: the batch.
        key: of the step.
        side: of the square in pixels, an even number. Its center is any pixel, so a part of it may
            lie outside.
    """
    n, height, width, _ = x.shape
    row_key, column_key = jax.random.split(key)

    def covered(key: Key[Array, ""], size: int) -> Bool[Array, "b size"]:
        center = jax.random.randint(key, (n, 1), 0, size, jnp.int32)
        pixel = jnp.arange(size, dtype=jnp.float32)[None] + 0.5
        return abs(pixel - center.astype(jnp.float32)) < side / 2

    rows, columns = covered(row_key, height), covered(column_key, width)
    return jnp.where((rows[:, :, None] & columns[:, None])[..., None], 0, x)
