"""Batch normalisation with scale, offset and running averages, for discrete networks.

The rules are PyTorch's, because the published settings were tuned on them: the
batch is normalised by its biased variance, the running variance is unbiased, a new
moment counts a tenth, epsilon is 1e-5. The supernet's (`layers.norm`) is made for
second derivatives and for recomputation; this one passes over memory least often.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from nasjax.base import Array, Tree
from nasjax.layers.common import expand
from nasjax.layers.norm import BATCH_NORM_EPSILON

#: Weight of a batch's moments in the running averages.
MOMENTUM = 0.1


def _sum_per_channel(x: Array) -> Array:
    # Rows first: the inner loop then runs over the contiguous batch axis.
    return jnp.sum(x, axis=(1, 2)).sum(axis=1)


def _total(x: Any, axis_name: str | None) -> Any:
    return x if axis_name is None else lax.psum(x, axis_name)


def evaluate_norm(
    x: Array, scale: Array, offset: Array, mean: Array, variance: Array
) -> Array:
    """Normalise by running averages: ``[C, H, W, B]``, all else ``[C]`` float32."""
    factor = scale * lax.rsqrt(variance + BATCH_NORM_EPSILON)
    y = (x.astype(jnp.float32) - expand(mean)) * expand(factor) + expand(offset)
    return y.astype(x.dtype)


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def train_norm(
    x: Array, scale: Array, offset: Array, axis_name: str | None
) -> tuple[Array, Array, Array]:
    """Normalise by the moments of the batch.

    Moments are float32 and taken in two passes: the one-pass form loses the variance
    of channels whose mean dwarfs their spread. No gradient flows out of the moments.

    Args:
      x: ``[C, H, W, B]``, float32 or bfloat16.
      scale: ``[C]``.
      offset: ``[C]``.
      axis_name: of the devices whose batches count as one; None for this one's.

    Returns:
      ``[C, H, W, B]`` in the dtype of ``x``, the mean ``[C]``, and the unbiased
      variance ``[C]``.
    """
    y, moments, _ = _train(x, scale, offset, axis_name)
    return (y, *moments)


def _train(x: Array, scale: Array, offset: Array, axis_name: str | None) -> Any:
    count = _total(x.size // x.shape[0], axis_name)
    wide = x.astype(jnp.float32)
    mean = _total(_sum_per_channel(wide), axis_name) / count
    square = jnp.square(wide - expand(mean))
    variance = _total(_sum_per_channel(square), axis_name) / count
    inverse = lax.rsqrt(variance + BATCH_NORM_EPSILON)
    # The centred input is used once, by the variance: a second use, here or in the
    # gradient, would have the compiler write it to memory and keep it.
    factor = inverse * scale
    y = wide * expand(factor) + expand(offset - mean * factor)
    unbiased = variance * (count / max(count - 1, 1))
    return y.astype(x.dtype), (mean, unbiased), (x, scale, mean, inverse)


def _forward(x: Array, scale: Array, offset: Array, axis_name: str | None) -> Any:
    y, moments, residuals = _train(x, scale, offset, axis_name)
    return (y, *moments), residuals


def _backward(axis_name: str | None, residuals: Any, cotangents: Any) -> Any:
    x, scale, mean, inverse = residuals
    x, dy = (a.astype(jnp.float32) for a in (x, cotangents[0]))
    offset_gradient = _sum_per_channel(dy)
    product = _sum_per_channel(dy * x)
    scale_gradient = (product - mean * offset_gradient) * inverse
    count = _total(x.size // x.shape[0], axis_name)
    slope = _total(scale_gradient, axis_name) * inverse / count
    shift = _total(offset_gradient, axis_name) / count - mean * slope
    dx = (dy - x * expand(slope) - expand(shift)) * expand(inverse * scale)
    return dx.astype(residuals[0].dtype), scale_gradient, offset_gradient


train_norm.defvjp(_forward, _backward)


def update_running(running: Tree, batch: Tree) -> Tree:
    """Running averages after a batch, both trees of moments."""
    return jax.tree.map(lambda old, new: old + MOMENTUM * (new - old), running, batch)
