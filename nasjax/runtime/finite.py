"""Whether numbers are numbers, on the device and for people."""

from functools import reduce

import jax
import jax.numpy as jnp
import numpy as np

from nasjax.base import Array, RunError, Tree

#: Among the metrics of a dispatch that ends where numbers stop being numbers: the steps
#: it did.
STEPS = "steps"


class NotFiniteError(RunError, ArithmeticError):
    """A loss, a weight or alpha stopped being a number; the last checkpoint is good."""


def all_finite(tree: Tree) -> Array:
    """Whether every number of a tree is one, a bool scalar; may be traced.

    >>> bool(all_finite({"a": jnp.ones(2), "b": jnp.array([0.0, jnp.inf])}))
    False
    """
    found = (jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree))
    return reduce(jnp.logical_and, found, jnp.asarray(True))


@jax.jit
def _finite(tree: Tree) -> Tree:
    return jax.tree.map(lambda array: jnp.isfinite(array).all(), tree)


def first_not_finite(tree: Tree) -> str | None:
    """Which array of a tree is the first that has a NaN or infinity, and how many.

    >>> first_not_finite({"a": jnp.ones(2), "b": [jnp.array([0.0, jnp.nan])]})
    'b/0 has 1 of 2 values that are no number'
    """
    for path, finite in jax.tree.leaves_with_path(_finite(tree)):
        if not finite:
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            leaf = np.asarray(_at(tree, path)).astype(np.float32)
            number = int((~np.isfinite(leaf)).sum())
            return f"{name} has {number} of {leaf.size} values that are no number"
    return None


def _at(tree: Tree, path: tuple[object, ...]) -> Array:
    return dict(jax.tree.leaves_with_path(tree))[path]
