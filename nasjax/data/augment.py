"""Augmentation on the device, keyed by seed, epoch and example id.

The chain is that of the DARTS reference code (quark0/darts, ``utils.py``): pad the
raw pixels with 0, crop at random, flip, normalise, then cut out a square of the
*normalised* image, whose 0 is the mean colour.

The randomness of an example comes from ``fold_in(fold_in(key, epoch), id)`` alone: it
is the same whatever batch, position or device the example lands on. These functions
consume their key.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nasjax.base import Array, InputError, Key
from nasjax.data.files.pixels import empty_share, hidden_share

#: Smallest standard deviation: half a grey level, so that a constant channel
#: normalises to 0 instead of 0/0.
MIN_STD = 0.5 / 255

# One stream of every example's key for each random step.
_CROP, _FLIP, _CUTOUT = 0, 1, 2


class Augmentation(NamedTuple):
    """What happens to a training image; plain Python values, static under `jit`.

    The defaults are those of the DARTS search; its retraining has ``cutout=16``.
    """

    pad: int = 4  # pixels on each side before the random crop; 0: no crop
    flip: bool = True  # mirror left and right with probability 1/2
    cutout: int = 0  # side of the square in pixels; 0: none

    def check(self, height: int, width: int) -> None:
        """Refuse what hides the image at half of its places or more.

        Args:
          height: of an image, in pixels.
          width: of an image, in pixels.

        Raises:
          InputError: naming the field, its value and what happens.

        >>> Augmentation(cutout=100).check(8, 8)
        Traceback (most recent call last):
          ...
        nasjax.base.InputError: cutout is 100; a square of 100 pixels hides all of an
        8x8 image at every place; give less, or 0 for none
        """
        if self.pad < 0 or self.cutout < 0:
            raise InputError(f"pad and cutout must be 0 or more pixels, got {self}")
        shares = {
            "cutout": hidden_share(self.cutout, height, width),
            "pad": empty_share(self.pad, height, width),
        }
        does = {
            "cutout": f"a square of {self.cutout} pixels hides all",
            "pad": f"a crop after {self.pad} pixels on each side leaves nothing",
        }
        for field, share in shares.items():
            if share >= 0.5:
                places = f"{100 * share:.0f} % of the places"
                if share == 1:
                    places = "every place"
                raise InputError(
                    f"{field} is {getattr(self, field)}; {does[field]} of an "
                    f"{height}x{width} image at {places}; give less, or 0 for none"
                )


def example_keys(key: Key, ids: Array, *, epoch: int | Array) -> Key:
    """Key of every example in this epoch.

    Args:
      key: consumed.
      ids: int32 `[B]`.
      epoch: integer, may be traced.

    Returns:
      Keys `[B]`; each depends on `key`, `epoch` and its own id only.
    """
    key = jax.random.fold_in(key, epoch)
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, ids)


def random_crop(keys: Key, images: Array, *, pad: int) -> Array:
    """Pad with 0 by `pad` pixels on each side and crop back at a random offset.

    Args:
      keys: `[B]`, consumed.
      images: `[B, H, W, Ch]`, of any type.
      pad: pixels; every offset in 0..2·pad is equally likely on each axis.

    Returns:
      `[B, H, W, Ch]`, of the same type.
    """
    padded = jnp.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)))

    def crop(key: Key, image: Array) -> Array:
        offset = jax.random.randint(key, (2,), 0, 2 * pad + 1)
        return jax.lax.dynamic_slice(image, (*offset, 0), images.shape[1:])

    return jax.vmap(crop)(keys, padded)


def random_flip(keys: Key, images: Array) -> Array:
    """Mirror each image left and right with probability 1/2.

    Args:
      keys: `[B]`, consumed.
      images: `[B, H, W, Ch]`, of any type.
    """
    mirrored = jax.vmap(jax.random.bernoulli)(keys)
    return jnp.where(mirrored[:, None, None, None], images[:, :, ::-1], images)


def augment(
    key: Key,
    images: Array,
    ids: Array,
    *,
    epoch: int | Array,
    augmentation: Augmentation,
) -> Array:
    """Crop and flip raw images; the part of the chain before normalisation.

    Args:
      key: consumed.
      images: uint8 `[B, H, W, Ch]`.
      ids: int32 `[B]`, the examples' ids.
      epoch: integer, may be traced.
      augmentation: static. Its cutout comes after normalisation, see `preprocess`.

    Returns:
      uint8 `[B, H, W, Ch]`.
    """
    keys = example_keys(key, ids, epoch=epoch)
    if augmentation.pad:
        images = random_crop(_stream(keys, _CROP), images, pad=augmentation.pad)
    if augmentation.flip:
        images = random_flip(_stream(keys, _FLIP), images)
    return images


def normalise(images: Array, *, mean: Array, std: Array) -> Array:
    """Scale pixels 0..255 to [0, 1], subtract the mean, divide by the deviation.

    Args:
      images: uint8 `[..., Ch]`.
      mean: float32 `[Ch]`, in units of [0, 1].
      std: float32 `[Ch]`, in units of [0, 1].

    Returns:
      float32 `[..., Ch]`.
    """
    channels = (1,) * (images.ndim - 1) + (-1,)
    scaled = images.astype(jnp.float32) / 255
    return (scaled - mean.reshape(channels)) / std.reshape(channels)


def cutout(keys: Key, images: Array, *, size: int) -> Array:
    """Set a square at a random place of each image to 0 (arXiv:1708.04552).

    The centre is uniform over the pixels and the square is clipped at the border, as
    in the DARTS reference code; as there, an odd `size` is rounded down to even.

    Args:
      keys: `[B]`, consumed.
      images: float32 `[B, H, W, Ch]`, normalised, so that 0 is the mean.
      size: side of the square in pixels.

    Returns:
      float32 `[B, H, W, Ch]`.
    """
    height, width = images.shape[1:3]
    half = size // 2

    def keep(key: Key) -> Array:
        limits = jnp.array([height, width], jnp.int32)
        y, x = jax.random.randint(key, (2,), 0, limits)
        rows = (jnp.arange(height) < y - half) | (jnp.arange(height) >= y + half)
        columns = (jnp.arange(width) < x - half) | (jnp.arange(width) >= x + half)
        return rows[:, None] | columns[None, :]

    return jnp.where(jax.vmap(keep)(keys)[..., None], images, jnp.float32(0))


def preprocess(
    key: Key,
    images: Array,
    ids: Array,
    *,
    epoch: int | Array,
    augmentation: Augmentation | None,
    mean: Array,
    std: Array,
) -> Array:
    """Turn raw images into what a network takes: augmented and normalised.

    Args:
      key: consumed; unused without augmentation.
      images: uint8 `[B, H, W, Ch]`.
      ids: int32 `[B]`, the examples' ids.
      epoch: integer, may be traced.
      augmentation: static; ``None`` for evaluation.
      mean: float32 `[Ch]`, see `channel_statistics`.
      std: float32 `[Ch]`.

    Returns:
      float32 `[B, H, W, Ch]`.

    >>> raw = jnp.full((2, 8, 8, 3), 255, jnp.uint8)
    >>> half = jnp.full(3, 0.5, jnp.float32)
    >>> out = preprocess(jax.random.key(0), raw, jnp.arange(2), epoch=0,
    ...                  augmentation=None, mean=half, std=half)
    >>> out.shape, float(out.min()), float(out.max())
    ((2, 8, 8, 3), 1.0, 1.0)
    """
    if augmentation is None:
        return normalise(images, mean=mean, std=std)
    augmentation.check(*images.shape[1:3])
    raw = augment(key, images, ids, epoch=epoch, augmentation=augmentation)
    normal = normalise(raw, mean=mean, std=std)
    if not augmentation.cutout:
        return normal
    keys = _stream(example_keys(key, ids, epoch=epoch), _CUTOUT)
    return cutout(keys, normal, size=augmentation.cutout)


def channel_statistics(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel over all pixels, on the host.

    Args:
      images: uint8 `[M, H, W, Ch]`.

    Returns:
      ``(mean, std)``, float32 `[Ch]` in units of [0, 1]; the population's deviation,
      at least `MIN_STD`.

    >>> channel_statistics(np.array([0, 255], np.uint8).reshape(2, 1, 1, 1))
    (array([0.5], dtype=float32), array([0.5], dtype=float32))
    """
    levels = np.arange(256)
    # Counts of the 256 levels are exact, and take no float copy of the images.
    counts = np.zeros((images.shape[-1], 256), np.int64)
    for part in np.array_split(images, max(1, len(images) // 1024)):
        for channel, count in enumerate(counts):
            count += np.bincount(part[..., channel].ravel(), minlength=256)
    total = counts.sum(1)
    mean = counts @ levels / total
    variance = counts @ levels**2 / total - mean**2
    std = np.maximum(np.sqrt(np.maximum(variance, 0)) / 255, MIN_STD)
    return (mean / 255).astype(np.float32), std.astype(np.float32)


def _stream(keys: Key, stream: int) -> Key:
    return jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, stream)
