"""A cell run as a path: at most one operation on each edge."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from nasjax import layers
from nasjax.architecture import Path
from nasjax.base import Array, Tree
from nasjax.engine.scan.edges import (
    EdgeGroup,
    bypass_channels,
    shuffle_channels,
    split_channels,
)
from nasjax.engine.scan.recompute import zero_cotangent
from nasjax.engine.scan.rows import (
    Segment,
    flush_segment,
    put_row,
    segment_sum,
    segments_of,
    take_row,
)
from nasjax.layers import Context
from nasjax.operations import Operation
from nasjax.spaces.base import SearchSpace


class Saved(NamedTuple):
    """What a path leaves for its gradient, beside the output.

    Attributes:
      norm_stats: of each group of edges, as `run_path` gives them.
      states: as the cell ends; None where the output holds every node.
    """

    norm_stats: tuple[Array, ...]
    states: Array | None


class ForwardResult(NamedTuple):
    """What an earlier pass of the same path gave, which its gradient starts from."""

    output: Array
    left: Saved


class _PathLoop(NamedTuple):
    """What is constant in the loop over a group's edges."""

    group: EdgeGroup
    first: int
    space: SearchSpace
    context: Context


class _Edges(NamedTuple):
    """What the edges of a group have, stacked; a branch reads of it what it needs."""

    weights: dict[str, Tree]
    factor: Array
    drop: Any

    def at(self, number: Array, name: str) -> "_Edges":
        """One edge's, of the weights those of an operation."""
        own = {name: self.weights[name]} if name in self.weights else {}
        take = partial(take_row, at=number)
        return jax.tree.map(take, self._replace(weights=own))

    def no_bars(self) -> tuple[dict[str, Tree], Array]:
        """Cotangents of an edge's weights and factor where it uses neither."""

        def zeros(stack: Array) -> Array:
            return jnp.zeros(stack.shape[1:], stack.dtype)

        return jax.tree.map(zeros, self.weights), zeros(self.factor)


class _EdgeStep(NamedTuple):
    """What a turn of the loop reads: scalars, of all turns in one array."""

    number: Any  # of the edge
    source: Any
    target: Any
    row: Segment  # that it adds to
    runs: Array  # number of its operation, or (the last) of nothing

    @staticmethod
    def of(packed: Array) -> "_EdgeStep":
        """The turn of a row ``[7]`` of `_turns`."""
        number, source, target, at, starts, ends, runs = packed
        return _EdgeStep(
            number, source, target, Segment(at, starts != 0, ends != 0), runs
        )


class _Bars(NamedTuple):
    """Cotangents of an edge's norm statistics, and of its output with its weight."""

    norm_stats: Array
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

    What is ``known`` from an earlier pass, states as the cell ends and norm statistics,
    is given out as it is: nothing is run, and the gradient is the same.

    Returns:
      The states, and ``[E, 2, C]``, mean and scale of the batch normalisation that ends
      each edge's operation, zeros where none does.
    """
    loop = _PathLoop(**constant)
    return _path_edges(loop, path, weights, path.weight, reads, states, known)


# --- one edge -------------------------------------------------------------------


def _apply(
    loop: _PathLoop, op: Operation, edge: _Edges, weights: Tree, x: Array
) -> Array:
    """An operation's output, the channels that pass by included."""
    stride, space = loop.group.stride, loop.space
    context = loop.context._replace(drop=edge.drop)
    own = weights.get(op.name, {})
    if space.channel_divisor == 1:
        return op.apply(own, x, stride, context)
    seen, bypass = split_channels(x, space)
    y = op.apply(own, seen, stride, context)
    return shuffle_channels(y, bypass_channels(bypass, stride), space)


def _before_norm(
    loop: _PathLoop, op: Operation
) -> Callable[[Tree, Array], Array] | None:
    """`_apply` without the batch normalisation at its end, where there is one."""
    inner, stride, context = op.before_norm, loop.group.stride, loop.context
    if inner is None or loop.space.channel_divisor > 1:
        return None
    return lambda weights, x: inner(weights.get(op.name, {}), x, stride, context)


