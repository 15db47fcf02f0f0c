"""A cell run as a path: at most one operation on each edge."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from nasjax import primitives
from nasjax.base import Array, Tree
from nasjax.cell.architecture import Path
from nasjax.cell.edges import EdgeGroup, merge, pass_by, split
from nasjax.cell.recompute import no_gradient
from nasjax.cell.rows import Rows, add_total, put_row, rows_of, so_far, take_row
from nasjax.ops import Context, Operation
from nasjax.space import SearchSpace


class Left(NamedTuple):
    """What a path leaves for its gradient, beside the output.

    Attributes:
      moments: of each group of edges, as `run_path` gives them.
      states: as the cell ends; None where the output holds every node.
    """

    moments: tuple[Array, ...]
    states: Array | None


class Known(NamedTuple):
    """What an earlier pass of the same path gave, which its gradient starts from."""

    output: Array
    left: Left


class _PathLoop(NamedTuple):
    """What is constant in the loop over a group's edges."""

    group: EdgeGroup
    first: int
    space: SearchSpace
    context: Context


class _Edge(NamedTuple):
    """What the loop reads at an edge; of all of them, stacked."""

    weights: Tree
    factor: Array
    runs: Array  # number of its operation, or (the last) of nothing
    drop: Any
    source: Any
    target: Any


class _Bars(NamedTuple):
    """Cotangents of an edge's moments, and of its output with its weight."""

    moments: Array
    output: Array


def run_path(
    weights: dict[str, Tree],
    path: Path,
    reads: Array | None,
    states: Array,
    *,
    known: tuple[Array, Array] | None = None,
    **constant: Any,
) -> tuple[Array, Array]:
    """Add every active edge's operation to its target, edge after edge.

    What is ``known`` from an earlier pass, states as the cell ends and moments, is
    given out as it is: nothing is run, and the gradient is the same.

    Returns:
      The states, and ``[E, 2, C]``, mean and scale of the batch normalisation that ends
      each edge's operation, zeros where none does.
    """
    loop = _PathLoop(**constant)
    return _path_edges(loop, path, weights, path.weight, reads, states, known)


# --- one edge -------------------------------------------------------------------


def _apply(
    loop: _PathLoop, op: Operation, edge: _Edge, weights: Tree, x: Array
) -> Array:
    """An operation's output, the channels that pass by included."""
    stride, space = loop.group.stride, loop.space
    context = loop.context._replace(drop=edge.drop)
    own = weights.get(op.name, {})
    if space.channel_divisor == 1:
        return op.apply(own, x, stride, context)
    seen, bypass = split(x, space)
    y = op.apply(own, seen, stride, context)
    return merge(y, pass_by(bypass, stride), space)


def _before_norm(
    loop: _PathLoop, op: Operation
) -> Callable[[Tree, Array], Array] | None:
    """`_apply` without the batch normalisation at its end, where there is one."""
    inner, stride, context = op.before_norm, loop.group.stride, loop.context
    if inner is None or loop.space.channel_divisor > 1:
        return None
    return lambda weights, x: inner(weights.get(op.name, {}), x, stride, context)


def _run(
    loop: _PathLoop, op: Operation, edge: _Edge, x: Array, total: Array
) -> tuple[Array, Array]:
    """The sum with an edge's weighted output, and the moments of its operation."""
    inner = _before_norm(loop, op)
    moments = _no_moments(total)
    if inner is None:
        y = _apply(loop, op, edge, edge.weights, x)
    else:
        y, *found = primitives.normalised(
            inner(edge.weights, x), axis_name=loop.context.norm_axis
        )
        moments = jnp.stack(found)
    return total + primitives.weighted(y, edge.factor), moments


