"""Colour jitter against its formulas, written out in NumPy."""

import collections
import colorsys
import math

import numpy as np
import pytest
import scipy
from PIL import Image

from nasjax.data.crops import training_crop
from nasjax.data.jitter import (
    IMAGENET_JITTER,
    ColorJitter,
    jitter_colors,
    turn_hue,
)

NAMES = ColorJitter._fields


def photograph(side: int = 24) -> Image.Image:
    """Smooth, of all hues, with a grey corner."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (6, 6, 3)).astype(np.uint8)
    coarse[:2, :2] = coarse[:2, :2, :1]
    return Image.fromarray(coarse).resize((side, side), Image.Resampling.BILINEAR)


# --- torchvision's documented formulas -------------------------------------------


def grey(pixels: np.ndarray) -> np.ndarray:
    """ITU-R 601-2 luma, ``[H, W, 1]``."""
    return np.round(pixels @ np.array([0.299, 0.587, 0.114]))[..., None]


def blend(pixels: np.ndarray, other: np.ndarray | float, factor: float) -> np.ndarray:
    return np.clip(factor * pixels + (1 - factor) * other, 0, 255)


def hue(pixels: np.ndarray, factor: float) -> np.ndarray:
    found = np.empty_like(pixels)
    for place in np.ndindex(pixels.shape[:2]):
        h, s, v = colorsys.rgb_to_hsv(*pixels[place] / 255)
        found[place] = np.array(colorsys.hsv_to_rgb((h + factor) % 1, s, v)) * 255
    return found


ORACLE = {
    "brightness": lambda pixels, factor: blend(pixels, 0.0, factor),
    "contrast": lambda pixels, factor: blend(pixels, grey(pixels).mean(), factor),
    "saturation": lambda pixels, factor: blend(pixels, grey(pixels), factor),
    "hue": hue,
}


#: Pillow rounds down after each blend, and what it blends with; of hues it has 256, 6
#: levels each, and rounds them twice, a third time in the shift.
LEVELS = {"brightness": 1, "contrast": 2, "saturation": 2, "hue": 18}


def draws(rng: np.random.Generator, jitter: ColorJitter):
    """The changes in their order, each with its factor."""
    order = rng.permutation(4)
    factors = []
    for name, strength in zip(NAMES, jitter, strict=True):
        low, high = max(0, 1 - strength), 1 + strength
        if name == "hue":
            low, high = -strength, strength
        factors.append(rng.uniform(low, high) if strength else None)
    return [(NAMES[n], factors[n]) for n in order if factors[n] is not None]


def close(image: Image.Image, expected: np.ndarray, levels: float) -> None:
    """No pixel further off than so many levels, nor most of them nearly so far."""
    error = np.abs(np.asarray(image, np.float64) - expected)
    assert error.mean() < 0.6 * levels
    assert error.max() <= levels + 1e-6


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", NAMES)
def test_one_change_is_its_formula(name: str, seed: int):
    jitter = ColorJitter(**{name: 0.5})
    image = photograph()
    changed = jitter_colors(image, np.random.default_rng(seed), jitter)
    ((drawn, factor),) = draws(np.random.default_rng(seed), jitter)
    assert drawn == name
    before = np.asarray(image, np.float64)
    close(changed, ORACLE[name](before, factor), LEVELS[name])
    assert np.abs(np.asarray(changed) - before).max() > 20


@pytest.mark.parametrize("seed", range(6))
def test_all_four_follow_one_another_in_the_order_drawn(seed: int):
    image = photograph()
    changed = jitter_colors(image, np.random.default_rng(seed), IMAGENET_JITTER)
    steps = draws(np.random.default_rng(seed), IMAGENET_JITTER)

    def after(steps) -> np.ndarray:
        pixels = np.asarray(image, np.float64)
        for name, factor in steps:
            pixels = ORACLE[name](pixels, factor)
        return pixels

    close(changed, after(steps), 20)
    # Another order is another image, on a mean further off than the rounding.
    assert (
        np.abs(np.asarray(changed) - after(steps[::-1])).mean()
        > np.abs(np.asarray(changed) - after(steps)).mean()
    )


def test_hue_keeps_the_value_of_a_pixel_and_what_is_grey():
    pixels = np.asarray(photograph())
    turned = np.asarray(turn_hue(Image.fromarray(pixels), 0.3))
    np.testing.assert_array_equal(turned.max(axis=2), pixels.max(axis=2))
    level = Image.fromarray(np.full((4, 4, 3), 77, np.uint8))
    np.testing.assert_array_equal(turn_hue(level, 0.3), level)
    red = Image.fromarray(np.full((1, 1, 3), (255, 0, 0), np.uint8))
    assert np.abs(np.asarray(turn_hue(red, 1 / 3), int)[0, 0] - (0, 255, 0)).max() < 7
    assert np.abs(np.asarray(turn_hue(red, -1 / 3), int)[0, 0] - (0, 0, 255)).max() < 7


# --- what is drawn ---------------------------------------------------------------


def test_every_order_is_as_likely_and_factors_are_uniform(monkeypatch):
    """With the changes noted down instead of made."""
    from nasjax.data import jitter

    seen: list[tuple[str, float]] = []

    def note(name: str):
        return lambda image, factor: seen.append((name, factor)) or image

    monkeypatch.setattr(jitter, "_CHANGES", {name: note(name) for name in NAMES})
    number = 2400
    for seed in range(number):
        jitter_colors(photograph(1), np.random.default_rng(seed), IMAGENET_JITTER)
    names = [name for name, _ in seen]
    orders = collections.Counter(
        tuple(names[at : at + 4]) for at in range(0, 4 * number, 4)
    )
    assert len(orders) == math.factorial(4)
    assert scipy.stats.chisquare(list(orders.values())).pvalue > 1e-6
    for name, strength in IMAGENET_JITTER._asdict().items():
        low = -strength if name == "hue" else 1 - strength
        factors = [factor for other, factor in seen if other == name]
        spread = scipy.stats.uniform(low, 2 * strength)
        assert scipy.stats.kstest(factors, spread.cdf).pvalue > 1e-6


def test_a_factor_is_never_negative():
    """Of [1 - 3, 1 + 3] a third is, and would make the image black."""
    for seed in range(40):
        rng = np.random.default_rng(seed)
        changed = jitter_colors(photograph(4), rng, ColorJitter(brightness=3))
        assert np.asarray(changed).any()


def test_no_jitter_draws_nothing_and_keeps_the_image():
    rng, other = np.random.default_rng(3), np.random.default_rng(3)
    image = photograph()
    assert jitter_colors(image, rng, ColorJitter()) is image
    assert rng.random() == other.random()


def test_crops_are_those_without_jitter_with_their_colours_changed():
    image = photograph(90)
    for seed in range(4):
        plain = training_crop(image, np.random.default_rng(seed), size=24)
        crop = training_crop(
            image, np.random.default_rng(seed), size=24, jitter=IMAGENET_JITTER
        )
        again = training_crop(
            image, np.random.default_rng(seed), size=24, jitter=IMAGENET_JITTER
        )
        np.testing.assert_array_equal(crop, again)
        assert (crop != plain).any()
        # Brightness alone, the same crop: proportional to it.
        dim = training_crop(
            image,
            np.random.default_rng(seed),
            size=24,
            jitter=ColorJitter(brightness=0.9),
        ).astype(float)
        factor = dim.sum() / plain.sum()
        near = np.clip(factor * plain, 0, 255)
        assert np.abs(near - dim).mean() < 12
