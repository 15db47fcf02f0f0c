"""The edges of a cell in groups that one loop can run, and their partial channels."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nasjax import layers
from nasjax.base import Array
from nasjax.engine.scan.recompute import zero_cotangent
from nasjax.engine.scan.rows import take_row
from nasjax.spaces.base import SearchSpace


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


def split_channels(x: Array, space: SearchSpace) -> tuple[Array, Array]:
    """The channels that the operations see, and those that pass by."""
    seen = x.shape[0] // space.channel_divisor
    return x[:seen], x[seen:]


def shuffle_channels(y: Array, bypass: Array, space: SearchSpace) -> Array:
    """Both groups of channels, shuffled so that the next edge sees others."""
    joined = jnp.concatenate([y, bypass])
    groups = joined.reshape(space.channel_divisor, -1, *joined.shape[1:])
    return jnp.swapaxes(groups, 0, 1).reshape(joined.shape)


def bypass_channels(x: Array, stride: int) -> Array:
    """The channels that pass by, at the resolution of the operations' outputs."""
    return x if stride == 1 else layers.max_pool_2x2(x)


# --- one state of many ----------------------------------------------------------
#
# Inside a loop both touch a single row, and so do their gradients: plain autodiff of an
# indexed read adds up all states, which are zero but for one.


@jax.custom_vjp
def take_state(states: Array, index: Array) -> tuple[Array, Array]:
    """A state, and all of them to go on with: ``[S, ...]`` to ``[...]``, ``[S, ...]``.

    The index must be one of theirs.
    """
    return take_row(states, index), states


@jax.custom_vjp
def add_to_state(states: Array, index: Array, value: Array) -> Array:
    """The states ``[S, ...]`` with ``value`` ``[...]`` added to one of them."""
    return states.at[index].add(value, mode="promise_in_bounds")


def _take_forward(states: Array, index: Array) -> tuple[tuple[Array, Array], Array]:
    return take_state(states, index), index


def _take_backward(index: Array, bars: tuple[Array, Array]) -> tuple[Array, Any]:
    bar, states_bar = bars
    return add_to_state(states_bar, index, bar), zero_cotangent(index)


def _add_forward(states: Array, index: Array, value: Array) -> tuple[Array, Array]:
    return add_to_state(states, index, value), index


def _add_backward(index: Array, bar: Array) -> tuple[Array, Any, Array]:
    row, states_bar = take_state(bar, index)
    return states_bar, zero_cotangent(index), row


take_state.defvjp(_take_forward, _take_backward)
add_to_state.defvjp(_add_forward, _add_backward)