def _pull(
    loop: _PathLoop,
    op: Operation,
    edge: _Edge,
    x: Array,
    moments: Array,
    bar: _Bars,
    total: Array,
) -> tuple[Array, tuple[Tree, Array]]:
    """The sum with the cotangent of an edge's input; those of its weights and factor.

    Args:
      loop: the constants.
      op: what the edge runs.
      edge: its place and weights.
      x: its input.
      moments: of its operation, as they were found.
      bar: cotangents of what it adds.
      total: cotangent of the input so far.
    """
    inner = _before_norm(loop, op)
    run = inner or partial(_apply, loop, op, edge)
    y, pull = jax.vjp(run, edge.weights, x)
    if inner is None:
        y_bar, factor_bar = jax.vjp(primitives.weighted, y, edge.factor)[1](bar.output)
    else:
        mean, scale = moments
        y_bar, factor_bar = primitives.pull_weighted_norm(
            y,
            scale,
            bar.output,
            edge.factor,
            mean=mean,
            moments_bar=bar.moments,
            axis_name=loop.context.norm_axis,
        )
    weights_bar, x_bar = pull(y_bar)
    return total + x_bar, (weights_bar, factor_bar)


def _no_moments(y: Array) -> Array:
    return jnp.zeros((2, len(y)), jnp.float32)


def _run_nothing(
    loop: _PathLoop, edge: _Edge, x: Array, total: Array
) -> tuple[Array, Array]:
    del loop, edge, x
    return total, _no_moments(total)


def _pull_nothing(
    loop: _PathLoop,
    edge: _Edge,
    x: Array,
    moments: Array,
    bar: _Bars,
    total: Array,
) -> tuple[Array, tuple[Tree, Array]]:
    del loop, x, moments, bar
    zeros = jax.tree.map(jnp.zeros_like, (edge.weights, edge.factor))
    return total, (zeros[0], zeros[1])


def _branches(loop: _PathLoop, some: Any, nothing: Any) -> list[Callable[..., Any]]:
    """What an edge may run: every operation, or (last) nothing."""
    partly = loop.space.channel_divisor > 1  # then `none` lets a part pass by
    runs = [
        partial(nothing, loop) if op.is_zero and not partly else partial(some, loop, op)
        for op in loop.space.operations
    ]
    return [*runs, partial(nothing, loop)]


# --- the loop -------------------------------------------------------------------


def _edges(loop: _PathLoop, path: Path, weights: Tree, factor: Array) -> _Edge:
    group = loop.group
    offset = 0 if group.from_inputs else loop.first
    sources = np.array(group.sources, np.int32) - offset
    targets = np.array(group.targets, np.int32) - loop.first
    index = jnp.where(path.active, path.operation, loop.space.num_ops)
    factor = jnp.where(path.active, factor, 0)  # of nothing it may be infinite
    return _Edge(weights, factor, index, path.drop, sources, targets)


def _run_edges(
    loop: _PathLoop, edges: _Edge, reads: Array | None, states: Array
) -> tuple[Array, Array]:
    """The states with every edge's output added, and each operation's moments.

    Edges are sorted by target, so that a state is finished before it is read.
    """

    def run(
        branch: Callable[..., Any],
        states: Array,
        turn: tuple[_Edge, Rows],
        total: Array,
    ) -> Any:
        # A branch takes its state from all of them: what it does first reads it there.
        edge, row = turn
        x = take_row(states if reads is None else reads, edge.source)
        return branch(edge, x, so_far(total, row))

    runs = [partial(run, branch) for branch in _branches(loop, _run, _run_nothing)]

    def step(carry: tuple[Array, Array], turn: tuple[_Edge, Rows]) -> tuple[Any, Any]:
        (states, total), (edge, row) = carry, turn
        total, moments = lax.switch(edge.runs, runs, states, turn, total)
        return (add_total(states, total, row), total), moments

    rows = rows_of([target - loop.first for target in loop.group.targets])
    start = states, jnp.zeros_like(states[0])
    (states, _), moments = lax.scan(step, start, (edges, rows))
    return states, moments


