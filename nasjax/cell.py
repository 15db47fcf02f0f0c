"""The cell: a DAG whose edges run a mixture of operations, or one operation each.

Both runners loop over stacked weights (``lax.scan``) instead of unrolling Python,
so a cell compiles as one body however many edges it has, and both recompute an
operation in the backward pass instead of keeping its insides: what is kept of an
edge is its input, which is a state of the cell anyway.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from nasjax import primitives
from nasjax.base import Array, Key, Tree
from nasjax.ops import Context, Operation, kernel
from nasjax.space import SearchSpace


class Mixture(NamedTuple):
    """Every operation runs on every edge.

    Attributes:
      weights: ``[E, O]`` factor of each operation.
    """

    weights: Array


class Drop(NamedTuple):
    """Noise for the operations that drop a part of their output.

    Attributes:
      key: ``[E]`` PRNG keys; each cell folds its number in.
      rate: ``[E]`` share of the units dropped.
    """

    key: Key
    rate: Array


class Path(NamedTuple):
    """At most one operation runs on each edge: the cost of one sub-network.

    Attributes:
      operation: ``[E]`` int32, which operation.
      weight: ``[E]`` its factor.
      active: ``[E]`` bool; an edge that is not active adds nothing, at no cost.
      drop: noise for operations that ask for it; None for none.
    """

    operation: Array
    weight: Array
    active: Array
    drop: Drop | None = None


def to_path(choice: Array) -> Path:
    """The path of a one-hot choice ``[..., E, O]``, every edge active.

    Its weights are the choice's own ones, with their gradient: what a straight-through
    sample hands back to alpha through the operation that was run.
    """
    operation = jnp.argmax(choice, axis=-1).astype(jnp.int32)
    weight = jnp.take_along_axis(choice, operation[..., None], axis=-1)[..., 0]
    return Path(operation, weight, jnp.ones(operation.shape, bool))


def for_cell(architecture: Mixture | Path, number: Array | int) -> Mixture | Path:
    """What the cell of a number runs: the same as the others, with its own noise."""
    if isinstance(architecture, Mixture) or architecture.drop is None:
        return architecture
    key, rate = architecture.drop
    own = jax.vmap(jax.random.fold_in, in_axes=(0, None))(key, number)
    return architecture._replace(drop=Drop(own, rate))


def without_drop(architecture: Mixture | Path) -> Mixture | Path:
    """The same architecture with nothing dropped, for evaluation."""
    if isinstance(architecture, Mixture):
        return architecture
    return architecture._replace(drop=None)


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


def cell_template(
    space: SearchSpace, *, channels: int, reduction: bool, stack: tuple[int, ...] = ()
) -> tuple[dict[str, Tree], ...]:
    """Weights of a cell: per group, per operation, stacked over its edges.

    Operations without weights have no entry.

    Args:
      space: the search space.
      channels: C.
      reduction: whether edges that leave an input have stride 2.
      stack: leading axes, for that many cells in one tree.
    """
    groups = []
    for group in edge_groups(space, reduction=reduction):
        weights = {}
        for operation in space.operations:
            shapes = operation.shapes(channels // space.channel_divisor, group.stride)
            if shapes:
                weights[operation.name] = {
                    name: kernel(*shape, stack=(*stack, len(group.edges)))
                    for name, shape in shapes.items()
                }
        groups.append(weights)
    return tuple(groups)


# Jitted so that cells of one shape, and the two passes of a bilevel step, are traced
# and lowered once.
@partial(jax.jit, static_argnames=("space", "reduction", "context"))
def apply_cell(
    weights: tuple[dict[str, Tree], ...],
    architecture: Mixture | Path,
    inputs: Sequence[Array],
    *,
    space: SearchSpace,
    reduction: bool,
    context: Context,
) -> Array:
    """Run a cell.

    Args:
      weights: of `cell_template`, drawn.
      architecture: what each edge runs.
      inputs: the cell's input states, ``[C, H, W, B]`` each.
      space: the search space.
      reduction: whether edges that leave an input have stride 2.
      context: for the operations.

    Returns:
      ``[N*C, H', W', B]``, the output states concatenated along channels.
    """
    chex.assert_equal_shape(inputs)
    chex.assert_shape(jax.tree.leaves(architecture), (space.num_edges, ...))
    run = _run_mixture if isinstance(architecture, Mixture) else _run_path
    num_nodes = space.num_states - space.num_inputs
    entry = jnp.stack(list(inputs))
    if reduction:
        small = entry[0][:, ::2, ::2]
        states = jnp.zeros((num_nodes, *small.shape), small.dtype)
        first = space.num_inputs
    else:
        empty = jnp.zeros((num_nodes, *entry.shape[1:]), entry.dtype)
        states = jnp.concatenate([entry, empty])
        first = 0
    for group, group_weights in zip(
        edge_groups(space, reduction=reduction), weights, strict=True
    ):
        part = _rows(architecture, group.edges)
        reads = entry if group.from_inputs else None
        states = run(
            group_weights,
            part,
            reads,
            states,
            group=group,
            first=first,
            space=space,
            context=context,
        )
    output = states[np.array(space.output) - first]
    return output.reshape(-1, *output.shape[2:])


def _rows(architecture: Mixture | Path, edges: tuple[int, ...]) -> Any:
    return jax.tree.map(lambda a: a[np.array(edges)], architecture)


# --- recomputation --------------------------------------------------------------


def once_there(cotangent: Tree, pull: Callable[[], Any]) -> Any:
    """``pull()``, not begun before ``cotangent`` has been computed.

    Else the compiler begins every recomputation of a backward pass at once, and takes
    what it can from the forward pass, which it then keeps. It does not see that the
    branch is always the same one (NaN and infinities times zero are not one either).
    """
    first = jax.tree.leaves(cotangent)[0]
    is_there = first[(0,) * first.ndim] * 0 != 1
    shapes = jax.eval_shape(pull)

    def nothing() -> Any:
        return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

    return lax.cond(is_there, pull, nothing)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def recomputed(run: Callable[..., Tree], *operands: Tree) -> Tree:
    """``run(*operands)``, of which the backward pass keeps the operands only.

    `jax.checkpoint` says so too, but leaves it to the compiler when to begin.
    """
    return run(*operands)


def _recomputed_forward(
    run: Callable[..., Tree], *operands: Tree
) -> tuple[Tree, tuple[Tree, ...]]:
    return run(*operands), operands


def _recomputed_backward(
    run: Callable[..., Tree], operands: tuple[Tree, ...], cotangent: Tree
) -> tuple[Tree, ...]:
    return once_there(cotangent, lambda: jax.vjp(run, *operands)[1](cotangent))


recomputed.defvjp(_recomputed_forward, _recomputed_backward)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def recomputed_switch(
    branches: tuple[Callable[..., Array], ...], index: Array, *operands: Tree
) -> Array:
    """``lax.switch`` that keeps its operands only, and recomputes in the backward.

    Under plain autodiff a switch keeps what its largest branch would keep, and
    every branch fills that up; here the backward pass is one more switch over the
    branches' own gradients.

    Args:
      branches: pure functions of the operands, one shape of result.
      index: int32 scalar.
      *operands: trees of arrays, differentiable where they are floats.
    """
    return lax.switch(index, branches, *operands)


def _switch_forward(
    branches: tuple[Callable[..., Array], ...], index: Array, *operands: Tree
) -> tuple[Array, tuple[Any, ...]]:
    return lax.switch(index, branches, *operands), (index, operands)


def _switch_backward(
    branches: tuple[Callable[..., Array], ...],
    residuals: tuple[Any, ...],
    cotangent: Array,
) -> tuple[Any, ...]:
    index, operands = residuals

    def pull(
        branch: Callable[..., Array], operands: tuple[Tree, ...], cotangent: Array
    ) -> tuple[Tree, ...]:
        return jax.vjp(branch, *operands)[1](cotangent)

    pulls = [partial(pull, branch) for branch in branches]
    # An integer's cotangent is of dtype float0.
    no_gradient = np.zeros(jnp.shape(index), jax.dtypes.float0)
    return (no_gradient, *lax.switch(index, pulls, operands, cotangent))


recomputed_switch.defvjp(_switch_forward, _switch_backward)


# --- partial channels -----------------------------------------------------------


def _split(x: Array, space: SearchSpace) -> tuple[Array, Array]:
    """The channels that the operations see, and those that pass by."""
    seen = x.shape[0] // space.channel_divisor
    return x[:seen], x[seen:]


def _merge(y: Array, bypass: Array, space: SearchSpace) -> Array:
    """Both groups of channels, shuffled so that the next edge sees others."""
    joined = jnp.concatenate([y, bypass])
    groups = joined.reshape(space.channel_divisor, -1, *joined.shape[1:])
    return jnp.swapaxes(groups, 0, 1).reshape(joined.shape)


def _pass_by(x: Array, stride: int) -> Array:
    return x if stride == 1 else primitives.max_pool_2x2(x)


# --- path -----------------------------------------------------------------------

#: ``(weights, factor, x, drop) -> y`` of one operation on one edge.
_Branch = Callable[[Tree, Array, Array, Any], Array]


class _PathLoop(NamedTuple):
    """What is constant in the loop over a group's edges."""

    group: EdgeGroup
    first: int
    space: SearchSpace
    context: Context


