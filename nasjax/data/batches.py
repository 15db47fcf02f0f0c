"""The data set on the device, its two halves, and the batches of an epoch.

An *example id* is the row of an example in `DeviceData.images`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nasjax.base import Array, InputError, Key
from nasjax.data.augment import Augmentation, channel_statistics, preprocess
from nasjax.data.dataset import Dataset


class DeviceData(NamedTuple):
    """A data set that lives on the device; Mt + Mv ≤ M."""

    images: Array  # [M, H, W, Ch] uint8
    labels: Array  # [M] int32
    train_ids: Array  # [Mt] int32
    valid_ids: Array  # [Mv] int32
    mean: Array  # [Ch] float32, of the train part, in units of [0, 1]
    std: Array  # [Ch] float32


class Batch(NamedTuple):
    """Examples ready for a network.

    The mean of a loss over the batch is ``sum(weights * loss) / sum(weights)``. An
    example of weight 0 only fills the batch up: whatever is kept for each example
    has to be kept from those of weight 1.
    """

    images: Array  # [B, H, W, Ch] float32
    labels: Array  # [B] int32
    ids: Array  # [B] int32
    weights: Array  # [B] float32, 1 or 0


def split_half(
    seed: int, num_examples: int, *, train_fraction: float = 0.5
) -> tuple[np.ndarray, np.ndarray]:
    """Split the examples at random in a train and a valid part, on the host.

    Args:
      seed: the same seed gives the same parts.
      num_examples: M.
      train_fraction: share of the train part, which gets the odd example.

    Returns:
      ``(train_ids, valid_ids)``, sorted int32, disjoint, together 0..M-1.

    Raises:
      InputError: a part would be empty.

    >>> [len(part) for part in split_half(0, 7)]
    [4, 3]
    """
    # The tolerance keeps 0.07 · 100 = 7.000000000000001 from becoming 8.
    num_train = int(np.ceil(num_examples * train_fraction - 1e-6))
    if not 0 < num_train < num_examples:
        raise InputError(
            f"train_fraction must leave an example in both parts of {num_examples}, "
            f"got {train_fraction}"
        )
    order = np.random.default_rng(seed).permutation(num_examples).astype(np.int32)
    return np.sort(order[:num_train]), np.sort(order[num_train:])


def to_device(
    dataset: Dataset, *, seed: int, train_fraction: float = 0.5
) -> DeviceData:
    """Put a training split on the device, halved for a search.

    Args:
      dataset: M examples.
      seed: decides the halves, see `split_half`.
      train_fraction: share of the part that trains the weights.

    Returns:
      The data; mean and std are those of the train part.

    Raises:
      InputError: a part would be empty.
    """
    train_ids, valid_ids = split_half(
        seed, len(dataset.labels), train_fraction=train_fraction
    )
    return _put(dataset.images, dataset.labels, train_ids, valid_ids)


def to_device_with_test(train: Dataset, test: Dataset) -> DeviceData:
    """Put a whole training split and a test split on the device, for a retraining.

    Args:
      train: its examples are `train_ids`.
      test: its examples are `valid_ids`; they follow those of train.

    Raises:
      InputError: the two differ in image shape or classes.
    """
    for what in ("image_shape", "num_classes"):
        given, wanted = getattr(test, what), getattr(train, what)
        if given != wanted:
            raise InputError(f"{what} of the test split must be {wanted}, got {given}")
    images = np.concatenate([train.images, test.images])
    labels = np.concatenate([train.labels, test.labels])
    ids = np.arange(len(labels), dtype=np.int32)
    return _put(images, labels, ids[: len(train.labels)], ids[len(train.labels) :])


def num_steps(num_examples: int, batch_size: int) -> int:
    """Batches that hold every example once; the last one may be ragged.

    >>> num_steps(25000, 64)
    391
    """
    if num_examples < 1 or batch_size < 1:
        raise InputError(
            "examples and batch_size must be at least 1, "
            f"got {num_examples} and {batch_size}"
        )
    return -(-num_examples // batch_size)


def epoch_order(
    key: Key,
    ids: Array,
    *,
    epoch: int | Array,
    batch_size: int,
    num_steps: int | None = None,
) -> tuple[Array, Array]:
    """Order the examples of an epoch at random and cut them into T batches.

    Every example counts exactly once: the last batch is filled up from the start of
    the same order with examples of weight 0, which take part in the statistics of
    batch normalisation but not in the loss. Only when `num_steps` asks for more
    batches than the examples fill (because the other half has more of them) do
    examples repeat, with weight 1, in the batches beyond.

    Args:
      key: consumed.
      ids: int32 `[n]`, the examples to order.
      epoch: integer, may be traced; the order depends on `key` and `epoch`.
      batch_size: B, static; may exceed n.
      num_steps: T, static; ``None`` for as many as needed, see `num_steps`.

    Returns:
      ``(ids, weights)``: int32 and float32 `[T, B]`.

    Raises:
      InputError: fewer steps than the examples need.

    >>> order, weights = epoch_order(jax.random.key(0), jnp.arange(5), epoch=0,
    ...                              batch_size=2)
    >>> weights.tolist()
    [[1.0, 1.0], [1.0, 1.0], [1.0, 0.0]]
    """
    num_examples = ids.shape[0]
    needed = _num_steps(num_examples, batch_size)
    steps = needed if num_steps is None else num_steps
    if steps < needed:
        raise InputError(
            f"num_steps must be at least {needed} for {num_examples} examples in "
            f"batches of {batch_size}, got {steps}"
        )
    position = np.arange(steps * batch_size).reshape(steps, batch_size)
    # Beyond the needed batches each one starts afresh: there an example has a weight
    # of 1 once a batch, even when the batch is larger than the data.
    within = np.where(position < needed * batch_size, position, position % batch_size)
    order = jax.random.permutation(jax.random.fold_in(key, epoch), ids)
    weights = jnp.asarray(within < num_examples, jnp.float32)
    return order[jnp.asarray(position % num_examples)], weights


def take(
    data: DeviceData,
    ids: Array,
    weights: Array,
    key: Key,
    *,
    epoch: int | Array,
    augmentation: Augmentation | None,
) -> Batch:
    """Gather a batch and make it ready for a network.

    Args:
      data: the data set.
      ids: int32 `[B]`, rows of ``data.images``; they must be valid.
      weights: float32 `[B]`, see `epoch_order`.
      key: consumed; the key of the augmentation, the same in every batch and epoch.
      epoch: integer, may be traced.
      augmentation: static; ``None`` for evaluation.
    """
    images = preprocess(
        key,
        data.images.at[ids].get(mode="promise_in_bounds"),
        ids,
        epoch=epoch,
        augmentation=augmentation,
        mean=data.mean,
        std=data.std,
    )
    labels = data.labels.at[ids].get(mode="promise_in_bounds")
    return Batch(images=images, labels=labels, ids=ids, weights=weights)


_num_steps = num_steps


def _put(
    images: np.ndarray, labels: np.ndarray, train_ids: np.ndarray, valid_ids: np.ndarray
) -> DeviceData:
    statistics = channel_statistics(images[train_ids])
    host = (images, labels, train_ids, valid_ids, *statistics)
    return DeviceData(*(jnp.asarray(array) for array in host))
