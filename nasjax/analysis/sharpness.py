"""Sharpness of a loss around a point: how far it rises near by, and falls in a step.

SD-DARTS argues with both (section 3.3): the largest loss in a ball, which SAM lowers
(Foret et al., arXiv 2010.01412), and the change of the loss from one step to the next,
which SAF lowers (Du et al., arXiv 2205.14083). To first order the one is ``radius |g|``
and the other ``learning_rate |g|^2``, of the gradient g.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from nasjax.base import Array, Tree

#: ``point -> (value, gradient)``, as `jax.value_and_grad` makes it of a loss.
ValueAndGradient = Callable[[Tree], tuple[Array, Tree]]


def ball_sharpness(
    value_and_gradient: ValueAndGradient, point: Tree, *, radius: float, steps: int = 1
) -> Array:
    """How much larger the loss is in an L2 ball than at its centre.

    The largest value that ascent meets: each step goes ``radius`` along the gradient,
    and back into the ball. The first is SAM's ``radius g / |g|``, where a linear loss
    has its maximum; more steps find more where the loss curves. Source: SD-DARTS Eq. 3.

    Args:
      value_and_gradient: of the loss, of all arrays of a point together.
      point: the centre.
      radius: of the ball, in the point's unit.
      steps: of ascent.

    Returns:
      A scalar in the loss's unit, 0 where nothing larger was met.

    Raises:
      ValueError: a radius that is not above 0, or no step.

    >>> slope = jnp.array([3.0, 4.0])
    >>> linear = jax.value_and_grad(lambda x: x @ slope)
    >>> ball_sharpness(linear, jnp.zeros(2), radius=0.1)  # 0.1 |g|
    Array(0.5, dtype=float32)
    """
    if not radius > 0:
        raise ValueError(f"{radius=} is not above 0")
    if steps < 1:
        raise ValueError(f"{steps=} is not at least 1")
    centre, gradient = value_and_gradient(point)
    best, away = centre, _scaled(gradient, radius / _positive(_norm(gradient)))
    for step in range(steps):
        value, gradient = value_and_gradient(_sum(point, away))
        best = jnp.maximum(best, value)
        if step + 1 < steps:
            further = _scaled(gradient, radius / _positive(_norm(gradient)))
            away = _sum(away, further)
            away = _scaled(away, jnp.minimum(1.0, radius / _positive(_norm(away))))
    return best - centre


def loss_drop(
    value_and_gradient: ValueAndGradient, point: Tree, *, learning_rate: float
) -> Array:
    """How much the loss falls in a step of gradient descent on itself.

    ``L(x) - L(x - learning_rate g)``, to first order ``learning_rate |g|^2``, and less
    than that where the loss curves upwards along the step. Source: SD-DARTS Eq. 4.

    Args:
      value_and_gradient: of the loss, of all arrays of a point together.
      point: x, before the step.
      learning_rate: of the step.

    Returns:
      A scalar in the loss's unit; negative where the step overshoots.

    >>> quadratic = jax.value_and_grad(lambda x: 0.5 * x @ x)
    >>> loss_drop(quadratic, jnp.array([3.0, 4.0]), learning_rate=0.2)  # (1 - 0.8²)25/2
    Array(4.5, dtype=float32)
    """
    before, gradient = value_and_gradient(point)
    after, _ = value_and_gradient(_sum(point, _scaled(gradient, -learning_rate)))
    return before - after


def _norm(tree: Tree) -> Array:
    """Euclidean, over all arrays; scaled, so that nothing small is lost."""
    leaves = jax.tree.leaves(tree)
    largest = jnp.max(jnp.stack([jnp.abs(leaf).max() for leaf in leaves]))
    unit = _positive(largest)
    return unit * jnp.sqrt(sum(jnp.square(leaf / unit).sum() for leaf in leaves))


def _positive(value: Array) -> Array:
    """1 instead of 0, to divide by."""
    return jnp.where(value > 0, value, 1.0)


def _scaled(tree: Tree, factor: Array | float) -> Tree:
    return jax.tree.map(lambda leaf: factor * leaf, tree)


def _sum(one: Tree, other: Tree) -> Tree:
    return jax.tree.map(jnp.add, one, other)
