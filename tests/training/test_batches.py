"""Which images a step sees, and how they are changed."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jax_resnet.training.batches import (
    augment,
    batch_indices,
    crop,
    epoch_of,
    epoch_permutations,
    epoch_start,
    flip_parity,
)

KEY = jax.random.key(3)
COUNT, SIZE = 23, 4


def indices(step):
    permutations = epoch_permutations(KEY, jnp.int32(step), COUNT, SIZE)
    return np.asarray(batch_indices(permutations, jnp.int32(step), SIZE))


def test_every_image_is_seen_once_an_epoch_and_no_batch_is_short():
    stream = np.concatenate([indices(step) for step in range(COUNT)])  # SIZE epochs
    epochs = stream.reshape(SIZE, COUNT)
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch), np.arange(COUNT))
    assert any((epochs[0] != epoch).any() for epoch in epochs[1:]), "the order never changes"


def test_an_epochs_permutations_hold_for_all_its_steps():
    for step in range(50):
        start = epoch_start(epoch_of(step, COUNT, SIZE), COUNT, SIZE)
        permutations = epoch_permutations(KEY, jnp.int32(start), COUNT, SIZE)
        np.testing.assert_array_equal(
            batch_indices(permutations, jnp.int32(step), SIZE), indices(step)
        )


def test_crop_moves_images_within_the_padding():
    images = jnp.arange(1, 1 + 64 * 6 * 6, dtype=jnp.int32).reshape(64, 6, 6, 1)
    cropped = np.asarray(crop(images, KEY, 2, "constant"))
    seen = set()
    for image, original in zip(cropped, np.asarray(images), strict=True):
        padded = np.pad(original, ((2, 2), (2, 2), (0, 0)))
        found = [
            (i, j)
            for i in range(5)
            for j in range(5)
            if (padded[i : i + 6, j : j + 6] == image).all()
        ]
        assert len(found) == 1, "not a crop of the padded image"
        seen.update(found)
    assert len(seen) > 15, f"64 crops took only {len(seen)} of 25 places"


def augmented(images, flip, parity=None, **kwargs):
    parity = jnp.zeros(len(images), jnp.int32) if parity is None else parity
    options = {"pad": 0, "pad_mode": "black"} | kwargs
    return augment(images, parity, KEY, jnp.float32(0.5), jnp.float32(0.25), flip=flip, **options)


def test_flips():
    images = jax.random.bits(KEY, (200, 4, 4, 3), jnp.uint8)
    plain = (images / 255 - 0.5) / 0.25
    np.testing.assert_allclose(augmented(images, "none"), plain, atol=1e-6)
    mirrored = np.isclose(augmented(images, "random"), plain[:, :, ::-1]).all((1, 2, 3))
    assert 60 < mirrored.sum() < 140, f"{mirrored.sum()} of 200 images are mirrored"
    parity = jnp.arange(200) % 2
    expected = jnp.where((parity == 1)[:, None, None, None], plain[:, :, ::-1], plain)
    np.testing.assert_allclose(augmented(images, "alternating", parity), expected, atol=1e-6)


def test_alternating_flips_every_image_every_other_epoch():
    """Those of a batch that lies in two epochs too: 3 epochs of 100 images, in batches of 12."""
    permutations = partial(epoch_permutations, KEY, count=100, batch_size=12)
    seen = [[] for _ in range(100)]
    for step in range(25):
        indices = batch_indices(permutations(jnp.asarray(step)), step, 12)
        parities = flip_parity(KEY, indices, step, 100)
        for index, parity in zip(indices.tolist(), parities.tolist(), strict=True):
            seen[index].append(parity)
    assert set(map(tuple, seen)) == {(0, 1, 0), (1, 0, 1)}
    assert 30 < sum(first for first, *_ in seen) < 70


def test_what_comes_in_from_outside():
    images = jnp.full((50, 4, 4, 1), 255, jnp.uint8)
    assert set(np.unique(augmented(images, "none", pad=2))) == {-2.0, 2.0}
    assert set(np.unique(augmented(images, "none", pad=2, pad_mode="mean"))) == {0.0, 2.0}
    assert set(np.unique(augmented(images, "none", pad=2, pad_mode="reflect"))) == {2.0}
