"""A cell run as a mixture: every operation on every edge."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from nasjax import layers
from nasjax.architecture import Drop, Mixture
from nasjax.base import Array, Tree
from nasjax.engine.scan.edges import (
    EdgeGroup,
    add_to_state,
    bypass_channels,
    shuffle_channels,
    split_channels,
    take_state,
)
from nasjax.engine.scan.recompute import recomputed_switch
from nasjax.layers import Context
from nasjax.operations import Operation
from nasjax.spaces.base import SearchSpace


def run_mixture(
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

    def source_step(
        states: Array, row: tuple[Array, Array, Drop | None]
    ) -> tuple[Array, None]:
        read, positions, drop = row
        if reads is None:  # then it is the number of a state, which may still grow
            read, states = take_state(states, read)
        x, bypass = split_channels(read, space)
        noisy = context._replace(drop=drop)
        pooled = tuple(_shared_output(op, x, group.stride, noisy) for _, op in shared)
        passed = (bypass_channels(bypass, group.stride),) if len(bypass) else ()

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
            return add_to_state(states, target, y), None

        pairs = (jnp.asarray(targets), positions)
        return lax.scan(edge_step, states, pairs)[0], None

    offset = 0 if group.from_inputs else first
    sources = np.array(sorted(set(group.sources)), np.int32) - offset
    read = jnp.asarray(sources) if reads is None else reads[sources]
    first_edges = np.array([row[row >= 0][0] for row in table])
    drops = jax.tree.map(lambda a: a[first_edges], mixture.drop)
    return lax.scan(source_step, states, (read, jnp.asarray(table), drops))[0]


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
        layers.weighted(y, factors[i]) for (i, _), y in zip(shared, pooled, strict=True)
    ]
    for i, op in own:
        y = op.apply(weights[op.name], x, stride, context)
        terms.append(layers.weighted(y, factors[i]))
    mixed = sum(terms[1:], terms[0])
    if not passed:
        return mixed
    bypass = passed[0] * factors.sum().astype(mixed.dtype)
    return shuffle_channels(mixed, bypass, space)


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
    small = lax.stop_gradient(x[:, ::stride, ::stride])
    # Made of ``x``: of a constant JAX would keep one for each turn of the loop.
    zeros = lax.clamp(
        lax.full_like(x, 0, shape=()), small, lax.full_like(x, 0, shape=())
    )
    return jnp.concatenate([zeros] * space.channel_divisor)


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
