"""A cell as an accelerator runs it: all edges that leave a state together.

An accelerator is bound by launches: what the edges of one state share, their input,
its ReLU and its pools, is made once, and what they do alike is one call: the
convolutions of a kind, the pointwise products, the statistics of batch normalisation,
whose gradient passes twice over the activations.

A path has no branch. Its one-hot choices pick the *kernels* of the linear operations
before one of them runs, a smaller one in the middle of a larger; `none` is a kernel of
zeros. Pools and the identity are made once for a state and weighted.

Plain JAX and ordinary autodiff, twice differentiable. Activations are ``[B, H, W, C]``,
those of several edges ``[B, H, W, M, C]``; M counts edges, or operations times edges.
The weights are those of the scanned engine (`nasjax.engine.scan`), which a CPU runs.
"""

from collections.abc import Sequence
from functools import partial, reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nasjax.architecture import Mixture, Path
from nasjax.base import Array, Tree
from nasjax.engine.batched.kernels import Kinds, Runs, kinds_of, leaving, runs_of
from nasjax.engine.batched.norm import mix, norms
from nasjax.engine.batched.primitives import (
    average_pool,
    convolution,
    depthwise,
    halves,
    max_pool,
    product,
)
from nasjax.layers import Context
from nasjax.operations import Operation
from nasjax.spaces.base import SearchSpace


# Traced once for the cells of one shape, and written out in each.
@partial(jax.jit, static_argnames=("space", "reduction", "context"), inline=True)
def run_cell(
    kernels: list[dict[str, Tree]],
    architecture: Mixture | Path,
    inputs: Sequence[Array],
    *,
    space: SearchSpace,
    reduction: bool,
    context: Context,
) -> Array:
    """Run a cell.

    Args:
      kernels: of `prepare`.
      architecture: what each edge runs.
      inputs: the cell's input states, ``[B, H, W, C]`` each.
      space: the search space.
      reduction: whether edges that leave an input have stride 2.
      context: for the operations.

    Returns:
      ``[B, H', W', N*C]``, the output states concatenated along channels.
    """
    runs = runs_of(architecture, space)
    states: dict[int, Array] = dict(enumerate(inputs))
    if runs.offset is not None:
        for edge, (_, target) in enumerate(space.edges):
            raised = runs.offset[edge].astype(inputs[0].dtype)
            states[target] = states.get(target, 0) + raised
    for own, given in zip(leaving(space, reduction=reduction), kernels, strict=True):
        state = _Source(states[own.source], given, runs.of(own.edges), own.stride)
        y = _leave(state, space=space, context=context)
        for number, target in enumerate(own.targets):
            states[target] = states.get(target, 0) + y[..., number, :]
    return jnp.concatenate([states[number] for number in space.output], axis=-1)


class _Source(NamedTuple):
    """A state and its edges: kernels by name, what they run, their stride."""

    state: Array
    kernels: dict[str, Tree]
    runs: Runs
    stride: int


#: Outputs ``[B, H, W, 1 or G, O, C]`` and their factors ``[G, O]``.
_Term = tuple[Array, Array]


def _leave(source: _Source, *, space: SearchSpace, context: Context) -> Array:
    """What all edges of one state add to their targets, ``[B, H, W, G, C]``."""
    state, _, runs, stride = source
    seen = state.shape[-1] // space.channel_divisor
    x, bypass = state[..., :seen], state[..., seen:]
    source = source._replace(state=x)
    kinds = kinds_of(space, stride, 2, drops=runs.drop is not None)
    terms: list[_Term] = [
        (_shared(x), runs.factor[:, number, None]) for number in kinds.identity
    ]
    raw, plain = _first_round(source, kinds, space)
    terms += plain
    normed = norms(tuple(y for y, _ in raw), context.norm_axis)
    terms += [(y, f) for y, (_, f) in zip(normed, raw, strict=True) if f is not None]
    if kinds.separable:
        terms += _second_round(source, kinds, normed[0], context)
    terms += [_as_given(source, n, space, context) for n in kinds.as_given]
    if terms:
        mixed = mix(*(tuple(part) for part in zip(*terms, strict=True)))
    else:
        small = x[:, ::stride, ::stride, None]
        mixed = jnp.zeros((*small.shape[:3], len(runs.factor), seen), x.dtype)
    if space.channel_divisor == 1:
        return mixed
    passed = bypass if stride == 1 else max_pool(bypass, 2, 2)
    passed = mix((_shared(passed),), (runs.factor.sum(axis=1, keepdims=True),))
    joined = jnp.concatenate([mixed, passed], axis=-1)
    groups = joined.reshape(*joined.shape[:-1], space.channel_divisor, -1)
    return jnp.swapaxes(groups, -1, -2).reshape(joined.shape)


