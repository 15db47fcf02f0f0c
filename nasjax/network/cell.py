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

from nasjax import layers
from nasjax.base import Array, Tree
from nasjax.genotype import DiscreteCell
from nasjax.layers import Context, Size
from nasjax.network.settings import Pass
from nasjax.operations import Operation, named
from nasjax.spaces.base import SearchSpace


class Edge(NamedTuple):
    """An edge of a cell.

    Attributes:
      operation: what it runs.
      source: the state it leaves.
      target: the state it adds to.
      stride: 1 or 2.
      slot: which of the stacked weights of its operation are its own; -1 if it has
        none.
    """

    operation: Operation
    source: int
    target: int
    stride: int
    slot: int


class Graph(NamedTuple):
    """Edges of a cell, their targets in order, and the states it concatenates."""

    edges: tuple[Edge, ...]
    output: tuple[int, ...]

    @property
    def weighted(self) -> dict[str, tuple[int, tuple[layers.Unit, ...]]]:
        """For each operation with weights: how many edges run it, and its units."""
        found = {}
        for edge in self.edges:
            if edge.slot >= 0:
                name, units = edge.operation.name, edge.operation.chain(edge.stride)
                found[name] = edge.slot + 1, units
        return found


def graph(cell: DiscreteCell, space: SearchSpace, *, reduction: bool) -> Graph:
    """The graph of a cell; counts the slots.

    Args:
      cell: of a genotype.
      space: that the genotype is of.
      reduction: whether edges that leave an input have stride 2.

    Raises:
      InputError: an unknown operation.
    """
    counts: dict[str, int] = {}
    placed = []
    for name, source, target in cell.edges:
        operation = named(name, space.operations)
        stride, slot = 2 if reduction and source < space.num_inputs else 1, -1
        if operation.chain(stride):
            slot = counts.get(name, 0)
            counts[name] = slot + 1
        placed.append(Edge(operation, source, target, stride, slot))
    return Graph(tuple(placed), cell.output)


def template(
    cell: Graph, channels: int, *, stack: tuple[int, ...] = ()
) -> tuple[dict[str, Tree], dict[str, Tree]]:
    """For each operation the weights of its units, ``[*stack, edges, ...]``.

    And their running statistics, in the same structure.
    """
    params, stats = {}, {}
    for name, (edges, units) in cell.weighted.items():
        axes = (*stack, edges)
        params[name] = tuple(
            layers.unit_template(unit, channels, channels, stack=axes) for unit in units
        )
        stats[name] = tuple(layers.stats_template(channels, stack=axes) for _ in units)
    return params, stats


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
      weights: of `template`.
      stats: of `template`.
      inputs: ``[C, H, W, B]`` each, the first states.
      keep: ``[E, B]``, the factors of drop path for each edge's output; None drops
        nothing.
      context: how it is computed.

    Returns:
      ``[outputs * C, H', W', B]``, and new statistics in the structure of ``stats``.
    """
    own = {
        name: (unstack(weights[name], edges), unstack(stats[name], edges))
        for name, (edges, _) in cell.weighted.items()
    }
    found: dict[str, list[Tree]] = {name: [] for name in own}
    shared: dict[Edge, Array] = {}
    states = list(inputs)
    for index, edge in enumerate(cell.edges):
        x, name = states[edge.source], edge.operation.name
        if edge.slot < 0:
            # Edges without weights that leave one state share their output.
            what = edge._replace(target=0)
            if what not in shared:
                run = edge.operation.plain
                shared[what] = x if run is None else run(x, stride=edge.stride)
            y = shared[what]
        else:
            params, running = (trees[edge.slot] for trees in own[name])
            y, seen = _apply_chain(edge, params, running, x, context)
            found[name].append(seen)
        if keep is not None and not edge.operation.is_identity(edge.stride):
            y = y * keep[index].astype(y.dtype).reshape(1, 1, 1, -1)
        if edge.target == len(states):
            states.append(y)
        else:
            states[edge.target] += y
    outputs = [states[i] for i in cell.output]
    y = outputs[0] if len(outputs) == 1 else jnp.concatenate(outputs)
    return y, {name: stack(seen) for name, seen in found.items()}


def _apply_chain(
    edge: Edge,
    weights: tuple[Tree, ...],
    stats: tuple[Tree, ...],
    x: Array,
    context: Context,
) -> tuple[Array, tuple[Tree, ...]]:
    """Run an edge's units; ``[C, H', W', B]`` and the statistics of each."""
    found, stride = [], edge.stride
    units = edge.operation.chain(stride)
    for unit, own, running in zip(units, weights, stats, strict=True):
        x, seen = layers.apply_unit(
            unit, own, running, x, stride=stride, context=context
        )
        found.append(seen)
        stride = 1  # only the first unit is strided
    return x, tuple(found)


def macs(cell: Graph, channels: int, size: Size) -> int:
    """Multiply-accumulates of a cell whose inputs are of ``size``, for one image."""
    strided = any(edge.stride == 2 for edge in cell.edges)
    inside = layers.strided(size, 2 if strided else 1)
    return sum(
        edge.operation.macs(channels, size if edge.stride == 2 else inside, edge.stride)
        for edge in cell.edges
    )
