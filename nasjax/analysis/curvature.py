"""Curvature of a loss in alpha: the dominant eigenvalue of its Hessian.

A large one means that alpha stands in a sharp valley, where the step from a mixture to
one operation an edge costs much accuracy (Zela et al., arXiv 1909.09656, section 4);
SD-DARTS keeps it low (its Fig. 2).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from nasjax.base import Array, Key, Tree


def hessian_vector_product(
    loss: Callable[[Tree], Array],
    alpha: Tree,
    vector: Tree,
    *,
    axis_name: str | None = None,
) -> Tree:
    """``H v`` of a scalar loss, exactly.

    Reverse over reverse: the library's own derivatives of pooling and depthwise
    convolutions have no forward mode.

    Args:
      loss: ``alpha -> scalar``, twice differentiable.
      alpha: where.
      vector: a tree like alpha.
      axis_name: of devices among which the loss averages; None on one.

    Returns:
      A tree like alpha.

    >>> alpha = jnp.array([1.0, 2.0])
    >>> hessian_vector_product(lambda a: a[0] ** 2 * a[1], alpha, jnp.array([1.0, 0.0]))
    Array([4., 2.], dtype=float32)
    """

    def averaged(gradient: Tree) -> Tree:
        return gradient if axis_name is None else jax.lax.pmean(gradient, axis_name)

    def slope(alpha: Tree) -> Array:
        terms = jax.tree.map(jnp.vdot, averaged(jax.grad(loss)(alpha)), vector)
        return jax.tree.reduce(jnp.add, terms)

    return averaged(jax.grad(slope)(alpha))


def dominant_eigenvalue(
    loss: Callable[[Tree], Array],
    alpha: Tree,
    *,
    key: Key,
    full_up_to: int = 32,
    tolerance: float = 1e-4,
) -> tuple[float, float]:
    """The eigenvalue of largest magnitude of the Hessian of ``loss`` at alpha.

    Args:
      loss: ``alpha -> scalar``, twice differentiable.
      alpha: a tree of arrays, n numbers together.
      key: of Lanczos's first vector. Consumed.
      full_up_to: largest n for which the whole Hessian is taken, n products, instead
        of ARPACK's Lanczos (SciPy), which takes at least twenty.
      tolerance: of Lanczos, relative to the eigenvalue.

    Returns:
      The eigenvalue with its sign, and the residual ``|H v - value v|`` of the unit
      vector it was found with, in the unit of the eigenvalue.

    Raises:
      ValueError: a Hessian that is not finite.

    >>> value, residual = dominant_eigenvalue(
    ...     lambda a: a[0] ** 2 - 3 * a[1] ** 2, jnp.zeros(2), key=jax.random.key(0)
    ... )
    >>> value, residual
    (-6.0, 0.0)
    """

    @jax.jit
    def product(vector: Tree) -> Tree:
        return hessian_vector_product(loss, alpha, vector)

    return dominant_eigenvalue_of(
        product, alpha, key=key, full_up_to=full_up_to, tolerance=tolerance
    )


def dominant_eigenvalue_of(
    product: Callable[[Tree], Tree],
    like: Tree,
    *,
    key: Key,
    full_up_to: int = 32,
    tolerance: float = 1e-4,
) -> tuple[float, float]:
    """`dominant_eigenvalue` of a symmetric map that is known by its products.

    Args:
      product: ``vector -> H vector``, trees like ``like``.
      like: a tree of arrays.
      key: consumed.
      full_up_to: as there.
      tolerance: as there.
    """
    flat, unravel = ravel_pytree(like)

    def times(vector: np.ndarray) -> np.ndarray:
        found = product(unravel(jnp.asarray(vector.ravel(), flat.dtype)))
        result = np.asarray(ravel_pytree(found)[0], np.float64)
        if not np.isfinite(result).all():
            raise ValueError("the Hessian has values that are not finite")
        return result

    vector = None
    if flat.size > full_up_to:
        start = np.asarray(jax.random.normal(key, flat.shape), np.float64)
        vector = _lanczos(times, start, tolerance)
    if vector is None:
        vector = _from_full(times, flat.size)
    image = times(vector)
    value = float(vector @ image)  # Rayleigh's quotient, of the rounded vector too
    return value, float(np.linalg.norm(image - value * vector))


def _lanczos(
    times: Callable[[np.ndarray], np.ndarray], start: np.ndarray, tolerance: float
) -> np.ndarray | None:
    """The unit vector, or None where ARPACK has none: H is 0, or does not converge."""
    # SciPy takes longer to import than the rest of this library.
    from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh

    size = len(start)
    operator = LinearOperator((size, size), matvec=times, dtype=np.float64)
    try:
        _, vectors = eigsh(operator, k=1, which="LM", v0=start, tol=tolerance)
    except ArpackError:
        return None
    return vectors[:, 0]


def _from_full(times: Callable[[np.ndarray], np.ndarray], size: int) -> np.ndarray:
    """The unit vector, of all columns of H."""
    hessian = np.stack([times(unit) for unit in np.eye(size)])
    values, vectors = np.linalg.eigh((hessian + hessian.T) / 2)
    return vectors[:, np.abs(values).argmax()]