def _run_path(
    weights: dict[str, Tree],
    path: Path,
    reads: Array | None,
    states: Array,
    **constant: Any,
) -> Array:
    """Add every active edge's operation to its target, edge after edge."""
    return _path_edges(_PathLoop(**constant), path, weights, path.weight, reads, states)


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
            seen, bypass = _split(x, space)
            y = operation.apply(own, seen, stride, context)
            y = _merge(y, _pass_by(bypass, stride), space)
        return y * factor.astype(y.dtype)

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
) -> Array:
    """The states with every edge's output added.

    Its gradient keeps the finished states and nothing of an edge: edges are sorted
    by target, so that a state is finished before an edge reads it.
    """
    branches = _branches(loop)

    def step(states: Array, edge: tuple[Any, ...]) -> tuple[Array, None]:
        weights, factor, index, drop, source, target = edge
        x = (states if reads is None else reads)[source]
        y = lax.switch(index, branches, weights, factor, x, drop)
        return states.at[target].add(y), None

    return lax.scan(step, states, _edge_inputs(loop, path, weights, factor))[0]


def _path_forward(
    loop: _PathLoop,
    path: Path,
    weights: Tree,
    factor: Array,
    reads: Array | None,
    states: Array,
) -> tuple[Array, tuple[Any, ...]]:
    states = _path_edges(loop, path, weights, factor, reads, states)
    kept = states if reads is None else reads
    return states, (path, weights, factor, kept)


