"""Sums over pixels, and what needs them: weighted sums and batch normalisation."""

from collections.abc import Sequence
from functools import partial, reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from nasjax.base import Array
from nasjax.layers import BATCH_NORM_EPSILON


@jax.custom_vjp
def _sums(arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    """Of each of some arrays of one shape, over H and W, in one pass."""
    zeros = (jnp.zeros((), jnp.float32),) * len(arrays)

    def add(one: Any, other: Any) -> tuple[Array, ...]:
        return tuple(map(jnp.add, one, other))

    wide = tuple(one.astype(jnp.float32) for one in arrays)
    return tuple(lax.reduce(wide, zeros, add, (1, 2)))


def _sums_forward(arrays: tuple[Array, ...]) -> tuple[tuple[Array, ...], Any]:
    return _sums(arrays), arrays


def _sums_backward(
    arrays: tuple[Array, ...], bars: tuple[Array, ...]
) -> tuple[tuple[Array, ...]]:
    spread = (
        jnp.broadcast_to(bar[:, None, None], one.shape).astype(one.dtype)
        for bar, one in zip(bars, arrays, strict=True)
    )
    return (tuple(spread),)


_sums.defvjp(_sums_forward, _sums_backward)


#: Sums that one launch makes: more do not find room in the fast memory of a GPU's core.
_TOGETHER = 3


@jax.custom_vjp
def mix(outputs: tuple[Array, ...], factors: tuple[Array, ...]) -> Array:
    """Weighted sum over all operations: ``[B, H, W, G, C]``.

    Args:
      outputs: ``[B, H, W, G, O, C]`` each, or of G = 1 what all edges share.
      factors: ``[G, O]`` each.
    """
    terms = [
        y[..., at, :].astype(jnp.float32) * factor[None, None, None, :, at, None]
        for y, factor in zip(outputs, factors, strict=True)
        for at in range(y.shape[4])
    ]
    return reduce(jnp.add, terms).astype(outputs[0].dtype)


def _mix_forward(
    outputs: tuple[Array, ...], factors: tuple[Array, ...]
) -> tuple[Array, tuple[Any, Any]]:
    return mix(outputs, factors), (outputs, factors)


def _mix_backward(
    residuals: tuple[Any, Any], bar: Array
) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    outputs, factors = residuals
    wide = bar.astype(jnp.float32)
    bars = []
    for y, factor in zip(outputs, factors, strict=True):
        own = wide[:, :, :, :, None] * factor[None, None, None, :, :, None]
        if y.shape[3] == 1 and len(factor) > 1:
            own = own.sum(axis=3, keepdims=True)
        bars.append(own.astype(y.dtype))
    products = [wide * y[..., at, :] for y in outputs for at in range(y.shape[4])]
    sums: list[Array] = []
    for at in range(0, len(products), _TOGETHER):
        sums += _sums(tuple(products[at : at + _TOGETHER]))
    found = jnp.stack(sums, axis=-1).sum(axis=(0, 2))  # [G, all O]
    ends = np.cumsum([factor.shape[1] for factor in factors])[:-1]
    return tuple(bars), tuple(jnp.split(found, ends, axis=1))


mix.defvjp(_mix_forward, _mix_backward)


def _joint(sums: Sequence[tuple[Array, ...]]) -> Array:
    """Pairs of sums ``[B, G, O, C]`` of several arrays as ``[2, M, C]``."""
    flat = [
        jnp.stack(pair).reshape(2, len(pair[0]), -1, pair[0].shape[-1]) for pair in sums
    ]
    return jnp.concatenate(flat, axis=2).sum(axis=1)


def _pixels(x: Array) -> int:
    return x.shape[0] * x.shape[1] * x.shape[2]


def _moments(arrays: tuple[Array, ...], axis_name: str | None) -> tuple[Array, Array]:
    """Mean and 1 / standard deviation, ``[M, C]``, over the batch of all devices.

    One pass over what is left of a first pixel's value: of the plain sums of squares a
    mean that dwarfs the spread would leave nothing (Chan, Golub and LeVeque, 1983).
    """
    pairs, firsts = [], []
    for x in arrays:
        first = lax.stop_gradient(x[0, 0, 0].astype(jnp.float32))
        centred = x.astype(jnp.float32) - first[None, None, None]
        pairs.append(_sums((centred, jnp.square(centred))))
        firsts.append(first.reshape(-1, x.shape[-1]))
    mean, square = _joint(pairs) / _pixels(arrays[0])
    variance = jnp.maximum(square - jnp.square(mean), 0)
    mean = mean + jnp.concatenate(firsts)
    if axis_name is not None:  # of the whole from those of its equal parts
        means, variances = lax.all_gather(
            jnp.stack([mean, variance]), axis_name, axis=1
        )
        mean = means.mean(axis=0)
        variance = (variances + jnp.square(means - mean[None])).mean(axis=0)
    return mean, lax.rsqrt(variance + BATCH_NORM_EPSILON)


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def norms(arrays: tuple[Array, ...], axis_name: str | None) -> tuple[Array, ...]:
    """Each normalised by channel, their statistics made together.

    Args:
      arrays: ``[B, H, W, G, O, C]`` with G and O of each, float32 or bfloat16;
        statistics are float32.
      axis_name: of the devices whose batches are normalised together; or None.
    """
    return _norms_forward(arrays, axis_name)[0]


def _norms_forward(
    arrays: tuple[Array, ...], axis_name: str | None
) -> tuple[tuple[Array, ...], tuple[Any, ...]]:
    if not arrays:
        return (), ()
    mean, scale = _moments(arrays, axis_name)
    found = [
        ((x.astype(jnp.float32) - m) * s).astype(x.dtype)
        for x, m, s in zip(
            arrays, _each(mean, arrays), _each(scale, arrays), strict=True
        )
    ]
    return tuple(found), (arrays, mean, scale)


def _norms_backward(
    axis_name: str | None, residuals: tuple[Any, ...], bars: tuple[Array, ...]
) -> tuple[tuple[Array, ...]]:
    if not residuals:
        return ((),)
    arrays, mean, scale = residuals
    centred = [
        (x.astype(jnp.float32) - m)
        for x, m in zip(arrays, _each(mean, arrays), strict=True)
    ]
    wide = [bar.astype(jnp.float32) for bar in bars]
    pairs = [_sums((g, g * c)) for g, c in zip(wide, centred, strict=True)]
    means = _joint(pairs) / _pixels(arrays[0])
    if axis_name is not None:
        means = lax.pmean(means, axis_name)
    along = means[1] * jnp.square(scale)
    parts = (_each(one, arrays) for one in (means[0], along, scale))
    found = (
        ((g - total - c * a) * s).astype(x.dtype)
        for x, g, c, total, a, s in zip(arrays, wide, centred, *parts, strict=True)
    )
    return (tuple(found),)


norms.defvjp(_norms_forward, _norms_backward)


def _each(joint: Array, arrays: tuple[Array, ...]) -> list[Array]:
    """Of ``[M, C]`` what is of each array, ``[1, 1, 1, G, O, C]``."""
    sizes = [x.shape[3] * x.shape[4] for x in arrays]
    parts = jnp.split(joint, np.cumsum(sizes)[:-1])
    return [
        part.reshape(1, 1, 1, *x.shape[3:])
        for part, x in zip(parts, arrays, strict=True)
    ]
