"""What images a trained network takes: their size, and how they are normalised."""

import json
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nasjax.base import Array, InputError
from nasjax.data.augment import normalise
from nasjax.genotype_text import read_json


class Images(NamedTuple):
    """Images as a network was trained on them.

    A network itself takes ``(pixels / 255 - mean) / std``, of each channel.

    Attributes:
      shape: ``(H, W, c)``; c is 1 or 3.
      mean: of each channel, in units of [0, 1].
      std: likewise, above 0.
    """

    shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def normalise(self, pixels: Array) -> Array:
        """Pixels 0..255, uint8 ``[B, H, W, c]``, as a network takes them: float32.

        Raises:
          InputError: pixels of another type or size.
        """
        if getattr(pixels, "dtype", None) != np.uint8:
            raise InputError(
                "pixels are "
                f"{getattr(pixels, 'dtype', type(pixels).__name__)}; they are 0..255 "
                "as uint8"
            )
        _check_shape(pixels, self.shape)
        mean, std = (jnp.asarray(value, jnp.float32) for value in self[1:])
        return normalise(jnp.asarray(pixels), mean=mean, std=std)

    def check(self) -> "Images":
        """Itself.

        Raises:
          InputError: a field that cannot be.
        """
        shape_right = len(self.shape) == 3 and all(
            type(size) is int and size > 0 for size in self.shape
        )
        if not shape_right:
            raise InputError(f"the images' shape is {self.shape!r}; it is (H, W, c)")
        for name, lowest in (("mean", -math.inf), ("std", 0.0)):
            values = getattr(self, name)
            right = len(values) == self.shape[2] and all(
                type(v) in (int, float) and math.isfinite(v) and v > lowest
                for v in values
            )
            if not right:
                raise InputError(
                    f"the images' {name} is {list(values)!r:.80}; it is "
                    f"{self.shape[2]} numbers in units of [0, 1], one per channel"
                    + (", above 0" if name == "std" else "")
                )
        return self

    def __str__(self) -> str:
        mean, std = (" ".join(f"{v:.4g}" for v in values) for values in self[1:])
        size = "x".join(map(str, self.shape))
        return (
            f"{size}, normalised as (pixels / 255 - mean) / std: mean {mean}, std {std}"
        )


def to_json(images: Images) -> str:
    """One JSON object, the form of files."""
    return json.dumps(images._asdict())


def from_json(text: str) -> Images:
    """Read `to_json`'s form.

    Raises:
      InputError: another form.
    """
    try:
        fields = read_json(text)
        found = Images(**{name: tuple(value) for name, value in fields.items()})
    except (ValueError, RecursionError, AttributeError, TypeError) as error:
        raise InputError(f"of images it says nothing that is read: {error}") from None
    return found.check()


def check_fed(images: Any, shape: Sequence[int], known: Images | None) -> Array:
    """Images as a network takes them, checked as far as it is known how.

    Args:
      images: ``[B, H, W, c]`` of floats, normalised already.
      shape: ``(H, W, c)``.
      known: how they are normalised; None where that is not known. Values are looked
        at where they can be: not while a program is traced.

    Returns:
      The images as float32.

    Raises:
      InputError: pixels that are not normalised, by their type or their values, or
        images of another size.
    """
    how = str(known) if known else "normalised as the network was trained"
    kind = images.dtype if hasattr(images, "dtype") else np.asarray(images).dtype
    if not jnp.issubdtype(kind, jnp.floating):
        raise InputError(f"images are {kind}; this network takes floats, {how}")
    _check_shape(images, shape)
    images = jnp.asarray(images, jnp.float32)
    if known is not None and not isinstance(images, jax.core.Tracer):
        _check_values(images, known)
    return images


def _check_shape(images: Any, shape: Sequence[int]) -> None:
    given = np.shape(images)
    if len(given) != 4 or not given[0] or given[1:] != tuple(shape):
        raise InputError(
            f"images are {list(given)}; this network takes [B, "
            f"{', '.join(map(str, shape))}]"
        )


@jax.jit
def _extent(images: Array) -> tuple[Array, Array]:
    return images.min(axis=(0, 1, 2)), images.max(axis=(0, 1, 2))


def _check_values(images: Array, known: Images) -> None:
    """Refuse what no normalised pixels can be, or what pixels of 0..1 look like."""
    low, high = (np.asarray(value, np.float64) for value in _extent(images))
    mean, std = np.asarray(known.mean), np.asarray(known.std)
    black, white = -mean / std, (1 - mean) / std
    slack = 0.01 * (white - black)
    given = f"images are from {low.min():.4g} to {high.max():.4g}"
    if not ((low >= black - slack) & (high <= white + slack)).all():
        raise InputError(
            f"{given}, and normalised ones lie within {black.min():.4g} to "
            f"{white.max():.4g}; this network takes {known}"
        )
    if low.min() >= 0 and high.max() <= 1 and high.max() > low.min():
        raise InputError(
            f"{given}, as pixels of 0..1 are that are not normalised yet; this network "
            f"takes {known}"
        )
