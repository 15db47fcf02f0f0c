"""One data set on the device for the halves of several seeds."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from nasjax.base import Array
from nasjax.data.augment import channel_statistics
from nasjax.data.batches import DeviceData, Half, slots, split_half
from nasjax.data.dataset import Dataset


def to_device_seeds(
    dataset: Dataset,
    *,
    batch_size: int,
    seeds: Sequence[int],
    train_fraction: float = 0.5,
) -> list[DeviceData]:
    """Put a training split on the device once, halved for each of several seeds.

    The batches are those of `batches.to_device` with each seed; what a seed has of its
    own are tables.

    Args:
      dataset: M examples.
      batch_size: B of either half.
      seeds: each decides its halves, see `batches.split_half`.
      train_fraction: share of the part that trains the weights.

    Returns:
      The data of each seed; the images of all halves are one array, ``[M, H, W, Ch]``.

    Raises:
      InputError: a part would be empty, or no example in a batch.
    """
    images = jnp.asarray(dataset.images)

    def of_seed(seed: int) -> DeviceData:
        train, valid = split_half(
            seed, len(dataset.labels), train_fraction=train_fraction
        )
        return DeviceData(
            _half(images, dataset.labels, train, batch_size=batch_size),
            _half(images, dataset.labels, valid, batch_size=batch_size),
            *map(jnp.asarray, channel_statistics(dataset.images[train])),
        )

    return [of_seed(seed) for seed in seeds]


def _half(
    images: Array, labels: np.ndarray, ids: np.ndarray, *, batch_size: int
) -> Half:
    """`batches.lay_out` of images that stay where they are."""
    position, weights = slots(len(ids), batch_size)
    at = ids[position]
    return Half(images, *map(jnp.asarray, (labels[at], at, weights)))
