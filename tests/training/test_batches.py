"""Which images a step sees, and how they are changed."""

import jax
import jax.numpy as jnp
import numpy as np
from support import digits

from jax_resnet.training import batches, programs
from jax_resnet.training.batches import (
    augment,
    crop,
    cut_out,
    draw_batch,
    draw_epoch,
    epoch_end,
    epoch_of,
    keys_of,
    shift_of,
)
from jax_resnet.training.config import load_dataset

KEYS = keys_of(3)
KEY = KEYS.crops
COUNT, SIZE = 23, 4


def batch(step, count=COUNT, size=SIZE):
    """Indices and parities of a batch."""
    return draw_batch(draw_epoch(3, jnp.int32(step), count, size), jnp.int32(step), size)


def test_every_image_is_seen_once_an_epoch_and_no_batch_is_short():
    stream = np.concatenate([batch(step)[0] for step in range(COUNT)])  # SIZE epochs
    epochs = stream.reshape(SIZE, COUNT)
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch), np.arange(COUNT))
    assert any((epochs[0] != epoch).any() for epoch in epochs[1:]), "the order never changes"


def test_what_is_drawn_for_an_epoch_serves_all_its_steps():
    start = 0
    for number in range(8):
        epoch = draw_epoch(3, jnp.int32(start), COUNT, SIZE)
        end = epoch_end(start, COUNT, SIZE)
        for step in range(start, end):
            assert epoch_of(step, COUNT, SIZE) == number
            again = draw_batch(epoch, jnp.int32(step), SIZE)
            jax.tree.map(np.testing.assert_array_equal, again, batch(step))
        start = end


def test_the_last_epoch_ends_without_overflow():
    """2**31 - 1 images is the most that a run may see."""
    count, size = 50_000, 128
    last = (2**31 - 1) // size - 1
    assert int(epoch_end(jnp.int32(last), count, size)) == epoch_end(last, count, size) > last
    assert (epoch_end(last, count, size) - last) * size <= count + size


def test_no_two_draws_share_a_key():
    """Those of the first epochs and steps, and the run's own."""
    keys = [jax.random.key_data(key).tobytes() for key in KEYS]
    for key in (KEYS.permutations, KEYS.crops, KEYS.flips, KEYS.cutouts):
        folded = (jax.random.fold_in(key, i) for i in range(50))
        keys += [jax.random.key_data(key).tobytes() for key in folded]
    assert len(set(keys)) == len(keys)


def test_each_step_is_given_keys_of_its_own(monkeypatch, tmp_path):
    """The keys of crops, flips and cutouts that reach `augment`, over two epochs."""
    config = digits(tmp_path, batch_size=512)
    train, mesh = load_dataset(config).train, programs.make_mesh()
    prepared = programs.make_programs(config, len(train), mesh)
    state, seen = programs.init_state(config, 10, (8, 8, 1), mesh), []

    def augment(images, parity, crops, flips, cutouts, *_, **__):
        seen.extend(jax.random.key_data(key).tobytes() for key in (crops, flips, cutouts))
        return images

    monkeypatch.setattr(batches, "augment", augment)
    zero = {name: value for name, value in prepared.zeros().items() if "step" not in name}
    monkeypatch.setattr(programs, "train_step", lambda state, *_: (state, zero))
    one_step = programs.make_step(config, mesh)
    data = programs.device_data(train, config.normalization, mesh)
    steps = 2 * prepared.epoch_end(0)
    for step in range(steps):
        epoch = prepared.draw_epoch(config.seed, step)
        one_step(state.replace(step=jnp.int32(step)), prepared.zeros(), data, epoch)
    assert len(seen) == len(set(seen)) == 3 * steps


def test_keys_do_not_depend_on_the_default_generator():
    with jax.default_prng_impl("rbg"):
        for ours, theirs in zip(KEYS, keys_of(3), strict=True):
            assert (jax.random.key_data(ours) == jax.random.key_data(theirs)).all()


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
    parity = jnp.zeros(len(images), bool) if parity is None else parity
    options = {"pad": 0, "pad_mode": "black", "cutout": "none"} | kwargs
    mean, std = (jnp.full(images.shape[-1], value) for value in (0.5, 0.25))
    return augment(images, parity, KEY, KEYS.flips, KEYS.cutouts, mean, std, flip=flip, **options)


def test_a_shift_is_in_proportion_and_at_least_a_pixel_unless_it_is_none():
    shifts = {pad: [shift_of(pad, side) for side in (8, 16, 32, 64)] for pad in (0, 1, 4)}
    assert shifts == {0: [0, 0, 0, 0], 1: [1, 1, 1, 2], 4: [1, 2, 4, 8]}


def test_flips():
    images = jax.random.bits(KEY, (200, 4, 4, 3), jnp.uint8)
    plain = (images / 255 - 0.5) / 0.25
    np.testing.assert_allclose(augmented(images, "none"), plain, atol=1e-6)
    mirrored = np.isclose(augmented(images, "random"), plain[:, :, ::-1]).all((1, 2, 3))
    assert 60 < mirrored.sum() < 140, f"{mirrored.sum()} of 200 images are mirrored"
    parity = jnp.arange(200) % 2 == 1
    expected = jnp.where(parity[:, None, None, None], plain[:, :, ::-1], plain)
    np.testing.assert_allclose(augmented(images, "alternating", parity), expected, atol=1e-6)


def test_alternating_flips_every_image_every_other_epoch():
    """Those of a batch that lies in two epochs too: 3 epochs of 100 images, in batches of 12."""
    seen = [[] for _ in range(100)]
    for step in range(25):
        indices, parities = batch(step, 100, 12)
        for index, parity in zip(indices.tolist(), parities.tolist(), strict=True):
            seen[index].append(parity)
    assert set(map(tuple, seen)) == {(0, 1, 0), (1, 0, 1)}
    assert 30 < sum(first for first, *_ in seen) < 70


def test_what_fills_the_pixels_outside():
    images = jnp.full((50, 4, 4, 1), 255, jnp.uint8)
    assert set(np.unique(augmented(images, "none", pad=2))) == {-2.0, 2.0}
    assert set(np.unique(augmented(images, "none", pad=2, pad_mode="mean"))) == {0.0, 2.0}
    assert set(np.unique(augmented(images, "none", pad=2, pad_mode="reflect"))) == {2.0}


def test_a_cutout_is_a_square_that_may_hang_over_and_is_everywhere_as_likely():
    side, (height, width) = 6, (10, 14)
    cut = np.asarray(cut_out(jnp.ones((4000, height, width, 2)), KEY, side)) == 0
    assert (cut[..., 0] == cut[..., 1]).all(), "channels are cut differently"
    rows, columns = cut[..., 0].any(2), cut[..., 0].any(1)
    np.testing.assert_array_equal(cut[..., 0], rows[:, :, None] & columns[:, None])
    for covered, size in ((rows, height), (columns, width)):
        lengths = covered.sum(1)
        assert (np.abs(np.diff(covered.astype(int), axis=1)).sum(1) <= 2).all(), "not one piece"
        assert lengths.min() == side // 2
        assert lengths.max() == side
        inside = covered[:, side // 2 - 1 : size - side // 2].mean(0)  # never near an edge
        np.testing.assert_allclose(inside, side / size, atol=0.04)
