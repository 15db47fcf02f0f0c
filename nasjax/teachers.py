"""Voting teachers: what the supernet said of each example in the last epochs.

The votes are stored, not recomputed, in a ring on the device that is indexed by
example id. Source: SD-DARTS (self-distillation), section "voting teachers".
"""

from typing import Any, NamedTuple

import jax.numpy as jnp

from nasjax import losses
from nasjax.base import Array

#: Epoch of an entry that was never written: older than any window reaches.
NEVER = -(2**30)


class Ring(NamedTuple):
    """Stored outputs of the supernet.

    Attributes:
      probs: ``[K, M, Y]`` float32 or bfloat16.
      epochs: ``[K, M]`` int32, the epoch that wrote each entry, `NEVER` for none.
    """

    probs: Array
    epochs: Array


def init_ring(
    *, window: int, num_examples: int, num_classes: int, dtype: Any = jnp.float32
) -> Ring:
    """An empty ring.

    Args:
      window: K, epochs that vote.
      num_examples: M, of the training split.
      num_classes: Y.
      dtype: of the stored probabilities.

    Raises:
      ValueError: a size below 1.

    >>> ring = init_ring(window=2, num_examples=3, num_classes=10)
    >>> ring.probs.shape, ring_bytes(window=2, num_examples=3, num_classes=10)
    ((2, 3, 10), 264)
    """
    sizes = {"window": window, "num_examples": num_examples, "num_classes": num_classes}
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} is {size}; it is at least 1")
    return Ring(
        jnp.zeros((window, num_examples, num_classes), dtype),
        jnp.full((window, num_examples), NEVER, jnp.int32),
    )


def ring_bytes(
    *, window: int, num_examples: int, num_classes: int, dtype: Any = jnp.float32
) -> int:
    """Bytes that `init_ring` takes."""
    return window * num_examples * (num_classes * jnp.dtype(dtype).itemsize + 4)


def record(ring: Ring, example_ids: Array, probs: Array, *, epoch: Array | int) -> Ring:
    """Write the outputs of a batch into slot ``epoch mod K``.

    Args:
      ring: to write to.
      example_ids: ``[B]`` int32, distinct; an id of M or more is left out, which is
        how an example that only fills a batch up is kept away.
      probs: ``[B, Y]``.
      epoch: the current one.

    Returns:
      The ring with B entries replaced.
    """
    slot = jnp.asarray(epoch, jnp.int32) % ring.probs.shape[0]
    new = probs.astype(ring.probs.dtype)
    return Ring(
        ring.probs.at[slot, example_ids].set(new, mode="drop"),
        ring.epochs.at[slot, example_ids].set(epoch, mode="drop"),
    )


def vote(ring: Ring, example_ids: Array, *, epoch: Array | int) -> tuple[Array, Array]:
    """The mean of an example's entries that were written in epochs t-K to t-1.

    Args:
      ring: to read.
      example_ids: ``[B]`` int32, below M.
      epoch: t.

    Returns:
      ``[B, Y]`` float32 probabilities, zeros where no entry is valid, and ``[B]``
      bool, whether one is.
    """
    window = ring.probs.shape[0]
    written = ring.epochs[:, example_ids]  # [K, B]
    valid = (written >= epoch - window) & (written < epoch)
    votes = ring.probs[:, example_ids].astype(jnp.float32)  # [K, B, Y]
    total = jnp.where(valid[..., None], votes, 0.0).sum(axis=0)
    count = valid.sum(axis=0).astype(jnp.float32)
    return total / jnp.maximum(count, 1)[:, None], count > 0


def record_average(
    ring: Ring, example_ids: Array, probs: Array, *, epoch: Array | int, decay: float
) -> Ring:
    """Blend the outputs of a batch into the one slot of a ring of window 1.

    ``v <- decay * v + (1 - decay) * p``, and ``v = p`` at first. Beyond the paper.

    Args:
      ring: of window 1.
      example_ids: as in `record`.
      probs: ``[B, Y]``.
      epoch: the current one.
      decay: in [0, 1); 0 keeps the last output only.
    """
    before, seen = recall_average(ring, example_ids)
    blended = decay * before + (1.0 - decay) * probs
    return record(
        ring, example_ids, jnp.where(seen[:, None], blended, probs), epoch=epoch
    )


def recall_average(ring: Ring, example_ids: Array) -> tuple[Array, Array]:
    """What `record_average` holds, ``[B, Y]``, and whether it holds anything."""
    seen = ring.epochs[0].at[example_ids].get(mode="fill", fill_value=NEVER) > NEVER
    kept = ring.probs[0].at[example_ids].get(mode="fill", fill_value=0)
    return kept.astype(jnp.float32), seen


def check(*, window: int, warmup: int, metric: str) -> None:
    """Refuse what no teachers can be told.

    Raises:
      ValueError: a window below 1, a negative warm-up or an unknown metric.
    """
    if window < 1:
        raise ValueError(f"{window=} is not at least 1")
    if warmup < 0:
        raise ValueError(f"{warmup=} is not at least 0")
    if metric not in losses.DISTANCES:
        raise ValueError(f"{metric=} is not one of {', '.join(losses.DISTANCES)}")


def distance(votes: tuple[Array, Array], logits: Array, *, metric: str = "kl") -> Array:
    """``[B]`` how far a student is from the vote, 0 where there is none.

    Args:
      votes: ``[B, Y]`` probabilities and ``[B]`` bool, of `vote`; no gradient.
      logits: ``[B, Y]`` of the student.
      metric: one of `losses.DISTANCES`.
    """
    probs, valid = votes
    return jnp.where(valid, losses.DISTANCES[metric](probs, logits), 0.0)
