"""The data set on the device, its two halves, and the batches of an epoch.

Each half is laid out for batches of B: an example has a *slot*, its place in every
batch it comes into, and an epoch shuffles the examples of each slot among themselves.
An epoch has every example once, and devices that share the batches own the slots:
what one keeps of an example it will be asked for again. Slots do not depend on the
number of devices, so neither do the batches.
"""

from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from nasjax.base import Array, InputError, Key
from nasjax.data.augment import Augmentation, channel_statistics, preprocess
from nasjax.data.dataset import Dataset


class Split(NamedTuple):
    """Examples laid out by slot; those of weight 0 only fill the last batch up.

    Images that seeds share (`data.shared`) are not laid out: their rows are ids.
    """

    images: Array  # [T, B, H, W, Ch] uint8; shared, [M, H, W, Ch]
    labels: Array  # [T, B] int32
    ids: Array  # [T, B] int32, example ids: rows of the data set
    weights: Array  # [T, B] float32, 1 or 0


class DeviceData(NamedTuple):
    """A data set that lives on the device."""

    train: Split
    valid: Split
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
    ids: Array  # [B] int32, example ids
    rows: Array  # [B] int32, where a memory of this half keeps the example
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


def hold_out(
    seed: int, num_examples: int, *, valid_fraction: float
) -> tuple[np.ndarray, np.ndarray]:
    """`split_half` by the share of the valid part.

    Raises:
      InputError: a part would be empty.

    >>> [len(part) for part in hold_out(0, 20, valid_fraction=0.1)]
    [18, 2]
    """
    try:
        return split_half(seed, num_examples, train_fraction=1.0 - valid_fraction)
    except InputError:
        raise InputError(
            f"valid_fraction is {valid_fraction}; it must leave an example in both "
            f"parts of {num_examples}, or be 0 to hold nothing out"
        ) from None


def to_device(
    dataset: Dataset, *, batch_size: int, seed: int, train_fraction: float = 0.5
) -> DeviceData:
    """Put a training split on the device, halved for a search.

    Args:
      dataset: M examples.
      batch_size: B of either half.
      seed: decides the halves, see `split_half`.
      train_fraction: share of the part that trains the weights.

    Returns:
      The data; mean and std are those of the train part.

    Raises:
      InputError: a part would be empty, or no example in a batch.
    """
    halves = split_half(seed, len(dataset.labels), train_fraction=train_fraction)
    return _put(dataset.images, dataset.labels, *halves, batch_size=batch_size)


def to_device_halves(train: Dataset, valid: Dataset, *, batch_size: int) -> DeviceData:
    """Put two data sets on the device as the halves of a search.

    Args:
      train: its examples are the train half, with ids from 0; mean and std are theirs.
      valid: its examples are the valid half; their ids follow those of train.
      batch_size: B of either.

    Raises:
      InputError: the two differ in image shape or classes.
    """
    check_same(train, valid, "the valid half")

    def half(dataset: Dataset, first_id: int) -> Split:
        at, weights = slots(len(dataset.labels), batch_size)
        images, labels = dataset.images[at], dataset.labels[at]
        return Split(
            *map(jnp.asarray, (images, labels, at + np.int32(first_id), weights))
        )

    statistics = channel_statistics(train.images)
    return DeviceData(
        half(train, 0),
        half(valid, len(train.labels)),
        *map(jnp.asarray, statistics),
    )


def check_same(train: Dataset, other: Dataset, name: str) -> None:
    """Refuse a split of other images or classes than those of training.

    Raises:
      InputError: naming it and what differs.
    """
    for what in ("image_shape", "num_classes"):
        given, wanted = getattr(other, what), getattr(train, what)
        if given != wanted:
            raise InputError(f"{what} of {name} must be {wanted}, got {given}")


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


