"""How far SD-DARTS's voting teachers agree, and how often they are right."""

from typing import NamedTuple

import jax.numpy as jnp

from nasjax import losses
from nasjax.base import Array
from nasjax.teachers import Ring, vote


class Agreement(NamedTuple):
    """Shares of a split's examples, from 0 to 1.

    Attributes:
      coverage: that have a valid vote.
      agreement: of these, on which all teachers say the same class.
      accuracy: of these, on which the vote says the label.
      divergence: mean KL(teacher || vote) in nats over teachers and these examples:
        0 where they say the same.
    """

    coverage: Array
    agreement: Array
    accuracy: Array
    divergence: Array


def teacher_agreement(
    ring: Ring, labels: Array, *, epoch: Array | int, weights: Array | None = None
) -> Agreement:
    """What the teachers of epoch t say of all examples.

    Args:
      ring: of `teachers.record`.
      labels: ``[M]`` int32, of the ring's examples.
      epoch: t; teachers are the entries of epochs t-K to t-1.
      weights: ``[M]``, 0 for what is no example; None for all ones.

    Returns:
      Four scalars; the last three are 0 where nothing is covered.
    """
    examples = jnp.arange(labels.shape[0], dtype=jnp.int32)
    mean, covered = vote(ring, examples, epoch=epoch)  # [M, Y], [M]
    ones = jnp.ones(labels.shape, jnp.float32) if weights is None else weights
    counted = jnp.where(covered, ones, 0.0)
    written = ring.epochs
    valid = (written >= epoch - ring.probs.shape[0]) & (written < epoch)  # [K, M]
    said = jnp.argmax(mean, axis=-1)
    same = (jnp.argmax(ring.probs, axis=-1) == said[None]) | ~valid
    probs = ring.probs.astype(jnp.float32)
    # A vote is positive wherever one of its teachers is.
    logs = [jnp.log(jnp.where(p > 0, p, 1.0)) for p in (probs, mean[None])]
    ratio = logs[0] - logs[1]
    apart = jnp.where(valid, (probs * ratio).sum(axis=-1), 0.0)
    teachers = jnp.maximum(valid.sum(axis=0), 1).astype(jnp.float32)
    return Agreement(
        coverage=losses.weighted_mean(covered.astype(jnp.float32), ones),
        agreement=losses.weighted_mean(same.all(axis=0).astype(jnp.float32), counted),
        accuracy=losses.weighted_mean((said == labels).astype(jnp.float32), counted),
        divergence=losses.weighted_mean(apart.sum(axis=0) / teachers, counted),
    )
