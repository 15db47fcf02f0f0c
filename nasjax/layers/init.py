"""Weights before they are drawn: their shapes and how they start.

Kernels start as PyTorch's do, uniform within ``1/sqrt(fan in)``, because the published
settings were tuned on that start.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nasjax.base import Key, Tree

#: Name -> shape of each weight of a layer.
Shapes = dict[str, tuple[int, ...]]


class Kernel(NamedTuple):
    """A weight to be drawn: uniform within ±1/sqrt(fan in)."""

    shape: tuple[int, ...]
    fan_in: int


class Constant(NamedTuple):
    """A weight that starts at one value."""

    shape: tuple[int, ...]
    value: float


def kernel(*shape: int, stack: tuple[int, ...] = ()) -> Kernel:
    """A kernel ``[C', ...]``, whose fan-in is all but its first axis.

    Args:
      *shape: of one kernel.
      stack: leading axes, for that many kernels in one array.
    """
    return Kernel((*stack, *shape), math.prod(shape[1:]))


def is_template(leaf: Any) -> bool:
    """Whether a leaf is a weight yet to be drawn."""
    return isinstance(leaf, Kernel | Constant)


def draw(key: Key, template: Tree) -> Tree:
    """A tree of float32 arrays from a tree of `Kernel` and `Constant`.

    Consumes the key. All kernels are cut from one draw: a draw each would compile
    for half a minute.
    """
    leaves, structure = jax.tree.flatten(template, is_leaf=is_template)
    sizes = [math.prod(x.shape) if isinstance(x, Kernel) else 0 for x in leaves]
    uniform = jax.random.uniform(key, (sum(sizes),), jnp.float32, -1.0, 1.0)
    arrays, start = [], 0
    for leaf, size in zip(leaves, sizes, strict=True):
        if isinstance(leaf, Constant):
            arrays.append(jnp.full(leaf.shape, leaf.value, jnp.float32))
        else:
            part = uniform[start : start + size].reshape(leaf.shape)
            arrays.append(part * (1.0 / math.sqrt(leaf.fan_in)))
            start += size
    return jax.tree.unflatten(structure, arrays)
