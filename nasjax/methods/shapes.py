"""Shapes and dtypes of the trees that a method's parts give: compared, and told."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp


def array(shape: tuple[int, ...], dtype: Any = jnp.float32) -> Any:
    """The shape and dtype of an array that is never made."""
    return jax.ShapeDtypeStruct(shape, dtype)


def first(runs: Any) -> Any:
    """The shapes of one of several sub-graphs."""
    return jax.tree.map(lambda leaf: array(leaf.shape[1:], leaf.dtype), runs)


def is_float(leaf: Any) -> bool:
    """Whether an array's numbers are floating."""
    return jnp.issubdtype(leaf.dtype, jnp.floating)


def is_like(leaf: Any, shape: tuple[int, ...], kind: Any) -> bool:
    """Whether something is an array of a shape and of a kind of numbers."""
    return getattr(leaf, "shape", None) == shape and jnp.issubdtype(leaf.dtype, kind)


def kinds(tree: Any) -> list[Any]:
    """Place, shape and dtype of every array; not whether a mapping is a dict."""
    return [
        (jax.tree_util.keystr(path), leaf.shape, leaf.dtype)
        for path, leaf in jax.tree.leaves_with_path(tree)
    ]


def shown(tree: Any) -> str:
    """Shapes and dtypes of a tree, as one reads them."""
    if hasattr(tree, "shape") and hasattr(tree, "dtype"):
        return f"{tree.dtype}{list(tree.shape)}"
    if isinstance(tree, Mapping):
        inner = ", ".join(f"{name}: {shown(value)}" for name, value in tree.items())
        return f"{{{inner}}}"
    if isinstance(tree, tuple | list):
        name = type(tree).__name__ if hasattr(tree, "_fields") else ""
        return f"{name}({', '.join(map(shown, tree))})"
    return "None" if tree is None else type(tree).__name__
