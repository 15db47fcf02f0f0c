"""Activations."""

import jax
from jax import lax

from nasjax.base import Array


@jax.custom_jvp
def relu(x: Array) -> Array:
    """``max(x, 0)``, whose derivative at 0 is 0.

    `jax.nn.relu` is a jitted function: a call of its own, which a CPU compiler that
    shares calls (`experiments.launch.xla_flags`) fuses with nothing. This is a part of
    what is around it.
    """
    # With a scalar: of an array of zeros JAX would keep one for each turn of a loop.
    return lax.max(x, _zero(x))


@relu.defjvp
def _relu_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (tangent,) = primals, tangents
    return relu(x), lax.select(lax.gt(x, _zero(x)), tangent, lax.full_like(tangent, 0))


def _zero(x: Array) -> Array:
    return lax.full_like(x, 0, shape=())
