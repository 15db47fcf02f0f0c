"""What the edges of a cell run: a mixture of operations, or one each."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from nasjax.base import Array, Key


class Drop(NamedTuple):
    """Noise for the operations that drop a part of their output.

    Attributes:
      key: ``[E]`` PRNG keys; each cell folds its number in.
      rate: ``[E]`` share of the units dropped.
    """

    key: Key
    rate: Array


class Mixture(NamedTuple):
    """Every operation runs on every edge.

    Attributes:
      weights: ``[E, O]`` factor of each operation.
      drop: noise for operations that ask for it; None for none. What has no weights
        runs once for all edges that leave a state, with the noise of the first.
    """

    weights: Array
    drop: Drop | None = None


class Path(NamedTuple):
    """At most one operation runs on each edge: the cost of one sub-network.

    Attributes:
      operation: ``[E]`` int32, which operation.
      weight: ``[E]`` its factor.
      active: ``[E]`` bool; an edge that is not active adds nothing, at no cost.
      drop: noise for operations that ask for it; None for none.
      offset: ``[E]`` scalar that an active edge adds to every value of its output,
        whatever it runs; None for none.
    """

    operation: Array
    weight: Array
    active: Array
    drop: Drop | None = None
    offset: Array | None = None


def to_path(choice: Array, *, unchosen: bool = False) -> Path:
    """The path of a one-hot choice ``[..., E, O]``, every edge active.

    Its weights are the choice's own ones, with their gradient: what a straight-through
    sample hands back to alpha through the operation that was run.

    Args:
      choice: one-hot, ``[..., E, O]``.
      unchosen: the choice's zeros, added up, are the path's offsets: so it hands back
        a gradient through the operations that were not run, too.
    """
    operation = jnp.argmax(choice, axis=-1).astype(jnp.int32)
    weight = jnp.take_along_axis(choice, operation[..., None], axis=-1)[..., 0]
    path = Path(operation, weight, jnp.ones(operation.shape, bool))
    if not unchosen:
        return path
    chosen = jax.nn.one_hot(operation, choice.shape[-1], dtype=bool)
    return path._replace(offset=jnp.where(chosen, 0, choice).sum(axis=-1))


def fold_in_cell(architecture: Mixture | Path, number: Array | int) -> Mixture | Path:
    """What the cell of a number runs: the same as the others, with its own noise."""
    if architecture.drop is None:
        return architecture
    key, rate = architecture.drop
    own = jax.vmap(jax.random.fold_in, in_axes=(0, None))(key, number)
    return architecture._replace(drop=Drop(own, rate))


def without_drop(architecture: Mixture | Path) -> Mixture | Path:
    """The same architecture with nothing dropped, for evaluation."""
    if architecture.drop is None:
        return architecture
    return architecture._replace(drop=None)
