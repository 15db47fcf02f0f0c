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

#: ``(weights, factor, x, drop) -> y`` of one operation on one edge.
_Branch = Callable[[Tree, Array, Array, Any], Array]


class _PathLoop(NamedTuple):
    """What is constant in the loop over a group's edges."""

    group: EdgeGroup
    first: int
    space: SearchSpace
    context: Context


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
    out as they are: nothing is run, and the gradient is the same.
    """
    loop = _PathLoop(**constant)
    return _path_edges(loop, path, weights, path.weight, reads, states, finished)


def _branches(loop: _PathLoop) -> tuple[_Branch, ...]:
    """What an edge may run: every operation, or (last) nothing."""
    stride, space = loop.group.stride, loop.space

    def run(
        operation: Operation, weights: Tree, factor: Array, x: Array, drop: Any
    ) -> Array:
        own = weights.get(operation.name, {})
        context = loop.context._replace(drop=drop)
        if space.channel_divisor == 1:
            y = operation.apply(own, x, stride, context)
        else:
            seen, bypass = split(x, space)
            y = operation.apply(own, seen, stride, context)
            y = merge(y, pass_by(bypass, stride), space)
        return primitives.weighted(y, factor)

    def nothing(weights: Tree, factor: Array, x: Array, drop: Any) -> Array:
        del weights, factor, drop
        return jnp.zeros_like(x[:, ::stride, ::stride])

    partly = space.channel_divisor > 1  # then `none` lets a part pass by
    runs = [
        nothing if op.is_zero and not partly else partial(run, op)
        for op in space.operations
    ]
    return (*runs, nothing)


def _edge_inputs(loop: _PathLoop, path: Path, weights: Tree, factor: Array) -> Any:
    """What the loop over edges reads at each one, stacked."""
    group = loop.group
    offset = 0 if group.from_inputs else loop.first
    sources = np.array(group.sources, np.int32) - offset
    targets = np.array(group.targets, np.int32) - loop.first
    nothing = loop.space.num_ops
    index = jnp.where(path.active, path.operation, nothing)
    return weights, factor, index, path.drop, sources, targets


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

    Its gradient keeps the finished states and nothing of an edge: edges are sorted
    by target, so that a state is finished before an edge reads it.
    """
    if finished is not None:
        return finished
    branches = _branches(loop)

    def run(
        branch: _Branch, states: Array, source: Array, weights: Tree, *rest: Any
    ) -> Array:
        factor, drop = rest
        return branch(
            weights, factor, (states if reads is None else reads)[source], drop
        )

    runs = [partial(run, branch) for branch in branches]

    def step(states: Array, edge: tuple[Any, ...]) -> tuple[Array, None]:
        weights, factor, index, drop, source, target = edge
        # A branch takes its state from all of them: what it does first reads it there.
        y = lax.switch(index, runs, states, source, weights, factor, drop)
        return states.at[target].add(y), None

    return lax.scan(step, states, _edge_inputs(loop, path, weights, factor))[0]


def _path_forward(
    loop: _PathLoop,
    path: Path,
    weights: Tree,
    factor: Array,
    reads: Array | None,
    states: Array,
    finished: Array | None,
) -> tuple[Array, tuple[Any, ...]]:
    states = _path_edges(loop, path, weights, factor, reads, states, finished)
    kept = states if reads is None else reads
    return states, (path, weights, factor, kept)


def _path_backward(
    loop: _PathLoop, residuals: tuple[Any, ...], cotangent: Array
) -> tuple[Any, ...]:
    path, weights, factor, kept = residuals
    inside = not loop.group.from_inputs

    def pull(branch: _Branch, states_bar: Array, *edge: Any) -> Any:
        weights, factor, _, drop, source, target = edge
        run = lambda weights, factor, x: branch(weights, factor, x, drop)  # noqa: E731
        return jax.vjp(run, weights, factor, kept[source])[1](states_bar[target])

    pulls = [partial(pull, branch) for branch in _branches(loop)]

    def step(bars: tuple[Array, Array], edge: tuple[Any, ...]) -> tuple[Any, Any]:
        states_bar, reads_bar = bars
        _, _, index, _, source, _ = edge
        weights_bar, factor_bar, x_bar = lax.switch(index, pulls, states_bar, *edge)
        if inside:
            states_bar = states_bar.at[source].add(x_bar)
        else:
            reads_bar = reads_bar.at[source].add(x_bar)
        return (states_bar, reads_bar), (weights_bar, factor_bar)

    start = cotangent, jnp.zeros((0,) if inside else kept.shape, kept.dtype)
    edges = _edge_inputs(loop, path, weights, factor)
    (states_bar, reads_bar), (weights_bar, factor_bar) = lax.scan(
        step, start, edges, reverse=True
    )
    # Path's own cotangent is for its integers and keys; its weight came as `factor`.
    path_bar = jax.tree.map(no_gradient, path)
    read = None if inside else reads_bar
    return path_bar, weights_bar, factor_bar, read, states_bar, None


_path_edges.defvjp(_path_forward, _path_backward)
