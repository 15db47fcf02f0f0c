"""Augmentation against NumPy and Pillow, and what its randomness depends on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from nasjax.base import InputError
from nasjax.data import Augmentation, augment, channel_statistics, preprocess
from nasjax.data.augment import cutout, normalise, random_crop, random_flip

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (32, 9, 7, 3)).astype(np.uint8)
IDS = jnp.arange(100, 132)
MEAN = jnp.array([0.4, 0.5, 0.6], jnp.float32)
STD = jnp.array([0.2, 0.25, 0.3], jnp.float32)


def test_crop_is_a_window_of_the_padded_image():
    keys = jax.random.split(jax.random.key(1), 32)
    out = np.asarray(random_crop(keys, jnp.asarray(IMAGES), pad=2))
    # The library's own draw, then NumPy for the rest.
    offsets = [jax.random.randint(key, (2,), 0, 5) for key in keys]
    padded = np.pad(IMAGES, ((0, 0), (2, 2), (2, 2), (0, 0)))
    for image, source, (y, x) in zip(out, padded, offsets, strict=True):
        np.testing.assert_array_equal(image, source[y : y + 9, x : x + 7])
    assert out.dtype == np.uint8


def test_crop_reaches_every_offset():
    # An image of one lit pixel tells its offset.
    image = np.zeros((1, 5, 5, 1), np.uint8)
    image[0, 2, 2] = 1
    keys = jax.random.split(jax.random.key(2), 400)
    out = random_crop(keys, jnp.tile(image, (400, 1, 1, 1)), pad=1)
    counts = np.asarray(out[..., 0].sum(0, dtype=jnp.int32))
    assert counts.sum() == 400
    assert (counts[1:4, 1:4] > 20).all()  # 44 expected in each of the nine


def test_flip_is_pillows_mirror_for_about_half():
    keys = jax.random.split(jax.random.key(3), 200)
    images = np.tile(IMAGES[:1], (200, 1, 1, 1))
    out = np.asarray(random_flip(keys, jnp.asarray(images)))
    mirror = np.asarray(ImageOps.mirror(Image.fromarray(IMAGES[0])))
    mirrored = [(image == mirror).all() for image in out]
    same = [(image == IMAGES[0]).all() for image in out]
    assert np.logical_xor(mirrored, same).all()
    assert 70 < sum(mirrored) < 130


@pytest.mark.parametrize("size", [2, 5, 30])
def test_cutout_is_that_of_darts(size: int):
    keys = jax.random.split(jax.random.key(4), 64)
    out = np.asarray(cutout(keys, jnp.ones((64, 9, 7, 2)), size=size))

    def reference(y: int, x: int) -> np.ndarray:
        mask = np.ones((9, 7), np.float32)
        y1, y2 = (np.clip(y + s * (size // 2), 0, 9) for s in (-1, 1))
        x1, x2 = (np.clip(x + s * (size // 2), 0, 7) for s in (-1, 1))
        mask[y1:y2, x1:x2] = 0
        return mask

    possible = {reference(y, x).tobytes(): (y, x) for y in range(9) for x in range(7)}
    for image in out:
        np.testing.assert_array_equal(image[..., 0], image[..., 1])
        assert image[..., 0].copy().tobytes() in possible
    if size == 2:  # here the mask tells its centre
        assert len({image.tobytes() for image in out}) > 30


def test_normalise():
    out = normalise(jnp.asarray(IMAGES), mean=MEAN, std=STD)
    wanted = (IMAGES / 255 - np.asarray(MEAN)) / np.asarray(STD)
    np.testing.assert_allclose(out, wanted, rtol=1e-5, atol=1e-6)
    assert out.dtype == jnp.float32


def test_preprocess_composes_the_chain():
    key, everything = jax.random.key(5), Augmentation(pad=2, flip=True, cutout=4)
    given_ = {"epoch": 3, "mean": MEAN, "std": STD}
    images = jnp.asarray(IMAGES)
    out = preprocess(key, images, IDS, augmentation=everything, **given_)
    raw = augment(key, images, IDS, epoch=3, augmentation=everything)
    assert raw.dtype == jnp.uint8
    plain = np.asarray(normalise(raw, mean=MEAN, std=STD))
    cut = np.asarray(out) == 0  # the mean is no multiple of 1/255 here
    assert (np.asarray(out)[~cut] == plain[~cut]).all()
    # 4 x 4 pixels, clipped at the border: at least a quarter is inside.
    sizes = cut.all(-1).sum((1, 2))
    assert (sizes >= 4).all()
    assert (sizes <= 16).all()
    assert (sizes == 16).any()
    evaluation = preprocess(key, images, IDS, augmentation=None, **given_)
    np.testing.assert_array_equal(evaluation, normalise(images, mean=MEAN, std=STD))


@settings(max_examples=6, deadline=None)
@given(order=st.permutations(range(32)), size=st.sampled_from([1, 5]))
def test_an_example_does_not_feel_its_batch(order: list[int], size: int):
    every = Augmentation(pad=2, cutout=4)

    def run(rows: np.ndarray) -> np.ndarray:
        return np.asarray(
            jitted(jnp.asarray(IMAGES[rows]), IDS[rows], jnp.int32(7), every)
        )

    rows = np.array(order[:size])
    # XLA may divide or multiply by the inverse, depending on the batch size.
    np.testing.assert_allclose(run(rows), run(np.arange(32))[rows], rtol=0, atol=1e-6)


def _run(images, ids, epoch, augmentation):
    return preprocess(
        jax.random.key(6),
        images,
        ids,
        epoch=epoch,
        augmentation=augmentation,
        mean=MEAN,
        std=STD,
    )


jitted = jax.jit(_run, static_argnums=3)


def test_epoch_seed_and_id_all_matter():
    images, everything = jnp.asarray(IMAGES), Augmentation(pad=2, cutout=4)

    def run(seed: int = 0, epoch: int = 0, shift: int = 0) -> np.ndarray:
        return np.asarray(
            augment(
                jax.random.key(seed),
                images,
                IDS + shift,
                epoch=epoch,
                augmentation=everything,
            )
        )

    np.testing.assert_array_equal(run(), run())
    for other in (run(seed=1), run(epoch=1), run(shift=1)):
        same = [(a == b).all() for a, b in zip(run(), other, strict=True)]
        assert sum(same) < 10  # one in 50 draws coincides


def test_crop_and_cutout_do_not_share_their_draws():
    # From one stream, the centre (0..9) modulo 5 would be the offset (0..4).
    image = np.zeros((300, 10, 10, 1), np.uint8)
    image[:, 5, 5] = 255
    out = np.asarray(
        preprocess(
            jax.random.key(0),
            jnp.asarray(image),
            jnp.arange(300),
            epoch=0,
            augmentation=Augmentation(pad=2, flip=False, cutout=2),
            mean=jnp.full(1, 0.5, jnp.float32),
            std=jnp.ones(1, jnp.float32),
        )
    )[..., 0]
    rows = [
        (7 - np.argwhere(one > 0)[0, 0], np.argwhere(one == 0)[:, 0].max())
        for one in out
        if (one > 0).any() and (one == 0).sum() == 4
    ]
    assert len(rows) > 150
    assert {offset for offset, _ in rows} == set(range(5))
    assert 0.1 < np.mean([centre % 5 == offset for offset, centre in rows]) < 0.3


def test_negative_sizes_are_refused():
    with pytest.raises(InputError, match="0 or more pixels"):
        _run(jnp.asarray(IMAGES), IDS, 0, Augmentation(pad=-1))


def test_channel_statistics_are_numpys():
    images = RNG.integers(0, 256, (3000, 4, 5, 3)).astype(np.uint8)
    images[..., 1] //= 3
    mean, std = channel_statistics(images)
    np.testing.assert_allclose(mean, (images / 255).mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(std, (images / 255).std((0, 1, 2)), rtol=1e-5)
    assert mean.dtype == std.dtype == np.float32
    _, floor = channel_statistics(np.full((4, 3, 3, 1), 9, np.uint8))
    assert floor > 0
