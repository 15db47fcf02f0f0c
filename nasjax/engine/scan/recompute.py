"""Recomputation: what a backward pass keeps, and when it begins to compute again."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from nasjax import layers
from nasjax.base import Array, Tree


def zero_cotangent(leaf: Array) -> Any:
    """The zero cotangent of an array, whatever its dtype."""
    if jnp.issubdtype(leaf.dtype, jnp.inexact):
        return jnp.zeros_like(leaf)
    return np.zeros(leaf.shape, jax.dtypes.float0)


def run_after(cotangent: Tree, pull: Callable[[], Any]) -> Any:
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
    return run_after(cotangent, lambda: jax.vjp(run, *operands)[1](cotangent))


recomputed.defvjp(_recomputed_forward, _recomputed_backward)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def recomputed_to_norm(
    before: Callable[..., Array], norm_axis: str | None, *operands: Tree
) -> Array:
    """Batch normalisation of ``before(*operands)``; operands and output are kept.

    Both are there anyway where the output is read by what is differentiated next. The
    backward pass of `recomputed` would compute all of it once more; this one needs of
    ``before`` what its own gradient needs.
    """
    return layers.batch_norm(before(*operands), axis_name=norm_axis)


_Kept = tuple[tuple[Tree, ...], Array, Array]


def _to_norm_forward(
    before: Callable[..., Array], norm_axis: str | None, *operands: Tree
) -> tuple[Array, _Kept]:
    y, _, scale = layers.normalised(before(*operands), axis_name=norm_axis)
    return y, (operands, y, scale)


def _to_norm_backward(
    before: Callable[..., Array],
    norm_axis: str | None,
    kept: _Kept,
    cotangent: Array,
) -> tuple[Tree, ...]:
    operands, y, scale = kept

    def pull() -> Any:
        bar = layers.pull_normalised(y, scale, cotangent, axis_name=norm_axis)
        return jax.vjp(before, *operands)[1](bar)

    return run_after(cotangent, pull)


recomputed_to_norm.defvjp(_to_norm_forward, _to_norm_backward)


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
    zero_cotangent = np.zeros(jnp.shape(index), jax.dtypes.float0)
    return (zero_cotangent, *lax.switch(index, pulls, operands, cotangent))


recomputed_switch.defvjp(_switch_forward, _switch_backward)
