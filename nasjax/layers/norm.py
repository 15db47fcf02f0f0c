"""Batch normalisation."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from nasjax.base import Array
from nasjax.layers.common import expand, no_inline_on_cpu

#: Epsilon of every batch normalisation (spec section 1).
BATCH_NORM_EPSILON = 1e-5


def _sum_per_channel(x: Array) -> Array:
    # Row by row, and the rows' sums apart: one sum a channel is too few of them for
    # the threads of a CPU, whose compiler would make one sum of both.
    return lax.optimization_barrier(jnp.sum(x, axis=(2, 3))).sum(axis=1)


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
    return normalised(x, epsilon=epsilon, axis_name=axis_name)[0]


# Traced once, and written out where it is used, to be fused with what is around it.
@partial(jax.jit, static_argnames=("epsilon", "axis_name"), inline=True)
def normalised(
    x: Array,
    *,
    epsilon: float = BATCH_NORM_EPSILON,
    axis_name: str | None = None,
) -> tuple[Array, Array, Array]:
    """`batch_norm`, and ``[C]`` of each channel: mean, and 1 / standard deviation."""
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
    return _normalise(wide, mean, scale).astype(x.dtype), mean, scale


def pull_normalised(
    y: Array, scale: Array, cotangent: Array, *, axis_name: str | None = None
) -> Array:
    """The cotangent of `batch_norm`'s input, from its output and scale alone.

    Args:
      y: ``[C, H, W, B]``, the output.
      scale: ``[C]``, as `normalised` gives it.
      cotangent: of the output.
      axis_name: as it was given to `batch_norm`.
    """
    one = jnp.ones((), jnp.float32)
    return pull_weighted_norm(y, scale, cotangent, one, axis_name=axis_name)[0]


def pull_weighted_norm(
    x: Array,
    scale: Array,
    cotangent: Array,
    factor: Array,
    *,
    mean: Array | None = None,
    norm_stats_bar: Array | None = None,
    axis_name: str | None = None,
) -> tuple[Array, Array]:
    """Cotangents of ``x`` and ``factor`` in ``factor * batch_norm(x)``.

    The sums that the former needs give the latter as well.

    Args:
      x: ``[C, H, W, B]``; where no mean is given, its `batch_norm`.
      scale: ``[C]``, as `normalised` gives it.
      cotangent: of the product.
      factor: scalar.
      mean: ``[C]``, likewise.
      norm_stats_bar: ``[2, C]``, cotangents of mean and scale; None for zeros.
      axis_name: as it was given to `batch_norm`.
    """
    g, wide = cotangent.astype(jnp.float32), x.astype(jnp.float32)
    spread = scale  # from what is centred to what is normalised
    if mean is None:
        mean, spread = jnp.zeros_like(scale), jnp.ones_like(scale)
    total, with_centred = no_inline_on_cpu(_sums_of_cotangent)(g, wide, mean)
    gain = scale * factor.astype(jnp.float32)
    sums = gain[None] * jnp.stack([total, with_centred * spread])
    if norm_stats_bar is not None:
        sums += jnp.stack([-norm_stats_bar[0], jnp.square(scale) * norm_stats_bar[1]])
    means = sums / (x.size // len(x))
    if axis_name is not None:
        means = lax.pmean(means, axis_name)
    along = (wide - expand(mean)) * expand(spread * means[1])
    x_bar = g * expand(gain) - expand(means[0]) - along
    return x_bar.astype(x.dtype), (with_centred * spread).sum().astype(factor.dtype)


# Both parts have gradients of their own, and what lies between them is of [C]. Plain
# autodiff passes twice as often over the activations: once more for a sum that is
# zero, that of the centred values, and for each product that it does not fuse.


@jax.custom_vjp
def _moments(x: Array) -> tuple[Array, Array]:
    """Mean and biased variance ``[C]`` of ``[C, H, W, B]``."""
    count = x.size // x.shape[0]
    mean = _sum_per_channel(x) / count
    return mean, _sum_per_channel(jnp.square(x - expand(mean))) / count


def _moments_forward(x: Array) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    mean, variance = _moments(x)
    return (mean, variance), (x, mean)


def _moments_backward(
    residuals: tuple[Array, Array], bars: tuple[Array, Array]
) -> tuple[Array]:
    x, mean = residuals
    count = x.size // x.shape[0]
    mean_bar, variance_bar = (expand(bar / count) for bar in bars)
    return (mean_bar + (x - expand(mean)) * (2 * variance_bar),)


_moments.defvjp(_moments_forward, _moments_backward)


@jax.custom_vjp
def _normalise(x: Array, mean: Array, scale: Array) -> Array:
    """``(x - mean) * scale`` by channel."""
    return (x - expand(mean)) * expand(scale)


def _normalise_forward(
    x: Array, mean: Array, scale: Array
) -> tuple[Array, tuple[Array, Array, Array]]:
    return _normalise(x, mean, scale), (x, mean, scale)


def _normalise_backward(
    residuals: tuple[Array, Array, Array], cotangent: Array
) -> tuple[Array, Array, Array]:
    x, mean, scale = residuals
    total, with_centred = no_inline_on_cpu(_sums_of_cotangent)(cotangent, x, mean)
    return cotangent * expand(scale), -scale * total, with_centred


def _sums_of_cotangent(cotangent: Array, x: Array, mean: Array) -> tuple[Array, Array]:
    """By channel, of the cotangent and of its product with the centred values."""
    return (
        _sum_per_channel(cotangent),
        _sum_per_channel(cotangent * (x - expand(mean))),
    )


_normalise.defvjp(_normalise_forward, _normalise_backward)


@jax.custom_vjp
def affine(x: Array, scale: Array, offset: Array) -> Array:
    """``x * scale + offset`` by channel: ``[C, H, W, B]``, ``[C]``, ``[C]``.

    Scale and offset are of one dtype, the result is of that of ``x``.
    """
    return x * expand(scale.astype(x.dtype)) + expand(offset.astype(x.dtype))


def _affine_forward(
    x: Array, scale: Array, offset: Array
) -> tuple[Array, tuple[Array, Array]]:
    return affine(x, scale, offset), (x, scale)


def _affine_backward(
    residuals: tuple[Array, Array], cotangent: Array
) -> tuple[Array, Array, Array]:
    x, scale = residuals
    g, wide = cotangent.astype(jnp.float32), x.astype(jnp.float32)
    sums = no_inline_on_cpu(_sums_of_cotangent)(g, wide, jnp.zeros(len(x), jnp.float32))
    offset_bar, scale_bar = (total.astype(scale.dtype) for total in sums)
    return cotangent * expand(scale.astype(x.dtype)), scale_bar, offset_bar


affine.defvjp(_affine_forward, _affine_backward)


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
    channels = no_inline_on_cpu(_products_per_channel)(x, cotangent)
    return weighted(cotangent, factor), channels.sum().astype(factor.dtype)


weighted.defvjp(_weighted_forward, _weighted_backward)


@jax.custom_vjp
def raised(x: Array, offset: Array) -> Array:
    """``x`` ``[N, C, H, W, B]`` plus a scalar ``[N]`` each, in the dtype of ``x``.

    The gradient of the scalars is summed in float32, as that of `weighted` is.
    """
    return x + offset.astype(x.dtype)[:, None, None, None, None]


def _raised_forward(x: Array, offset: Array) -> tuple[Array, Array]:
    return raised(x, offset), offset


def _raised_backward(offset: Array, cotangent: Array) -> tuple[Array, Array]:
    rows = cotangent.reshape(-1, *cotangent.shape[2:]).astype(jnp.float32)
    channels = no_inline_on_cpu(_sum_per_channel)(rows).reshape(len(offset), -1)
    return cotangent, channels.sum(axis=1).astype(offset.dtype)


raised.defvjp(_raised_forward, _raised_backward)