def _run(
    loop: _PathLoop,
    op: Operation,
    edges: _Edges,
    number: Array,
    x: Array,
    total: Array,
) -> tuple[Array, Array]:
    """The sum with an edge's weighted output, and its operation's norm statistics."""
    inner, edge = _before_norm(loop, op), edges.at(number, op.name)
    norm_stats = _no_norm_stats(total)
    if inner is None:
        y = _apply(loop, op, edge, edge.weights, x)
    else:
        y, *found = layers.normalised(
            inner(edge.weights, x), axis_name=loop.context.norm_axis
        )
        norm_stats = jnp.stack(found)
    return total + layers.weighted(y, edge.factor), norm_stats


def _pull(
    loop: _PathLoop,
    op: Operation,
    edges: _Edges,
    number: Array,
    x: Array,
    norm_stats: Array,
    bar: _Bars,
    total: Array,
) -> tuple[Array, tuple[Tree, Array]]:
    """The sum with the cotangent of an edge's input; those of its weights and factor.

    Args:
      loop: the constants.
      op: what the edge runs.
      edges: all of them.
      number: of the edge.
      x: its input.
      norm_stats: of its operation, as they were found.
      bar: cotangents of what it adds.
      total: cotangent of the input so far.
    """
    inner, edge = _before_norm(loop, op), edges.at(number, op.name)
    run = inner or partial(_apply, loop, op, edge)
    y, pull = jax.vjp(run, edge.weights, x)
    if inner is None:
        y_bar, factor_bar = jax.vjp(layers.weighted, y, edge.factor)[1](bar.output)
    else:
        mean, scale = norm_stats
        y_bar, factor_bar = layers.pull_weighted_norm(
            y,
            scale,
            bar.output,
            edge.factor,
            mean=mean,
            norm_stats_bar=bar.norm_stats,
            axis_name=loop.context.norm_axis,
        )
    own_bar, x_bar = pull(y_bar)
    return total + x_bar, (edges.no_bars()[0] | own_bar, factor_bar)


def _no_norm_stats(y: Array) -> Array:
    return jnp.zeros((2, len(y)), jnp.float32)


def _run_nothing(
    loop: _PathLoop, edges: _Edges, number: Array, x: Array, total: Array
) -> tuple[Array, Array]:
    del loop, edges, number, x
    return total, _no_norm_stats(total)


def _pull_nothing(
    loop: _PathLoop,
    edges: _Edges,
    number: Array,
    x: Array,
    norm_stats: Array,
    bar: _Bars,
    total: Array,
) -> tuple[Array, tuple[Tree, Array]]:
    del loop, number, x, norm_stats, bar
    return total, edges.no_bars()


def _branches(loop: _PathLoop, some: Any, nothing: Any) -> list[Callable[..., Any]]:
    """What an edge may run: every operation, or (last) nothing."""
    partly = loop.space.channel_divisor > 1  # then `none` lets a part pass by
    runs = [
        partial(nothing, loop) if op.is_zero and not partly else partial(some, loop, op)
        for op in loop.space.operations
    ]
    return [*runs, partial(nothing, loop)]


# --- the loop -------------------------------------------------------------------


def _edges(path: Path, weights: Tree, factor: Array) -> _Edges:
    factor = jnp.where(path.active, factor, 0)  # of nothing it may be infinite
    return _Edges(weights, factor, path.drop)


def _turns(loop: _PathLoop, path: Path, *, by_source: bool) -> Array:
    """``[E, 7]``, the turns of a loop over the edges (`_EdgeStep.of`).

    By target, so that a state is finished before it is read; or by source, the last
    first, so that the cotangent of a state is.
    """
    group = loop.group
    offset = 0 if group.from_inputs else loop.first
    sources = np.array(group.sources, np.int32) - offset
    targets = np.array(group.targets, np.int32) - loop.first
    order = np.arange(len(sources), dtype=np.int32)
    if by_source:
        order = np.lexsort((targets, sources)).astype(np.int32)[::-1]
    sources, targets = sources[order], targets[order]
    rows = segments_of((sources if by_source else targets).tolist())
    fixed = np.stack([order, sources, targets, *rows], axis=1)
    runs = jnp.where(path.active, path.operation, loop.space.num_ops)[order]
    return jnp.concatenate([fixed, runs[:, None]], axis=1)


