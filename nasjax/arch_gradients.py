"""Alpha's gradient of the validation loss, where it is more than the plain one.

Each takes losses ``(weights, arch) -> scalar`` and gives value and gradient in arch:
what `Method.arch_gradient` may be.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from nasjax.base import Array, Tree

_Loss = Callable[[Tree, Tree], Array]
#: Of a gradient on one device, that of all: the mean over them.
Average = Callable[[Tree], Tree]


def alone(gradient: Tree) -> Tree:
    """The gradient of one device that is the only one."""
    return gradient


def unrolled_arch_gradient(
    train_loss: Callable[[Tree, Tree], Array],
    valid_loss: Callable[[Tree, Tree], Array],
    weights: Tree,
    arch: Tree,
    *,
    inner_step: Callable[[Tree, Tree], Tree],
) -> tuple[Array, Tree]:
    """Value and exact gradient of ``valid_loss(w'(arch), arch)`` in ``arch``.

    ``w' = inner_step(weights, d train_loss / d weights)`` is one step of the real
    optimizer, through which the gradient is taken by reverse mode, with no finite
    differences. Source: DARTS Eq. 6, whose ``w - xi * gradient`` is the inner step
    of plain SGD. The published code has momentum and weight decay in it, but neither
    gradient clipping nor Nesterov's step; what of them is in ``inner_step`` is
    differentiated too (a deviation; `darts` has ``inner_clip``).

    Args:
      train_loss: ``(weights, arch) -> scalar``.
      valid_loss: ``(weights, arch) -> scalar``.
      weights: where the inner step starts.
      arch: architecture parameters.
      inner_step: ``(weights, gradient) -> weights``, differentiable.

    Returns:
      The validation loss after the inner step, and its gradient, a tree like arch.

    >>> def loss(w, a):
    ...     return (w - a) ** 2
    >>> step = lambda w, g: w - 0.1 * g
    >>> value, gradient = unrolled_arch_gradient(
    ...     loss, lambda w, a: w**2, 1.0, 0.0, inner_step=step
    ... )
    >>> print(f"{value:.2f} {gradient:.2f}")  # w' = 0.8, dw'/da = 0.2
    0.64 0.32
    """

    def unrolled(arch: Tree) -> Array:
        gradient = jax.grad(train_loss)(weights, arch)
        return valid_loss(inner_step(weights, gradient), arch)

    return jax.value_and_grad(unrolled)(arch)


def implicit_arch_gradient(
    train_loss: _Loss,
    valid_loss: _Loss,
    weights: Tree,
    arch: Tree,
    *,
    learning_rate: Array | float,
    terms: int,
    average: Average = alone,
) -> tuple[Array, Tree]:
    """Value and implicit gradient of ``valid_loss(w*(arch), arch)`` in ``arch``.

    With v the validation gradient in w and H the training loss's Hessian in w, the
    inverse Hessian is the Neumann series ``s = sum_k (I - learning_rate H)^k v`` of
    ``k = 0 .. terms``, and the gradient is that in arch minus ``learning_rate`` times
    that of ``<grad_w train_loss, s>``. All products are exact. Source: iDARTS (Zhang et
    al., arXiv 2106.10784), Eq. 9; its code takes finite differences.

    Args:
      train_loss: ``(weights, arch) -> scalar``.
      valid_loss: ``(weights, arch) -> scalar``.
      weights: near the minimum of the training loss.
      arch: architecture parameters.
      learning_rate: gamma; the series converges below 2 / the largest eigenvalue of H.
      terms: K; 0 leaves v alone, which is DARTS's second order at w instead of w'.
      average: of a gradient over devices; the result is this device's part.

    Raises:
      ValueError: a negative number of terms.

    >>> train = lambda w, a: 0.5 * (w - 3 * a) ** 2  # w* = 3 a, H = 1
    >>> valid = lambda w, a: 0.5 * w**2
    >>> value, gradient = implicit_arch_gradient(
    ...     train, valid, 3.0, 1.0, learning_rate=1.0, terms=0
    ... )
    >>> print(f"{gradient:.1f}")  # w* dw*/da = 3 · 3
    9.0
    """
    if terms < 0:
        raise ValueError(f"{terms=} is below 0")
    value, (v, direct) = jax.value_and_grad(valid_loss, (0, 1))(weights, arch)
    v = average(v)

    def of_weights(weights: Tree, arch: Tree) -> Tree:
        return average(jax.grad(train_loss)(weights, arch))

    # One backward pass through the gradient gives H and the mixed product: H is
    # symmetric, and the engine's own derivatives know no forward mode.
    pull = jax.vjp(of_weights, weights, arch)[1]
    total = power = v
    for _ in range(terms):
        power = jax.tree.map(
            lambda p, h: p - learning_rate * h, power, average(pull(power)[0])
        )
        total = jax.tree.map(jnp.add, total, power)
    mixed = pull(total)[1]
    return value, jax.tree.map(lambda d, m: d - learning_rate * m, direct, mixed)


def sharpness_aware_arch_gradient(
    valid_loss: _Loss,
    weights: Tree,
    arch: Tree,
    *,
    rho: Array | float,
    average: Average = alone,
) -> tuple[Array, Tree]:
    """Value and gradient of ``valid_loss(arch + rho grad valid_loss(arch))`` in arch.

    The gradient goes through the inner one, exactly. Source: A2M (the code of
    FlatDARTS), whose step is not of unit length as that of SAM is.

    Args:
      valid_loss: ``(weights, arch) -> scalar``.
      weights: held.
      arch: architecture parameters.
      rho: length of the step along the gradient; 0 leaves the plain gradient.
      average: as of `implicit_arch_gradient`.

    >>> value, gradient = sharpness_aware_arch_gradient(
    ...     lambda w, a: 0.5 * w * a**2, 2.0, 1.0, rho=0.1
    ... )
    >>> print(f"{value:.2f} {gradient:.2f}")  # at 1.2: 1.44; 2 · 1.2 · 1.2
    1.44 2.88
    """

    def moved(arch: Tree) -> Array:
        gradient = average(jax.grad(valid_loss, 1)(weights, arch))
        ascended = jax.tree.map(lambda a, g: a + rho * g, arch, gradient)
        return valid_loss(weights, ascended)

    return jax.value_and_grad(moved)(arch)