def slots(num_examples: int, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Which example stands where: the t-th of slot j is example ``t B + j``.

    Args:
      num_examples: n.
      batch_size: B; may exceed n.

    Returns:
      int32 positions and float32 weights, ``[T, B]``. A place without an example is
      filled up, at weight 0, with the first of its slot, or where the slot has none
      with that of another.

    >>> slots(5, 2)[0].tolist(), slots(5, 2)[1].tolist()
    ([[0, 1], [2, 3], [4, 1]], [[1.0, 1.0], [1.0, 1.0], [1.0, 0.0]])
    """
    steps = num_steps(num_examples, batch_size)
    position = np.arange(steps * batch_size, dtype=np.int32).reshape(steps, -1)
    real = position < num_examples
    filler = position[0] % num_examples
    return np.where(real, position, filler[None]), real.astype(np.float32)


def epoch_order(
    key: Key,
    weights: Array,
    *,
    epoch: int | Array,
    num_steps: int | None = None,
    first_slot: int | Array = 0,
) -> Array:
    """Order the examples of each slot at random for an epoch.

    Every example comes once; what fills up comes last. Only when `num_steps` asks for
    more batches than there are (because the other half has more) does the same order
    start over.

    Args:
      key: consumed.
      weights: float32 `[T, B]`, 1 or 0, of a `Split`.
      epoch: integer, may be traced; the order depends on `key`, `epoch` and slot.
      num_steps: T', static; ``None`` for T.
      first_slot: of this device, when others have slots before it.

    Returns:
      int32 `[T', B]`: which example of its slot comes in each step.

    Raises:
      InputError: fewer steps than the examples need.

    >>> epoch_order(jax.random.key(0), jnp.ones((3, 2)), epoch=0).sum(axis=0).tolist()
    [3, 3]
    """
    needed, width = weights.shape
    steps = needed if num_steps is None else num_steps
    if steps < needed:
        raise InputError(f"num_steps must be at least {needed}, got {steps}")
    key = jax.random.fold_in(key, epoch)

    def draws(slot: Array) -> Array:
        return jax.random.uniform(jax.random.fold_in(key, slot), (needed,))

    slot = jnp.arange(width, dtype=jnp.int32) + first_slot
    draw = jax.vmap(draws, out_axes=1)(slot)  # [T, B]
    order = jnp.argsort(jnp.where(weights > 0, draw, jnp.inf), axis=0)
    return order.astype(jnp.int32)[np.arange(steps) % needed]


class Statistics(Protocol):
    """What images are normalised by: `DeviceData`, or a part of it."""

    @property
    def mean(self) -> Array:
        """``[Ch]`` float32, in units of [0, 1]."""

    @property
    def std(self) -> Array:
        """``[Ch]`` float32."""


def take(
    data: Statistics,
    half: Split,
    order: Array,
    key: Key,
    *,
    epoch: int | Array,
    augmentation: Augmentation | None,
) -> Batch:
    """Gather a batch and make it ready for a network.

    Args:
      data: the data set, or what has its mean and std.
      half: its train or valid half.
      order: int32 `[B]`, which example of its slot, see `epoch_order`.
      key: consumed; the key of the augmentation, the same in every batch and epoch.
      epoch: integer, may be traced.
      augmentation: static; ``None`` for evaluation.
    """
    slot = jnp.arange(order.shape[0], dtype=jnp.int32)

    def gather(array: Array) -> Array:
        return array.at[order, slot].get(mode="promise_in_bounds")

    ids = gather(half.ids)
    shared = half.images.ndim == 4
    images = preprocess(
        key,
        half.images.at[ids].get(mode="promise_in_bounds")
        if shared
        else gather(half.images),
        ids,
        epoch=epoch,
        augmentation=augmentation,
        mean=data.mean,
        std=data.std,
    )
    return Batch(
        images=images,
        labels=gather(half.labels),
        ids=ids,
        rows=order * order.shape[0] + slot,
        weights=gather(half.weights),
    )


def _put(
    images: np.ndarray,
    labels: np.ndarray,
    train_ids: np.ndarray,
    valid_ids: np.ndarray,
    *,
    batch_size: int,
) -> DeviceData:
    statistics = channel_statistics(images[train_ids])
    train, valid = (
        lay_out(images, labels, ids, batch_size=batch_size)
        for ids in (train_ids, valid_ids)
    )
    return DeviceData(train, valid, *map(jnp.asarray, statistics))


def lay_out(
    images: np.ndarray, labels: np.ndarray, ids: np.ndarray, *, batch_size: int
) -> Split:
    """Put the examples of some ids on the device, by slot.

    Args:
      images: uint8 ``[M, H, W, Ch]``.
      labels: int32 ``[M]``.
      ids: int32, which of them.
      batch_size: B.
    """
    position, weights = slots(len(ids), batch_size)
    at = ids[position]
    return Split(*map(jnp.asarray, (images[at], labels[at], at, weights)))
