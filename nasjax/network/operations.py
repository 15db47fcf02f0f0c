"""Operations of discrete cells, by the names that genotypes use.

An operation with weights is a chain of units, the stride in the first; the others
are plain functions. As in the published networks, nothing follows a pooling here
(the supernet's batch normalisation after it is for the search alone), and a
stride-2 skip connection is a factorized reduce.
"""

from collections.abc import Callable

import jax.numpy as jnp

from nasjax import layers
from nasjax.base import Array, InputError, Tree
from nasjax.network import units
from nasjax.network.units import Context, Unit


def _zero(x: Array, *, stride: int) -> Array:
    return jnp.zeros_like(x[:, ::stride, ::stride])


def _identity(x: Array, *, stride: int) -> Array:
    del stride
    return x


_CHAINS: dict[str, tuple[Unit, ...]] = {
    "sep_conv_3x3": (units.separable(3),) * 2,
    "sep_conv_5x5": (units.separable(5),) * 2,
    "sep_conv_7x7": (units.separable(7),) * 2,
    "dil_conv_3x3": (units.separable(3, dilation=2),),
    "dil_conv_5x5": (units.separable(5, dilation=2),),
    "conv_7x1_1x7": (units.asymmetric(7),),
    "nor_conv_1x1": (units.dense(1),),
    "nor_conv_3x3": (units.dense(3),),
}
_PLAIN: dict[str, Callable[..., Array]] = {
    "none": _zero,
    "max_pool_3x3": layers.max_pool_3x3,
    "avg_pool_3x3": layers.avg_pool_3x3,
    "skip_connect": _identity,
}
#: Names an edge of a genotype may have.
OPERATIONS = tuple(sorted({*_CHAINS, *_PLAIN}))


def chain(name: str, stride: int) -> tuple[Unit, ...]:
    """Units of an operation; empty for one without weights.

    Raises:
      InputError: an unknown operation.
    """
    if name not in OPERATIONS:
        raise InputError(f"operation {name!r} is not one of {', '.join(OPERATIONS)}")
    if name == "skip_connect" and stride == 2:
        return (units.FACTORIZED_REDUCE,)
    return _CHAINS.get(name, ())


def is_identity(name: str, stride: int) -> bool:
    """Whether the operation hands its input on, which drop path leaves alone."""
    return name == "skip_connect" and stride == 1


def apply_plain(name: str, x: Array, *, stride: int) -> Array:
    """Run an operation without weights.

    Args:
      name: which.
      x: ``[C, H, W, B]``.
      stride: 1 or 2.

    Returns:
      ``[C, ceil(H/stride), ceil(W/stride), B]``.
    """
    return _PLAIN[name](x, stride=stride)


def apply_chain(
    name: str,
    weights: tuple[Tree, ...],
    stats: tuple[Tree, ...],
    x: Array,
    *,
    stride: int,
    context: Context,
) -> tuple[Array, tuple[Tree, ...]]:
    """Run an operation with weights.

    Args:
      name: which.
      weights: of each of its units.
      stats: likewise.
      x: ``[C, H, W, B]``.
      stride: 1 or 2.
      context: how it is computed.

    Returns:
      ``[C, ceil(H/stride), ceil(W/stride), B]``, and the moments of each unit.
    """
    moments = []
    for unit, own, running in zip(chain(name, stride), weights, stats, strict=True):
        x, found = units.apply_unit(
            unit, own, running, x, stride=stride, context=context
        )
        moments.append(found)
        stride = 1  # only the first unit is strided
    return x, tuple(moments)
