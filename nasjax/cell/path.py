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
from nasjax.ops import Context, Operation
from nasjax.space import SearchSpace


class _PathLoop(NamedTuple):
    """What is constant in the loop over a group's edges."""

    group: EdgeGroup
    first: int
    space: SearchSpace
    context: Context
    keep: bool  # what each edge gave, for the backward pass


class _Edge(NamedTuple):
    """What the loop reads at an edge; of all of them, stacked."""

    weights: Tree
    factor: Array
    runs: Array  # number of its operation, or (the last) of nothing
    drop: Any
    source: Any
    target: Any


class _Ran(NamedTuple):
    """What an edge's operation gave.

    Attributes:
      output: before its weight.
      scale: ``[C]`` of the batch normalisation that ended it, else of no meaning.
    """

    output: Array
    scale: Array


def run_path(
    weights: dict[str, Tree],
    path: Path,
    reads: Array | None,
    states: Array,
    *,
    finished: Array | None = None,
    **constant: Any,
) -> Array:
    """Add every active edge's operation to its target, edge after edge.

    Where the cell's ``finished`` states are known from an earlier pass they are given
    out as they are: nothing is run, and the gradient is the same. To ``keep`` what each
    edge gave saves computing it again, at an array an edge.
    """
    loop = _PathLoop(**constant)
    return _path_edges(loop, path, weights, path.weight, reads, states, finished)


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


def _run(loop: _PathLoop, op: Operation, edge: _Edge, x: Array) -> _Ran:
    inner = _before_norm(loop, op)
    if inner is None:
        return _Ran(_apply(loop, op, edge, edge.weights, x), _no_scale(x))
    before = inner(edge.weights, x)
    return _Ran(*primitives.normalised(before, axis_name=loop.context.norm_axis))


def _pull(
    loop: _PathLoop, op: Operation, edge: _Edge, x: Array, ran: _Ran | None, bar: Array
) -> tuple[Tree, Array, Array]:
    """Cotangents of an edge's weights, its factor and its input.

    Args:
      loop: the constants.
      op: what the edge runs.
      edge: its place and weights.
      x: its input.
      ran: what the operation gave, where that was kept; the compiler then leaves out
        the products that gave it.
      bar: cotangent of the weighted output.
    """
    inner = None if ran is None else _before_norm(loop, op)
    run = inner or partial(_apply, loop, op, edge)
    y, pull = jax.vjp(run, edge.weights, x)
    if ran is not None:
        y = ran.output
    y_bar, factor_bar = jax.vjp(primitives.weighted, y, edge.factor)[1](bar)
    if ran is not None and inner is not None:
        axis = loop.context.norm_axis
        y_bar = primitives.pull_normalised(*ran, y_bar, axis_name=axis)
    weights_bar, x_bar = pull(y_bar)
    return weights_bar, factor_bar, x_bar


def _no_scale(x: Array) -> Array:
    return jnp.zeros(x.shape[0], jnp.float32)


def _run_nothing(loop: _PathLoop, edge: _Edge, x: Array) -> _Ran:
    del edge
    stride = loop.group.stride
    return _Ran(jnp.zeros_like(x[:, ::stride, ::stride]), _no_scale(x))


def _pull_nothing(
    loop: _PathLoop, edge: _Edge, x: Array, ran: _Ran | None, bar: Array
) -> tuple[Tree, Array, Array]:
    del loop, ran, bar
    zeros = jax.tree.map(jnp.zeros_like, (edge.weights, edge.factor, x))
    return zeros[0], zeros[1], zeros[2]


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
) -> tuple[Array, _Ran | None]:
    """The states with every edge's output added, and what each gave, if it is kept."""

    def run(branch: Callable[..., _Ran], states: Array, edge: _Edge) -> _Ran:
        return branch(edge, (states if reads is None else reads)[edge.source])

    runs = [partial(run, branch) for branch in _branches(loop, _run, _run_nothing)]

    def step(states: Array, edge: _Edge) -> tuple[Array, _Ran | None]:
        # A branch takes its state from all of them: what it does first reads it there.
        ran = lax.switch(edge.runs, runs, states, edge)
        added = primitives.weighted(ran.output, edge.factor)
        return states.at[edge.target].add(added), ran if loop.keep else None

    return lax.scan(step, states, edges)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _path_edges(
    loop: _PathLoop,
    path: Path,
    weights: Tree,
    factor: Array,
    reads: Array | None,
    states: Array,
    finished: Array | None,
) -> Array:
    """The states with every edge's output added.

    Its gradient keeps the finished states, and nothing of an edge that is not to be
    kept: edges are sorted by target, so that a state is finished before it is read.
    """
    if finished is not None:
        return finished
    edges = _edges(loop, path, weights, factor)
    return _run_edges(loop._replace(keep=False), edges, reads, states)[0]


def _path_forward(
    loop: _PathLoop,
    path: Path,
    weights: Tree,
    factor: Array,
    reads: Array | None,
    states: Array,
    finished: Array | None,
) -> tuple[Array, tuple[Any, ...]]:
    ran = None
    if finished is None:
        edges = _edges(loop, path, weights, factor)
        finished, ran = _run_edges(loop, edges, reads, states)
    kept = finished if reads is None else reads
    return finished, (path, weights, factor, kept, ran)


def _path_backward(
    loop: _PathLoop, residuals: tuple[Any, ...], cotangent: Array
) -> tuple[Any, ...]:
    path, weights, factor, kept, ran = residuals
    inside = not loop.group.from_inputs

    def pull(
        branch: Callable[..., Any], states_bar: Array, edge: _Edge, ran: _Ran | None
    ) -> Any:
        return branch(edge, kept[edge.source], ran, states_bar[edge.target])

    pulls = [partial(pull, branch) for branch in _branches(loop, _pull, _pull_nothing)]

    def step(
        bars: tuple[Array, Array], one: tuple[_Edge, _Ran | None]
    ) -> tuple[Any, Any]:
        (states_bar, reads_bar), (edge, ran) = bars, one
        weights_bar, factor_bar, x_bar = lax.switch(
            edge.runs, pulls, states_bar, edge, ran
        )
        if inside:
            states_bar = states_bar.at[edge.source].add(x_bar)
        else:
            reads_bar = reads_bar.at[edge.source].add(x_bar)
        return (states_bar, reads_bar), (weights_bar, factor_bar)

    start = cotangent, jnp.zeros((0,) if inside else kept.shape, kept.dtype)
    edges = _edges(loop, path, weights, factor)
    (states_bar, reads_bar), (weights_bar, factor_bar) = lax.scan(
        step, start, (edges, ran), reverse=True
    )
    # Path's own cotangent is for its integers and keys; its weight came as `factor`.
    path_bar = jax.tree.map(no_gradient, path)
    read = None if inside else reads_bar
    return path_bar, weights_bar, factor_bar, read, states_bar, None


_path_edges.defvjp(_path_forward, _path_backward)
