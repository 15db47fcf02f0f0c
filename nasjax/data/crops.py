"""ImageNet's crops of decoded images, with Pillow on the host.

Sizes and rounding are those of torchvision's ``RandomResizedCrop``, ``Resize`` and
``CenterCrop``, which the published ImageNet figures were trained and measured with.
Bilinear, antialiased.
"""

import math

import numpy as np
from PIL import Image

from nasjax.data.jitter import ColorJitter, jitter_colors

#: Side of what an image is cropped from in evaluation, in sides of the crop.
_EVALUATION_MARGIN = 256 / 224
#: A crop of the wanted shape may not fit in; then others are drawn.
_ATTEMPTS = 10

#: Left, upper, right and lower, in pixels.
Box = tuple[int, int, int, int]


def random_box(
    rng: np.random.Generator,
    width: int,
    height: int,
    *,
    min_area: float = 0.08,
    max_ratio: float = 4 / 3,
) -> Box:
    """Draw a crop (Szegedy et al., arXiv 1409.4842, section 6).

    Args:
      rng: drawn from.
      width: of the image, in pixels.
      height: of the image, in pixels.
      min_area: the smallest share of the image's area; uniform up to all of it.
      max_ratio: of width to height, and of height to width; uniform in the logarithm.

    Returns:
      A box within the image. Where ten draws do not fit, the largest central one of
      an allowed ratio.
    """
    for _ in range(_ATTEMPTS):
        area = width * height * rng.uniform(min_area, 1.0)
        ratio = math.exp(rng.uniform(-math.log(max_ratio), math.log(max_ratio)))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left = int(rng.integers(0, width - w + 1))
            upper = int(rng.integers(0, height - h + 1))
            return left, upper, left + w, upper + h
    w = min(width, round(height * max_ratio))
    h = min(height, round(width * max_ratio))
    left, upper = (width - w) // 2, (height - h) // 2
    return left, upper, left + w, upper + h


def training_crop(
    image: Image.Image,
    rng: np.random.Generator,
    *,
    size: int = 224,
    min_area: float = 0.08,
    jitter: ColorJitter = ColorJitter(),  # noqa: B008 (a tuple)
) -> np.ndarray:
    """Random-resized crop, mirrored with probability 1/2, its colours jittered.

    Args:
      image: RGB.
      rng: drawn from.
      size: side of the result in pixels.
      min_area: see `random_box`.
      jitter: of colours, drawn last: the crops are those without it.

    Returns:
      uint8 ``[size, size, 3]``.
    """
    box = random_box(rng, *image.size, min_area=min_area)
    mirrored = rng.random() < 0.5
    crop = image.crop(box).resize((size, size), Image.Resampling.BILINEAR)
    pixels = np.asarray(jitter_colors(crop, rng, jitter), np.uint8)
    return pixels[:, ::-1] if mirrored else pixels


def evaluation_crop(image: Image.Image, *, size: int = 224) -> np.ndarray:
    """Central crop: 224 pixels of an image whose shorter side is made 256.

    Args:
      image: RGB.
      size: side of the result in pixels; the shorter side is 8/7 of it.

    Returns:
      uint8 ``[size, size, 3]``.
    """
    return central_crop(image, size=size, shorter=round(size * _EVALUATION_MARGIN))


def central_crop(image: Image.Image, *, size: int, shorter: int) -> np.ndarray:
    """Resize so that the shorter side has ``shorter`` pixels, then crop the centre."""
    width, height = image.size
    least = min(width, height)
    wide, high = (int(shorter * side / least) for side in (width, height))
    resized = image.resize((wide, high), Image.Resampling.BILINEAR)
    left, upper = round((wide - size) / 2), round((high - size) / 2)
    return np.asarray(resized.crop((left, upper, left + size, upper + size)), np.uint8)