def _path_backward(
    loop: _PathLoop, residuals: tuple[Any, ...], cotangent: Array
) -> tuple[Any, ...]:
    path, weights, factor, kept = residuals
    inside = not loop.group.from_inputs

    def pull(
        branch: _Branch, weights: Tree, factor: Array, x: Array, *rest: Any
    ) -> Any:
        drop, y_bar = rest
        run = lambda weights, factor, x: branch(weights, factor, x, drop)  # noqa: E731
        return jax.vjp(run, weights, factor, x)[1](y_bar)

    pulls = [partial(pull, branch) for branch in _branches(loop)]

    def step(bars: tuple[Array, Array], edge: tuple[Any, ...]) -> tuple[Any, Any]:
        states_bar, reads_bar = bars
        weights, factor, index, drop, source, target = edge
        operands = (weights, factor, kept[source], drop, states_bar[target])
        weights_bar, factor_bar, x_bar = lax.switch(index, pulls, *operands)
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
    return path_bar, weights_bar, factor_bar, None if inside else reads_bar, states_bar


def no_gradient(leaf: Array) -> Any:
    """The zero cotangent of an array, whatever its dtype."""
    if jnp.issubdtype(leaf.dtype, jnp.inexact):
        return jnp.zeros_like(leaf)
    return np.zeros(leaf.shape, jax.dtypes.float0)


_path_edges.defvjp(_path_forward, _path_backward)


# --- mixture --------------------------------------------------------------------


