"""Batch normalisation."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from nasjax.base import Array
from nasjax.primitives.common import apart, expand

#: Epsilon of every batch normalisation (spec section 1).
BATCH_NORM_EPSILON = 1e-5


def _sum_per_channel(x: Array) -> Array:
    # Rows first: the inner loop then runs over the contiguous batch axis.
    return jnp.sum(x, axis=(1, 2)).sum(axis=1)


@partial(jax.jit, static_argnames=("epsilon", "axis_name"))
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
    wide = x.astype(jnp.float32)
    mean, variance = _moments(wide)
    if axis_name is not None:
        # One exchange: the moments of the whole from those of its equal parts.
        means, variances = lax.all_gather(
            jnp.stack([mean, variance]), axis_name, axis=1
        )
        mean = means.mean(axis=0)
        between = jnp.square(means - mean[None])
        variance = (variances + between).mean(axis=0)
    scale = lax.rsqrt(variance + epsilon)
    return ((wide - expand(mean)) * expand(scale)).astype(x.dtype)


def _moments(x: Array) -> tuple[Array, Array]:
    """Mean and biased variance ``[C]`` of ``[C, H, W, B]``."""
    count = x.size // x.shape[0]
    mean = _sum_per_channel(x) / count
    return mean, _sum_per_channel(jnp.square(x - expand(mean))) / count


def affine(x: Array, scale: Array, offset: Array) -> Array:
    """``x * scale + offset`` by channel: ``[C, H, W, B]``, ``[C]``, ``[C]``."""
    return x * expand(scale.astype(x.dtype)) + expand(offset.astype(x.dtype))


def _products_per_channel(x: Array, y: Array) -> Array:
    return _sum_per_channel(x.astype(jnp.float32) * y.astype(jnp.float32))


@jax.custom_vjp
def weighted(x: Array, factor: Array) -> Array:
    """``x`` ``[C, H, W, B]`` times a scalar, in the dtype of ``x``.

    The gradient of the factor is summed channel by channel, as batch normalisation's
    sums are: a CPU runs one sum over everything on one thread.
    """
    return x * factor.astype(x.dtype)


def _weighted_forward(x: Array, factor: Array) -> tuple[Array, tuple[Array, Array]]:
    return weighted(x, factor), (x, factor)


def _weighted_backward(
    residuals: tuple[Array, Array], cotangent: Array
) -> tuple[Array, Array]:
    x, factor = residuals
    channels = apart(_products_per_channel)(x, cotangent)
    return weighted(cotangent, factor), channels.sum().astype(factor.dtype)


weighted.defvjp(_weighted_forward, _weighted_backward)
