"""Batch normalisation."""

import jax.numpy as jnp
from jax import lax

from nasjax.base import Array
from nasjax.primitives.common import expand

#: Epsilon of every batch normalisation (spec section 1).
BATCH_NORM_EPSILON = 1e-5


def _sum_per_channel(x: Array) -> Array:
    # Rows first: the inner loop then runs over the contiguous batch axis.
    return jnp.sum(x, axis=(1, 2)).sum(axis=1)


def batch_norm(
    x: Array,
    *,
    epsilon: float = BATCH_NORM_EPSILON,
    axis_name: str | None = None,
) -> Array:
    """Normalise each channel by the statistics of the batch, without affine.

    Statistics are taken in float32 in two passes: the one-pass form loses the
    variance of channels whose mean dwarfs their spread.

    Args:
      x: ``[C, H, W, B]``, float32 or bfloat16.
      epsilon: added to the variance.
      axis_name: of the devices whose batches, of one size, are normalised together.

    Returns:
      ``[C, H, W, B]`` in the dtype of ``x``.
    """
    count = x.size // x.shape[0]

    def mean(x: Array) -> Array:
        own = _sum_per_channel(x) / count
        return own if axis_name is None else lax.pmean(own, axis_name)

    wide = x.astype(jnp.float32)
    centred = wide - expand(mean(wide))
    variance = mean(centred * centred)
    return (centred * expand(lax.rsqrt(variance + epsilon))).astype(x.dtype)


def affine(x: Array, scale: Array, offset: Array) -> Array:
    """``x * scale + offset`` by channel: ``[C, H, W, B]``, ``[C]``, ``[C]``."""
    return x * expand(scale.astype(x.dtype)) + expand(offset.astype(x.dtype))
