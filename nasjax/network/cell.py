"""A discrete cell: a DAG with one operation on each edge.

Edges with one operation have their weights stacked, ``[edges, ...]``, so that a
network has tens of arrays and not a thousand.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from nasjax.base import Array, Tree
from nasjax.network import operations, units
from nasjax.network.skeleton import Pass
from nasjax.network.units import Context, Size


class Edge(NamedTuple):
    """An edge of a cell.

    Attributes:
      operation: its name.
      source: the state it leaves.
      target: the state it adds to.
      stride: 1 or 2.
      slot: which of the stacked weights of its operation are its own; -1 if it has
        none.
    """

    operation: str
    source: int
    target: int
    stride: int
    slot: int


class Graph(NamedTuple):
    """Edges of a cell, their targets in order, and the states it concatenates."""

    edges: tuple[Edge, ...]
    output: tuple[int, ...]

    @property
    def slots(self) -> dict[str, int]:
        """How many edges with weights each operation has."""
        counts: dict[str, int] = {}
        for edge in self.edges:
            if edge.slot >= 0:
                counts[edge.operation] = edge.slot + 1
        return counts

    @property
    def chains(self) -> dict[str, tuple[units.Unit, ...]]:
        """Units of each operation with weights."""
        return {
            edge.operation: operations.chain(edge.operation, edge.stride)
            for edge in self.edges
            if edge.slot >= 0
        }


def graph(
    edges: tuple[tuple[str, int, int, int], ...], output: tuple[int, ...]
) -> Graph:
    """A graph of ``(operation, source, target, stride)``; counts the slots.

    Raises:
      InputError: an unknown operation.
    """
    counts: dict[str, int] = {}
    placed = []
    for operation, source, target, stride in edges:
        slot = -1
        if operations.chain(operation, stride):
            slot = counts.get(operation, 0)
            counts[operation] = slot + 1
        placed.append(Edge(operation, source, target, stride, slot))
    return Graph(tuple(placed), output)


def params_template(
    cell: Graph, channels: int, *, stack: tuple[int, ...] = ()
) -> dict[str, Tree]:
    """For each operation the weights of its units, ``[*stack, edges, ...]``."""
    return {
        name: tuple(
            units.params_template(
                unit, channels, channels, stack=(*stack, cell.slots[name])
            )
            for unit in chain
        )
        for name, chain in cell.chains.items()
    }


def stats_template(
    cell: Graph, channels: int, *, stack: tuple[int, ...] = ()
) -> dict[str, Tree]:
    """Running moments, in the structure of `params_template`."""
    return {
        name: tuple(
            units.stats_template(channels, stack=(*stack, cell.slots[name]))
            for _ in chain
        )
        for name, chain in cell.chains.items()
    }


def unstack(tree: Tree, count: int) -> list[Tree]:
    """A tree for each index of the leading axis.

    Its gradient is one concatenation, where that of indexing is a sum of as many
    padded arrays.
    """
    leaves, structure = jax.tree.flatten(tree)
    parts = [
        [part[0] for part in lax.split(leaf, (1,) * count, axis=0)] for leaf in leaves
    ]
    return [
        jax.tree.unflatten(structure, [own[i] for own in parts]) for i in range(count)
    ]


def stack(trees: list[Tree]) -> Tree:
    """Trees of one structure as one tree with a leading axis."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def repeat(
    step: Callable[[Tree, Tree], tuple[Tree, Tree]],
    state: Tree,
    stacked: Tree,
    count: int,
    how: Pass,
) -> tuple[Tree, Tree]:
    """Run ``step(state, own) -> (state, result)`` for each part of ``stacked``.

    Args:
      step: one of equal cells.
      state: what it hands on.
      stacked: weights and the like, ``[count, ...]``.
      count: of cells.
      how: unrolled or as a loop, and whether each step is computed again in the
        backward pass.

    Returns:
      The last state and the results, stacked.
    """
    looped = how.loop and count > 1
    if how.remat:
        step = jax.checkpoint(step, prevent_cse=not looped)
    if looped:
        return lax.scan(step, state, stacked)
    results = []
    for own in unstack(stacked, count):
        state, result = step(state, own)
        results.append(result)
    return state, stack(results)


@partial(jax.jit, static_argnames=("cell", "context"))
def apply(
    cell: Graph,
    weights: Mapping[str, Tree],
    stats: Mapping[str, Tree],
    inputs: tuple[Array, ...],
    *,
    keep: Array | None = None,
    context: Context,
) -> tuple[Array, dict[str, Tree]]:
    """Run a cell; equal cells of a network are traced once.

    Args:
      cell: its graph.
      weights: of `params_template`.
      stats: of `stats_template`.
      inputs: ``[C, H, W, B]`` each, the first states.
      keep: ``[E, B]``, the factors of drop path for each edge's output; None drops
        nothing.
      context: how it is computed.

    Returns:
      ``[outputs * C, H', W', B]``, and the moments in the structure of ``stats``.
    """
    own = {
        name: (unstack(weights[name], slots), unstack(stats[name], slots))
        for name, slots in cell.slots.items()
    }
    moments: dict[str, list[Tree]] = {name: [] for name in own}
    shared: dict[Edge, Array] = {}
    states = list(inputs)
    for index, edge in enumerate(cell.edges):
        x = states[edge.source]
        if edge.slot < 0:
            # Edges without weights that leave one state share their output.
            what = edge._replace(target=0)
            if what not in shared:
                shared[what] = operations.apply_plain(
                    edge.operation, x, stride=edge.stride
                )
            y = shared[what]
        else:
            params, running = (trees[edge.slot] for trees in own[edge.operation])
            y, found = operations.apply_chain(
                edge.operation, params, running, x, stride=edge.stride, context=context
            )
            moments[edge.operation].append(found)
        if keep is not None and not operations.is_identity(edge.operation, edge.stride):
            y = y * keep[index].astype(y.dtype).reshape(1, 1, 1, -1)
        if edge.target == len(states):
            states.append(y)
        else:
            states[edge.target] += y
    outputs = [states[i] for i in cell.output]
    y = outputs[0] if len(outputs) == 1 else jnp.concatenate(outputs)
    return y, {name: stack(found) for name, found in moments.items()}


def macs(cell: Graph, channels: int, size: Size) -> int:
    """Multiply-accumulates of a cell whose inputs are of ``size``, for one image."""
    strided = any(edge.stride == 2 for edge in cell.edges)
    inside = units.strided(size, 2 if strided else 1)
    total = 0
    for edge in cell.edges:
        stride, at = edge.stride, size if edge.stride == 2 else inside
        for unit in operations.chain(edge.operation, stride):
            total += unit.macs(channels, channels, at, stride)
            at, stride = units.strided(at, stride), 1
    return total
