"""One data set on the device for the halves of several seeds."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from nasjax.base import Array
from nasjax.data.augment import channel_statistics
from nasjax.data.batches import DeviceData, Split, check_same, slots, split_half
from nasjax.data.dataset import Dataset


def to_device_seeds(
    dataset: Dataset,
    *,
    batch_size: int,
    seeds: Sequence[int],
    train_fraction: float = 0.5,
    valid: Dataset | None = None,
) -> list[DeviceData]:
    """Put a training split on the device once, halved for each of several seeds.

    The batches are those of `batches.to_device` with each seed; what a seed has of its
    own are tables.

    Args:
      dataset: M examples.
      batch_size: B of either half.
      seeds: each decides its halves, see `batches.split_half`.
      train_fraction: share of the part that trains the weights.
      valid: the valid half of every seed, and `dataset` the train half; None to halve
        `dataset`.

    Returns:
      The data of each seed; the images of all halves are one array, ``[M, H, W, Ch]``.

    Raises:
      InputError: a part would be empty, or no example in a batch.
    """
    number, pixels, labels = len(dataset.labels), dataset.images, dataset.labels
    if valid is not None:
        check_same(dataset, valid, "the valid half")
        pixels = np.concatenate([pixels, valid.images])
        labels = np.concatenate([labels, valid.labels])
    images = jnp.asarray(pixels)

    def of_seed(seed: int) -> DeviceData:
        if valid is None:
            first, second = split_half(seed, number, train_fraction=train_fraction)
        else:
            first, second = np.split(np.arange(len(labels), dtype=np.int32), [number])
        return DeviceData(
            _half(images, labels, first, batch_size=batch_size),
            _half(images, labels, second, batch_size=batch_size),
            *map(jnp.asarray, channel_statistics(pixels[first])),
        )

    return [of_seed(seed) for seed in seeds]


def _half(
    images: Array, labels: np.ndarray, ids: np.ndarray, *, batch_size: int
) -> Split:
    """`batches.lay_out` of images that stay where they are."""
    position, weights = slots(len(ids), batch_size)
    at = ids[position]
    return Split(images, *map(jnp.asarray, (labels[at], at, weights)))