def _pull_edges(
    loop: _PathLoop, edges: _Edge, kept: Array, moments: Array, cotangents: _Bars
) -> tuple[Array, tuple[Tree, Array]]:
    """Cotangents of what the edges read; of their weights and factors.

    Those given are of the states that the edges add to, and of the moments.

    Edges are sorted by source, the last first, so that the cotangent of a state is
    finished before an edge that adds to the state reads it.
    """
    inside, cotangent = not loop.group.from_inputs, cotangents.output
    pairs = list(zip(edges.source, edges.target, strict=True))
    order = sorted(range(len(pairs)), key=pairs.__getitem__, reverse=True)

    def pull(
        branch: Callable[..., Any],
        bars: Array,
        turn: tuple[_Edge, Rows],
        own: tuple[Array, Array],
        total: Array,
    ) -> Any:
        (edge, row), (moments, moments_bar) = turn, own
        bar = _Bars(moments_bar, take_row(bars if inside else cotangent, edge.target))
        total = so_far(total, row)
        return branch(edge, take_row(kept, edge.source), moments, bar, total)

    pulls = [partial(pull, branch) for branch in _branches(loop, _pull, _pull_nothing)]

    def step(carry: tuple[Array, Array, Tree], turn: tuple[Array, Rows]) -> Any:
        (bars, total, found), (number, row) = carry, turn
        edge, own = jax.tree.map(
            lambda leaf: take_row(leaf, number), (edges, (moments, cotangents.moments))
        )
        total, one = lax.switch(edge.runs, pulls, bars, (edge, row), own, total)
        found = jax.tree.map(lambda rows, row: put_row(rows, row, number), found, one)
        return (add_total(bars, total, row), total, found), None

    rows = rows_of([edges.source[number] for number in order])
    bars = cotangent if inside else jnp.zeros_like(kept)
    found = jax.tree.map(jnp.zeros_like, (edges.weights, edges.factor))
    start = bars, jnp.zeros_like(bars[0]), found
    numbers: Any = np.array(order, np.int32)
    (bars, _, found), _ = lax.scan(step, start, (numbers, rows))
    return bars, found


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _path_edges(
    loop: _PathLoop,
    path: Path,
    weights: Tree,
    factor: Array,
    reads: Array | None,
    states: Array,
    known: tuple[Array, Array] | None,
) -> tuple[Array, Array]:
    """The states with every edge's output added, and moments.

    Its gradient keeps these, and nothing else of an edge.
    """
    return _path_forward(loop, path, weights, factor, reads, states, known)[0]


def _path_forward(
    loop: _PathLoop,
    path: Path,
    weights: Tree,
    factor: Array,
    reads: Array | None,
    states: Array,
    known: tuple[Array, Array] | None,
) -> tuple[tuple[Array, Array], tuple[Any, ...]]:
    if known is None:
        edges = _edges(loop, path, weights, factor)
        finished, moments = _run_edges(loop, edges, reads, states)
    else:
        finished, moments = known
    kept = finished if reads is None else reads
    return (finished, moments), (path, weights, factor, kept, moments)


def _path_backward(
    loop: _PathLoop, residuals: tuple[Any, ...], cotangents: tuple[Array, Array]
) -> tuple[Any, ...]:
    path, weights, factor, kept, moments = residuals
    cotangent, moments_bar = cotangents
    edges = _edges(loop, path, weights, factor)
    bars, (weights_bar, factor_bar) = _pull_edges(
        loop, edges, kept, moments, _Bars(moments_bar, cotangent)
    )
    # Path's own cotangent is for its integers and keys; its weight came as `factor`.
    path_bar = jax.tree.map(no_gradient, path)
    if loop.group.from_inputs:
        return path_bar, weights_bar, factor_bar, bars, cotangent, None
    return path_bar, weights_bar, factor_bar, None, bars, None


_path_edges.defvjp(_path_forward, _path_backward)
