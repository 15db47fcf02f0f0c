"""Teachers that are run again: weights and alpha of the supernet after past epochs.

The first of the two ways to a teacher's output that SD-DARTS names (section 3.3); the
other, which it takes, stores what was said (`nasjax.teachers`). This one costs K passes
forward a step and K copies of the weights, and its teachers see the very images, as
augmented now, that the student sees.
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from nasjax import schedules, teachers
from nasjax.base import Array, Tree
from nasjax.methods.adding import add_weight_loss
from nasjax.methods.base import Alpha, Method, Rerun, Terms, no_recall
from nasjax.schedules import Schedule
from nasjax.teachers import NEVER

_VOTES = "weight_teachers"


class Snapshots(NamedTuple):
    """Supernets of past epochs.

    Attributes:
      weights: a tree like the supernet's weights, its leaves ``[K, ...]``.
      alpha: likewise.
      epochs: ``[K]`` int32, the epoch each was taken after, `NEVER` for none.
    """

    weights: Tree
    alpha: Tree
    epochs: Array


def init_snapshots(weights: Tree, alpha: Tree, *, window: int) -> Snapshots:
    """Zeros for K = ``window`` supernets like the one given.

    >>> init_snapshots(jnp.ones(3), jnp.ones((2, 4)), window=2).weights.shape
    (2, 3)
    """

    def empty(leaf: Array) -> Array:
        return jnp.zeros((window, *leaf.shape), leaf.dtype)

    weights, alpha = jax.tree.map(empty, (weights, alpha))
    return Snapshots(weights, alpha, jnp.full(window, NEVER, jnp.int32))


def take_snapshot(
    snapshots: Snapshots, weights: Tree, alpha: Tree, *, epoch: Array | int
) -> Snapshots:
    """Write a supernet into slot ``epoch mod K``.

    Args:
      snapshots: to write to.
      weights: after an epoch.
      alpha: after the same epoch.
      epoch: its number.
    """
    slot = jnp.asarray(epoch, jnp.int32) % snapshots.epochs.shape[0]
    new = Snapshots(weights, alpha, jnp.asarray(epoch, jnp.int32))
    return jax.tree.map(lambda kept, leaf: kept.at[slot].set(leaf), snapshots, new)


def vote(
    snapshots: Snapshots, rerun: Rerun, *, epoch: Array | int
) -> tuple[Array, Array]:
    """The mean of what the supernets of epochs t-K to t-1 say of a batch.

    They are run one after the other, at the memory of one.

    Args:
      snapshots: to run.
      rerun: ``(weights, alpha) -> probs [B, Y]``.
      epoch: t.

    Returns:
      As `teachers.vote`: ``[B, Y]`` probabilities, zeros without a supernet, and
      ``[B]`` bool, whether there is one.
    """
    window = snapshots.epochs.shape[0]
    valid = (snapshots.epochs >= epoch - window) & (snapshots.epochs < epoch)  # [K]
    said = jax.lax.map(lambda one: rerun(one.weights, one.alpha), snapshots)
    count = valid.sum().astype(jnp.float32)
    total = jnp.where(valid[:, None, None], said, 0.0).sum(axis=0)  # of [K, B, Y]
    return total / jnp.maximum(count, 1.0), jnp.full(total.shape[0], count > 0)


def add_weight_teachers(
    method: Method,
    *,
    strength: Schedule = schedules.constant(1.0),
    window: int = 2,
    warmup: int = 25,
    metric: str = "kl",
) -> Method:
    """The method, taught by its supernets of past epochs, which are run again.

    Warm-up, window and metric are those of `sd_darts.add_voting_teachers`. A teacher is
    relaxed from its own alpha, at the progress and with the noise of the step it
    teaches in (an assumption: the paper's supernet draws nothing); during the warm-up
    none is run.

    Raises:
      ValueError: what `teachers.check` refuses, or a method that has snapshots already.
    """
    teachers.check(window=window, warmup=warmup, metric=metric)
    if method.recall is not no_recall:
        raise ValueError(
            f"{method.name} has snapshots already, teachers need their own"
        )

    def recall(
        snapshots: Snapshots, rerun: Rerun, epoch: Array
    ) -> Mapping[str, tuple[Array, Array]]:
        def votes() -> tuple[Array, Array]:
            return vote(snapshots, rerun, epoch=epoch)

        def none() -> tuple[Array, Array]:
            shapes = jax.eval_shape(votes)
            return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

        return {_VOTES: jax.lax.cond(epoch >= warmup, votes, none)}

    def distillation(terms: Terms) -> Array:
        votes = terms.taught[_VOTES]
        return terms.mean(teachers.distance(votes, terms.logits, metric=metric))

    def take(snapshots: Snapshots, weights: Tree, alpha: Alpha, epoch: Array) -> Tree:
        return take_snapshot(snapshots, weights, alpha, epoch=epoch)

    method = add_weight_loss(method, distillation, strength=strength, name="strength")
    return method._replace(
        init_snapshots=lambda weights, alpha: init_snapshots(
            weights, alpha, window=window
        ),
        take_snapshot=take,
        recall=recall,
    )
