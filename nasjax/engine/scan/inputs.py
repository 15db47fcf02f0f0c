"""The inputs of a cell: earlier outputs brought to its channels and resolution.

ReLU, 1×1 convolution and batch normalisation; a factorised reduction where the cell
in between halved the resolution (DARTS, arXiv 1806.09055, the published code). A stage
is one loop: its cells choose their inputs by number.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from nasjax import layers
from nasjax.base import Array, Tree
from nasjax.engine.scan import recomputed_switch, recomputed_to_norm, zero_cotangent
from nasjax.engine.scan.stack import Start, States


def _before_norm(weights: Tree, x: Array) -> Array:
    """An input of a cell, brought to its channels and resolution."""
    if isinstance(weights, dict):
        return layers.FACTORIZED_REDUCE.apply(weights, layers.relu(x), 2, layers.PLAIN)
    return layers.pointwise(layers.relu(x), weights)


def _preprocess(weights: Tree, x: Array, *, context: layers.Context) -> Array:
    """The same, normalised."""
    return recomputed_to_norm(_before_norm, context.norm_axis, weights, x)


def choose_input(
    prepared: list[Array],
    kernels: tuple[Array, ...],
    x: Array | None,
    *,
    index: Array,
    context: layers.Context,
) -> Array:
    """Input of the ``index``-th cell of a stage: an entry, or made of ``x``."""
    if not kernels:
        if len(prepared) == 1:
            return prepared[0]
        branches = tuple(partial(_entry, at) for at in range(len(prepared)))
        return recomputed_switch(branches, index, prepared)
    assert x is not None  # it is one of the stage's own outputs
    kernel = jnp.stack(kernels)[jnp.maximum(index - len(prepared), 0)]
    if not prepared:
        return _preprocess(kernel, x, context=context)
    last = jnp.minimum(index, len(prepared))
    return _entry_or_made(context.norm_axis, last, prepared, kernel, x)


def _entry(at: int, prepared: list[Array]) -> Array:
    return prepared[at]


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _entry_or_made(
    norm_axis: str | None, index: Array, prepared: list[Array], kernel: Array, x: Array
) -> Array:
    """``prepared[index]``, or at their end what is made of ``x``.

    What is made is kept, as by `recomputed_to_norm`.
    """
    return _entry_or_made_forward(norm_axis, index, prepared, kernel, x)[0]


def _entry_or_made_forward(
    norm_axis: str | None, index: Array, prepared: list[Array], kernel: Array, x: Array
) -> tuple[Array, tuple[Any, ...]]:
    def entry(at: int) -> tuple[Array, Array]:
        return prepared[at], jnp.zeros(len(prepared[at]), jnp.float32)

    def made() -> tuple[Array, Array]:
        before = _before_norm(kernel, x)
        y, _, scale = layers.normalised(before, axis_name=norm_axis)
        return y, scale

    branches: list[Callable[..., Any]] = [
        *(partial(entry, at) for at in range(len(prepared))),
        made,
    ]
    y, scale = lax.switch(index, branches)
    return y, (index, prepared, kernel, x, y, scale)


def _entry_or_made_backward(
    norm_axis: str | None, residuals: tuple[Any, ...], bar: Array
) -> tuple[Any, ...]:
    index, prepared, kernel, x, y, scale = residuals
    nothing = jax.tree.map(jnp.zeros_like, (prepared, kernel, x))

    def entry(at: int) -> tuple[Tree, Array, Array]:
        bars = [*nothing[0][:at], bar, *nothing[0][at + 1 :]]
        return bars, *nothing[1:]

    def made() -> tuple[Tree, Array, Array]:
        before_bar = layers.pull_normalised(y, scale, bar, axis_name=norm_axis)
        return nothing[0], *jax.vjp(_before_norm, kernel, x)[1](before_bar)

    branches: list[Callable[..., Any]] = [
        *(partial(entry, at) for at in range(len(prepared))),
        made,
    ]
    return zero_cotangent(index), *lax.switch(index, branches)


_entry_or_made.defvjp(_entry_or_made_forward, _entry_or_made_backward)


def is_inside(kernel: Tree, width: int) -> bool:
    """Whether the preprocessing reads an output of its own stage's shape."""
    return not isinstance(kernel, dict) and kernel.shape[1] == width


def first_inputs(
    stage_params: dict[str, Any], states: States, *, width: int, context: layers.Context
) -> tuple[Any, Start]:
    """The inputs of a stage's first cells that come from outside it, in other shapes.

    Args:
      stage_params: kernels ``before`` and ``previous`` of each cell.
      states: the two outputs before the stage.
      width: channels of the stage's outputs.
      context: for the operations.

    Returns:
      ``(first inputs, second inputs)`` of the first cells, and the states that are
      of the stage's shape.
    """
    prepare = partial(_preprocess, context=context)
    before, previous = states
    outside = [own for own in stage_params["before"] if not is_inside(own, width)]
    first = [prepare(own, x) for own, x in zip(outside, states, strict=False)]
    outside = [own for own in stage_params["previous"] if not is_inside(own, width)]
    second = [prepare(own, previous) for own in outside]
    return (first, second), (None if first else before, None if second else previous)
