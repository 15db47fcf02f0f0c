"""A loss summed over sub-graphs that run one after the other, at the memory of one."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from nasjax.base import Array, Tree
from nasjax.engine.scan import zero_cotangent

#: ``(shared, fixed, one) -> (value, seen)`` of one sub-graph.
Loss = Callable[[Tree, Tree, Tree], tuple[Array, Tree]]


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def summed(loss: Loss, shared: Tree, fixed: Tree, each: Tree) -> tuple[Array, Tree]:
    """Sum of the values of ``loss``, and what it has seen, with a leading K.

    The gradient of a value is taken where the value is. Under plain autodiff the
    backward pass would keep what it needs of all K sub-graphs until it begins.

    Args:
      loss: of one sub-graph. Of what it has seen there is no gradient.
      shared: what all of them have, such as weights; floating-point.
      fixed: the same, without a gradient, such as the batch.
      each: what each has of its own, with a leading K.

    >>> loss = lambda w, fixed, x: (fixed * w * x, x)
    >>> run = lambda w: summed(loss, w, jnp.array(2.0), jnp.array([1.0, 2.0, 3.0]))
    >>> jax.value_and_grad(run, has_aux=True)(jnp.array(5.0))[1]
    Array(12., dtype=float32)
    """
    values, seen = lax.map(lambda one: loss(shared, fixed, one), each)
    return values.sum(), seen


def _forward(
    loss: Loss, shared: Tree, fixed: Tree, each: Tree
) -> tuple[tuple[Array, Tree], tuple[Tree, ...]]:
    gradient = jax.value_and_grad(loss, (0, 2), has_aux=True, allow_int=True)

    def step(total: Tree, one: Tree) -> tuple[Tree, tuple[Array, Tree, Tree]]:
        (value, seen), (shared_bar, one_bar) = gradient(shared, fixed, one)
        return jax.tree.map(jnp.add, total, shared_bar), (value, seen, one_bar)

    zeros = jax.tree.map(jnp.zeros_like, shared)
    total, (values, seen, bars) = lax.scan(step, zeros, each)
    return (values.sum(), seen), (total, fixed, bars)


def _backward(
    loss: Loss, residuals: tuple[Tree, ...], cotangents: tuple[Array, Tree]
) -> tuple[Tree, ...]:
    del loss
    total, fixed, bars = residuals
    factor, _ = cotangents

    def scaled(leaf: Any) -> Any:
        if leaf.dtype == jax.dtypes.float0:
            return leaf
        return factor.astype(leaf.dtype) * leaf

    no_bars = jax.tree.map(zero_cotangent, fixed)
    return jax.tree.map(scaled, total), no_bars, jax.tree.map(scaled, bars)


summed.defvjp(_forward, _backward)