def _run_mixture(
    weights: dict[str, Tree],
    mixture: Mixture,
    reads: Array | None,
    states: Array,
    *,
    group: EdgeGroup,
    first: int,
    space: SearchSpace,
    context: Context,
) -> Array:
    """Add every edge's weighted operations to its target, source after source.

    Operations without weights (pooling, identity) run once for each source and are
    shared by all the edges that leave it.
    """
    runs = [(i, op) for i, op in enumerate(space.operations) if not op.is_zero]
    if not runs:
        return states
    shared = [(i, op) for i, op in runs if op.name not in weights]
    own = [(i, op) for i, op in runs if op.name in weights]
    edge = partial(_mixed_edge, shared, own, group.stride, context, space)
    table = _edge_table(group)  # [sources, targets], positions in the group
    targets = np.array(sorted(set(group.targets)), np.int32) - first

    def source_step(states: Array, row: tuple[Array, Array]) -> tuple[Array, None]:
        source, positions = row
        x, bypass = _split((states if reads is None else reads)[source], space)
        pooled = tuple(_shared_output(op, x, group.stride, context) for _, op in shared)
        passed = (_pass_by(bypass, group.stride),) if len(bypass) else ()

        def edge_step(states: Array, pair: tuple[Array, Array]) -> tuple[Array, None]:
            target, position = pair
            at = jnp.maximum(position, 0)
            y = recomputed_switch(
                (partial(_no_edge, group.stride, space), edge),
                (position >= 0).astype(jnp.int32),
                jax.tree.map(lambda a: a[at], weights),
                mixture.weights[at],
                x,
                pooled,
                passed,
            )
            return states.at[target].add(y), None

        pairs = (jnp.asarray(targets), positions)
        return lax.scan(edge_step, states, pairs)[0], None

    offset = 0 if group.from_inputs else first
    sources = np.array(sorted(set(group.sources)), np.int32) - offset
    rows = (jnp.asarray(sources), jnp.asarray(table))
    return lax.scan(source_step, states, rows)[0]


_Numbered = list[tuple[int, Operation]]


def _mixed_edge(
    shared: _Numbered,
    own: _Numbered,
    stride: int,
    context: Context,
    space: SearchSpace,
    weights: Tree,
    factors: Array,
    x: Array,
    pooled: tuple[Array, ...],
    passed: tuple[Array, ...],
) -> Array:
    """The weighted sum of an edge's operations.

    ``pooled`` are the outputs it shares with other edges, ``passed`` the channels
    that pass by (none, or one array), which count for every operation.
    """
    terms = [
        y * factors[i].astype(y.dtype) for (i, _), y in zip(shared, pooled, strict=True)
    ]
    for i, op in own:
        y = op.apply(weights[op.name], x, stride, context)
        terms.append(y * factors[i].astype(y.dtype))
    mixed = sum(terms[1:], terms[0])
    if not passed:
        return mixed
    bypass = passed[0] * factors.sum().astype(mixed.dtype)
    return _merge(mixed, bypass, space)


def _no_edge(
    stride: int,
    space: SearchSpace,
    weights: Tree,
    factors: Array,
    x: Array,
    pooled: tuple[Array, ...],
    passed: tuple[Array, ...],
) -> Array:
    del weights, factors, pooled, passed
    small = x[:, ::stride, ::stride]
    return jnp.zeros((space.channel_divisor * len(x), *small.shape[1:]), x.dtype)


def _shared_output(op: Operation, x: Array, stride: int, context: Context) -> Array:
    """An operation without weights, recomputed in the backward pass."""
    run = jax.checkpoint(lambda x: op.apply({}, x, stride, context), prevent_cse=False)
    return run(x)


def _edge_table(group: EdgeGroup) -> np.ndarray:
    """``[sources, targets]`` position of each edge in the group, -1 for none."""
    sources = sorted(set(group.sources))
    targets = sorted(set(group.targets))
    table = np.full((len(sources), len(targets)), -1, np.int32)
    for position, (source, target) in enumerate(
        zip(group.sources, group.targets, strict=True)
    ):
        table[sources.index(source), targets.index(target)] = position
    return table
