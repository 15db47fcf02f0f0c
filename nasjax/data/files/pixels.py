"""Pixels: to RGB of 8 bits from what files hold, and a look at what was read."""

import math

import numpy as np
from PIL import Image

from nasjax.base import InputError

#: TIFF's tags of the bits of a sample and of what 0 stands for.
_BITS, _PHOTOMETRIC = 258, 262
#: Up to this high byte, levels of 16 bits are those of a camera of 12.
TWELVE_BITS = 15


def to_rgb(image: Image.Image) -> Image.Image:
    """An opened image as RGB of 8 bits.

    Grey levels of more bits lose the lower ones: ``v >> 8`` of 16 bits, ``v >> 4``
    where TIFF's BitsPerSample says 12. Transparency is dropped and the colours under
    it are kept, as torchvision has it. Of several pictures it is the first.

    Raises:
      InputError: pixels that have no range (floating point, 32 bits, signed), or a
        picture that is all in its transparency.
    """
    if image.mode == "F":
        raise InputError(
            "has floating-point pixels, whose range no file tells; save it with 8 or "
            "16 bits"
        )
    if is_deep(image):
        grey = deep_levels(image) >> (_bits(image) - 8)
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    if "transparency" in image.info:  # a palette's: RGB alone would warn
        image = image.convert("RGBA")
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        image = image.convert("RGBA")
        colours, alpha = np.split(np.asarray(image), [3], axis=-1)
        if np.ptp(colours, (0, 1)).max() == 0 < np.ptp(alpha):
            raise InputError(
                "has its picture in the transparency, which is dropped: all else is "
                f"the colour {tuple(colours[0, 0].tolist())}; flatten it on a "
                "background"
            )
    return image.convert("RGB")


def is_deep(image: Image.Image) -> bool:
    """Whether it has grey levels of more than 8 bits."""
    return image.mode == "I" or image.mode.startswith("I;16")


def declares_16_bits(image: Image.Image) -> bool:
    """Whether its file says that levels have 16 bits; of an image not loaded yet."""
    colours = any(";16" in str(tile[3]) for tile in getattr(image, "tile", ()))
    return (is_deep(image) or colours) and _bits(image) == 16


def deep_levels(image: Image.Image) -> np.ndarray:
    """Grey levels ``[H, W]``, int64, of an image that `is_deep`; 0 is black.

    Raises:
      InputError: they do not lie in 0 to 65535.
    """
    levels = np.asarray(image).astype(np.int64)
    tags = getattr(image, "tag_v2", {})
    bits = tags.get(_BITS, (16,))[0]
    if bits > 16 or levels.min() < 0 or levels.max() > 65535:
        raise InputError(
            f"has pixels of {levels.min()} to {levels.max()} in {bits} bits, whose "
            "range is not known; save it with 8 or 16 bits, from 0"
        )
    return (1 << bits) - 1 - levels if tags.get(_PHOTOMETRIC) == 0 else levels


def _bits(image: Image.Image) -> int:
    # Other formats than TIFF are scaled to 16 bits as they are opened.
    return int(getattr(image, "tag_v2", {}).get(_BITS, (16,))[0])


def check_varied(images: np.ndarray, *, part: str, channels: bool = False) -> None:
    """Refuse images from which nothing can be learned.

    Args:
      images: uint8 ``[M, H, W, Ch]``.
      part: what they are called.
      channels: whether every channel must vary, to be divided by its deviation.

    Raises:
      InputError: one value everywhere, the same picture everywhere, or a channel of
        one value.

    >>> check_varied(np.full((4, 2, 2, 1), 255, np.uint8), part="train images")
    Traceback (most recent call last):
      ...
    nasjax.base.InputError: every pixel of the 4 train images is 255: nothing can be
    learned from them; look at what was read, and at how it was saved
    """
    first = images[:1]
    still = np.ones(images.shape[-1], bool)  # channels that have not varied yet
    same = True
    for part_of in np.array_split(images, max(1, len(images) // 256)):
        still &= (part_of == first[:, :1, :1]).all((0, 1, 2))
        same = same and bool((part_of == first).all())
        if not same and not still.any():
            return
    where = f"the {len(images)} {part}"
    values = first[0, 0, 0].tolist()
    help_ = "look at what was read, and at how it was saved"
    if still.all():
        value = values[0] if len(set(values)) == 1 else tuple(values)
        raise InputError(
            f"every pixel of {where} is {value}: nothing can be learned from them; "
            f"{help_}"
        )
    if same and len(images) > 1:
        raise InputError(
            f"{where} are one and the same picture: nothing can be learned from them; "
            f"{help_}"
        )
    if channels and still.any():
        channel = int(np.flatnonzero(still)[0])
        raise InputError(
            f"channel {channel} of {where} is {values[channel]} at every pixel: its "
            "standard deviation, which normalises it, is 0; leave it out, for grey "
            "images have 1 channel"
        )


def hidden_share(side: int, height: int, width: int) -> float:
    """Share of the places of a cutout at which its square hides the whole image.

    >>> hidden_share(16, 32, 32), hidden_share(100, 8, 8)
    (0.0, 1.0)
    """
    half = side // 2

    def share(size: int) -> float:
        return max(0, min(half, size - 1) - max(size - half, 0) + 1) / size

    return share(height) * share(width)


def empty_share(pad: int, height: int, width: int) -> float:
    """Share of the places of a padded crop at which nothing of the image is left.

    >>> empty_share(4, 32, 32), round(empty_share(100, 8, 8), 2)
    (0.0, 0.99)
    """
    places = 2 * pad + 1
    return 1 - math.prod(min(2 * size - 1, places) for size in (height, width)) / (
        places**2
    )
