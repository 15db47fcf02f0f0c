"""The edges of a cell in groups that one loop can run, and their partial channels."""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp

from nasjax import primitives
from nasjax.base import Array
from nasjax.space import SearchSpace


class EdgeGroup(NamedTuple):
    """Edges of one cell that share a stride, so that one loop can run them."""

    stride: int
    edges: tuple[int, ...]  # positions in the space's edges
    sources: tuple[int, ...]  # states
    targets: tuple[int, ...]  # states
    from_inputs: bool  # sources are the cell's inputs, at another resolution


def edge_groups(space: SearchSpace, *, reduction: bool) -> tuple[EdgeGroup, ...]:
    """The loops of a cell: one, or for a reduction strided edges, then the rest."""

    def group(stride: int, ids: Sequence[int], from_inputs: bool) -> EdgeGroup:
        pairs = [space.edges[e] for e in ids]
        return EdgeGroup(
            stride,
            tuple(ids),
            tuple(source for source, _ in pairs),
            tuple(target for _, target in pairs),
            from_inputs,
        )

    every = range(space.num_edges)
    if not reduction:
        return (group(1, every, False),)
    strided = [e for e in every if space.edges[e][0] < space.num_inputs]
    plain = [e for e in every if e not in strided]
    # A cell of one node has no edge of stride 1.
    groups = (group(2, strided, True), group(1, plain, False))
    return tuple(group for group in groups if group.edges)


# --- partial channels -----------------------------------------------------------


def split(x: Array, space: SearchSpace) -> tuple[Array, Array]:
    """The channels that the operations see, and those that pass by."""
    seen = x.shape[0] // space.channel_divisor
    return x[:seen], x[seen:]


def merge(y: Array, bypass: Array, space: SearchSpace) -> Array:
    """Both groups of channels, shuffled so that the next edge sees others."""
    joined = jnp.concatenate([y, bypass])
    groups = joined.reshape(space.channel_divisor, -1, *joined.shape[1:])
    return jnp.swapaxes(groups, 0, 1).reshape(joined.shape)


def pass_by(x: Array, stride: int) -> Array:
    """The channels that pass by, at the resolution of the operations' outputs."""
    return x if stride == 1 else primitives.max_pool_2x2(x)