def _run_edges(
    loop: _PathLoop, path: Path, edges: _Edges, reads: Array | None, states: Array
) -> tuple[Array, Array]:
    """The states with every edge's output added, and all norm statistics."""

    def run(
        branch: Callable[..., Any], states: Array, turn: _EdgeStep, total: Array
    ) -> Any:
        # A branch takes its state from all of them: what it does first reads it there.
        x = take_row(states if reads is None else reads, turn.source)
        return branch(edges, turn.number, x, segment_sum(total, turn.row))

    runs = [partial(run, branch) for branch in _branches(loop, _run, _run_nothing)]

    def step(carry: tuple[Array, Array], packed: Array) -> tuple[Any, Any]:
        (states, total), turn = carry, _EdgeStep.of(packed)
        total, norm_stats = lax.switch(turn.runs, runs, states, turn, total)
        return (flush_segment(states, total, turn.row), total), norm_stats

    start = states, jnp.zeros_like(states[0])
    turns = _turns(loop, path, by_source=False)
    (states, _), norm_stats = lax.scan(step, start, turns)
    return states, norm_stats


def _pull_edges(
    loop: _PathLoop,
    path: Path,
    edges: _Edges,
    kept: Array,
    norm_stats: Array,
    cotangents: _Bars,
) -> tuple[Array, tuple[Tree, Array]]:
    """Cotangents of what the edges read; of their weights and factors.

    Those given are of the states that the edges add to, and of the norm statistics.
    """
    inside, cotangent = not loop.group.from_inputs, cotangents.output

    def pull(
        branch: Callable[..., Any], bars: Array, turn: _EdgeStep, total: Array
    ) -> Any:
        stats = take_row(norm_stats, turn.number)
        stats_bar = take_row(cotangents.norm_stats, turn.number)
        bar = _Bars(stats_bar, take_row(bars if inside else cotangent, turn.target))
        x, total = take_row(kept, turn.source), segment_sum(total, turn.row)
        return branch(edges, turn.number, x, stats, bar, total)

    pulls = [partial(pull, branch) for branch in _branches(loop, _pull, _pull_nothing)]

    def step(carry: tuple[Array, Array, Tree], packed: Array) -> Any:
        (bars, total, found), turn = carry, _EdgeStep.of(packed)
        total, one = lax.switch(turn.runs, pulls, bars, turn, total)
        put = partial(put_row, at=turn.number)
        found = jax.tree.map(put, found, one)
        return (flush_segment(bars, total, turn.row), total, found), None

    bars = cotangent if inside else jnp.zeros_like(kept)
    found = jax.tree.map(jnp.zeros_like, (edges.weights, edges.factor))
    start = bars, jnp.zeros_like(bars[0]), found
    turns = _turns(loop, path, by_source=True)
    (bars, _, found), _ = lax.scan(step, start, turns)
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
    """The states with every edge's output added, and norm statistics.

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
        edges = _edges(path, weights, factor)
        finished, norm_stats = _run_edges(loop, path, edges, reads, states)
    else:
        finished, norm_stats = known
    kept = finished if reads is None else reads
    return (finished, norm_stats), (path, weights, factor, kept, norm_stats)


def _path_backward(
    loop: _PathLoop, residuals: tuple[Any, ...], cotangents: tuple[Array, Array]
) -> tuple[Any, ...]:
    path, weights, factor, kept, norm_stats = residuals
    cotangent, norm_stats_bar = cotangents
    edges = _edges(path, weights, factor)
    bars, (weights_bar, factor_bar) = _pull_edges(
        loop, path, edges, kept, norm_stats, _Bars(norm_stats_bar, cotangent)
    )
    # Path's own cotangent is for its integers and keys; its weight came as `factor`.
    path_bar = jax.tree.map(zero_cotangent, path)
    if loop.group.from_inputs:
        return path_bar, weights_bar, factor_bar, bars, cotangent, None
    return path_bar, weights_bar, factor_bar, None, bars, None


_path_edges.defvjp(_path_forward, _path_backward)
