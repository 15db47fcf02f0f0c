"""Colour jitter of images on the host, with Pillow.

The four changes, their factors and their random order are those of torchvision's
``ColorJitter``, by which DARTS's published ImageNet figures were trained; its Pillow
backend is `PIL.ImageEnhance` too.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageEnhance

from nasjax.base import InputError


class ColorJitter(NamedTuple):
    """How far a training image's colours are changed; 0 leaves them as they are.

    Attributes:
      brightness: b; the image is blended with black by a factor uniform in
        [max(0, 1 - b), 1 + b], of which 1 is the image itself.
      contrast: likewise, with the mean of its grey image.
      saturation: likewise, with its grey image.
      hue: h, at most 0.5; the hue is turned by a part of a circle uniform in [-h, h].
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0

    def check(self) -> None:
        """Refuse what cannot be.

        Raises:
          InputError: naming the strength, its value and what is allowed.
        """
        for name, value in self._asdict().items():
            highest = 0.5 if name == "hue" else math.inf
            number = isinstance(value, int | float) and math.isfinite(value)
            if not (number and 0 <= value <= highest):
                most = " to 0.5" if name == "hue" else " or more"
                raise InputError(
                    f"color_jitter has {name} {value!r}; it must be a number of 0{most}"
                )

    @staticmethod
    def of(strengths: Any) -> "ColorJitter":
        """The jitter of four numbers.

        Raises:
          InputError: not four.
        """
        if not isinstance(strengths, tuple | list) or len(strengths) != 4:
            raise InputError(
                f"color_jitter is {strengths!r}; it must be four numbers, of "
                "brightness, contrast, saturation and hue"
            )
        return ColorJitter(*strengths)


#: Of DARTS's training on ImageNet (its code, ``cnn/train_imagenet.py``).
IMAGENET_JITTER = ColorJitter(0.4, 0.4, 0.4, 0.2)


def jitter_colors(
    image: Image.Image, rng: np.random.Generator, jitter: ColorJitter
) -> Image.Image:
    """Change brightness, contrast, saturation and hue, in an order drawn at random.

    Args:
      image: RGB.
      rng: drawn from; of no jitter at all nothing is.
      jitter: how far each; what is 0 is left out, as is the rounding of its change.
    """
    if not any(jitter):
        return image
    order = rng.permutation(list(_CHANGES))
    factors = {
        name: _factor(rng, name, strength)
        for name, strength in jitter._asdict().items()
        if strength
    }
    for name in order:
        if name in factors:
            image = _CHANGES[name](image, factors[name])
    return image


def _factor(rng: np.random.Generator, name: str, strength: float) -> float:
    if name == "hue":
        return rng.uniform(-strength, strength)
    return rng.uniform(max(0.0, 1.0 - strength), 1.0 + strength)


def turn_hue(image: Image.Image, factor: float) -> Image.Image:
    """Turn the hue of an RGB image by ``factor`` of a circle, in steps of 1/256."""
    hue, saturation, value = image.convert("HSV").split()
    shift = int(factor * 255)
    turned = hue.point([(level + shift) % 256 for level in range(256)])
    return Image.merge("HSV", (turned, saturation, value)).convert("RGB")


def _enhanced(image: Image.Image, factor: float, *, by: Any) -> Image.Image:
    enhanced: Image.Image = by(image).enhance(factor)
    return enhanced


#: By the fields of `ColorJitter`.
_CHANGES: dict[str, Callable[[Image.Image, float], Image.Image]] = {
    "brightness": partial(_enhanced, by=ImageEnhance.Brightness),
    "contrast": partial(_enhanced, by=ImageEnhance.Contrast),
    "saturation": partial(_enhanced, by=ImageEnhance.Color),
    "hue": turn_hue,
}
