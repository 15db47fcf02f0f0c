"""A cell's weights, and the cell itself."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from nasjax import layers
from nasjax.architecture import Mixture, Path
from nasjax.base import Array, Tree
from nasjax.engine.scan.edges import edge_groups
from nasjax.engine.scan.mixture import run_mixture
from nasjax.engine.scan.path import ForwardResult, Saved, run_path
from nasjax.layers import Context, kernel
from nasjax.spaces.base import SearchSpace


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
    settings: dict[str, Any] = {"reduction": reduction, "context": context}
    return run_cell(weights, architecture, inputs, space=space, **settings)[0]


# Jitted so that cells of one shape, and the two passes of a bilevel step, are traced
# and lowered once.
@partial(jax.jit, static_argnames=("space", "reduction", "context"))
def run_cell(
    weights: tuple[dict[str, Tree], ...],
    architecture: Mixture | Path,
    inputs: Sequence[Array],
    *,
    space: SearchSpace,
    reduction: bool,
    context: Context,
    known: ForwardResult | None = None,
) -> tuple[Array, Saved]:
    """`apply_cell`, and what a path leaves for its gradient beside the output.

    Args:
      weights: as for `apply_cell`, and all else.
      architecture: likewise.
      inputs: likewise.
      space: likewise.
      reduction: likewise.
      context: likewise.
      known: what an earlier pass of a path gave: only the gradient is asked for, and
        nothing is run again but what an operation's own gradient needs.
    """
    chex.assert_equal_shape(inputs)
    chex.assert_shape(jax.tree.leaves(architecture), (space.num_edges, ...))
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
    if isinstance(architecture, Path) and architecture.offset is not None:
        # Ahead of the loops: a node is the sum of what its edges add to it.
        offset = jnp.where(architecture.active, architecture.offset, 0)
        states = _raised(offset, states, space)
        architecture = architecture._replace(offset=None)
    finished = _finished(space, known, states)
    found = []
    for number, group in enumerate(edge_groups(space, reduction=reduction)):
        own = _rows(architecture, group.edges)
        reads = entry if group.from_inputs else None
        constant: dict[str, Any] = {
            "group": group,
            "first": first,
            "space": space,
            "context": context,
        }
        if isinstance(own, Mixture):
            states = run_mixture(weights[number], own, reads, states, **constant)
            continue
        if finished is not None and known is not None:
            constant["known"] = finished, known.left.norm_stats[number]
        states, norm_stats = run_path(weights[number], own, reads, states, **constant)
        found.append(norm_stats)
    if _holds_nodes(space):  # in one piece
        output, kept = states[-num_nodes:], None
    else:
        output = jnp.stack([states[node - first] for node in space.output])
        kept = states
    return output.reshape(-1, *output.shape[2:]), Saved(tuple(found), kept)


def _raised(offset: Array, states: Array, space: SearchSpace) -> Array:
    """The states of a cell that begins, its nodes raised by their edges' offsets."""
    numbers = np.arange(space.num_states - len(states), space.num_states)
    into = numbers[:, None] == np.array([target for _, target in space.edges])
    return layers.raised(states, jnp.where(into, offset[None], 0).sum(axis=1))


def _holds_nodes(space: SearchSpace) -> bool:
    """Whether the output is all of the nodes, in their order."""
    return space.output == tuple(range(space.num_inputs, space.num_states))


def _finished(
    space: SearchSpace, known: ForwardResult | None, states: Array
) -> Array | None:
    """All states as the cell ends, where they are known."""
    if known is None:
        return None
    if not _holds_nodes(space):
        return known.left.states
    nodes = len(space.output)
    ends = known.output.reshape(nodes, -1, *known.output.shape[1:])
    return jnp.concatenate([states[: len(states) - nodes], ends])


def _rows(architecture: Mixture | Path, edges: tuple[int, ...]) -> Any:
    return jax.tree.map(lambda a: a[np.array(edges)], architecture)