def _shared(x: Array) -> Array:
    """``[B, H, W, C]`` as ``[B, H, W, 1, 1, C]``."""
    return x[:, :, :, None, None]


def _first_round(
    source: _Source, kinds: Kinds, space: SearchSpace
) -> tuple[list[tuple[Array, Array | None]], list[_Term]]:
    """What is normalised, the separable ones first, and what is not.

    With the factors; None of the separable ones, whose second round comes.
    """
    x, kernels, runs, stride = source
    raw: list[tuple[Array, Array | None]] = []
    plain: list[_Term] = []
    active = jax.nn.relu(x)
    if kinds.separable:
        parts = [
            depthwise(
                _shared(active),
                kernels[f"depthwise1 {once} {dilation}"],
                stride,
                dilation,
            )
            for once, dilation in kinds.separable
        ]
        both = runs.choice is None
        y = jnp.concatenate(parts, axis=4) if both else reduce(jnp.add, parts)
        raw.append((product(y, kernels["pointwise1"]), None))
    if kinds.dense:
        y = convolution(active, kernels["dense"], stride)
        raw.append((y, runs.factors(kinds.dense)))
    for number in kinds.halves:
        own = kernels[space.primitives[number]]
        y = halves(x, own["even"], own["odd"])[:, :, :, :, None]
        raw.append((y, runs.factor[:, number, None]))
    pools: dict[bool, list[int]] = {}
    for number in kinds.pools:
        form = space.operations[number].form
        pools.setdefault(form is not None and form.normalised, []).append(number)
    for normalised, numbers in pools.items():
        made = [_pool(space.operations[number], x, stride) for number in numbers]
        y = jnp.stack(made, axis=3)[:, :, :, None]
        columns = jnp.stack([runs.factor[:, number] for number in numbers], axis=1)
        (raw if normalised else plain).append((y, columns))
    return raw, plain


def _second_round(
    source: _Source, kinds: Kinds, first: Array, context: Context
) -> list[_Term]:
    """Terms of the separable convolutions, of whose first round the norm is given."""
    kernels, runs = source.kernels, source.runs
    separables, twice = kinds.separables, kinds.twice
    terms, again = [], first
    if runs.choice is None:
        again, first = first[..., : len(twice), :], first[..., len(twice) :, :]
    if len(separables) > len(twice):
        terms.append((first, runs.factors(separables[len(twice) :])))
    if twice:
        y = depthwise(jax.nn.relu(again), kernels["depthwise2"], 1, 1)
        (y,) = norms((product(y, kernels["pointwise2"]),), context.norm_axis)
        terms.append((y, runs.factors(twice)))
    return terms


def _pool(operation: Operation, x: Array, stride: int) -> Array:
    kind = operation.form and operation.form.kind
    return max_pool(x, 3, stride) if kind == "max_pool" else average_pool(x, stride)


def _as_given(
    source: _Source, number: int, space: SearchSpace, context: Context
) -> _Term:
    """An operation that says nothing of its parts, or drops some of its output.

    Every edge runs it, those of a path too. Of a mixture what has no weights is run
    once, with the noise of the first edge.
    """
    operation, runs = space.operations[number], source.runs
    own, drop = source.kernels.get(operation.name, {}), runs.drop
    if runs.choice is None and not own:
        drop = jax.tree.map(lambda leaf: leaf[:1], drop)
    turned = jnp.transpose(source.state, (3, 1, 2, 0))

    def run(own: Tree, drop: Any) -> Array:
        noisy = context._replace(drop=drop)
        return operation.apply(own, turned, source.stride, noisy)

    each = bool(own) or drop is not None
    y = jax.vmap(run)(own, drop) if each else run(own, drop)[None]
    y = jnp.transpose(y, (4, 2, 3, 0, 1))
    return y[:, :, :, :, None], runs.factor[:, number, None]
