"""Array primitives of the batched engine, on ``[B, H, W, C]``."""

from functools import reduce

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from nasjax.base import Array


def product(x: Array, kernel: Array) -> Array:
    """``[B, H, W, G, O, C]`` and ``[G, O, C', C]`` to ``[B, H, W, G, O, C']``."""
    return jnp.einsum("bhwgoc,godc->bhwgod", x, kernel.astype(x.dtype))


def halves(x: Array, even: Array, odd: Array) -> Array:
    """`layers.FACTORIZED_REDUCE` before its norm, for G kernels.

    Of ``[B, H, W, C]``; the kernels are ``[G, C'/2, C]`` each.
    """
    x = jax.nn.relu(x)
    rows, columns = x.shape[1] % 2, x.shape[2] % 2
    shifted = jnp.pad(x, ((0, 0), (0, rows), (0, columns), (0, 0)))[:, 1:, 1:]
    parts = [
        jnp.einsum("bhwc,gdc->bhwgd", y[:, ::2, ::2], kernel.astype(x.dtype))
        for y, kernel in ((x, even), (shifted, odd))
    ]
    return jnp.concatenate(parts, axis=-1)


def convolution(x: Array, kernel: Array, stride: int) -> Array:
    """``[B, H, W, C]`` and ``[G, O, C', k, k, C]`` to ``[B, H', W', G, O, C']``."""
    size = kernel.shape[-2]
    y = lax.conv_general_dilated(
        x,
        kernel.astype(x.dtype).reshape(-1, *kernel.shape[3:]),
        (stride, stride),
        [(size // 2, size // 2)] * 2,
        dimension_numbers=("NHWC", "OHWI", "NHWC"),
    )
    return y.reshape(*y.shape[:3], *kernel.shape[:3])


def depthwise(x: Array, kernel: Array, stride: int, dilation: int) -> Array:
    """Depthwise convolutions, all in one call.

    Args:
      x: ``[B, H, W, G, O, C]``, or ``[B, H, W, 1, 1, C]`` that all of them read.
      kernel: ``[G, O, C, k, k]``.
      stride: 1 or 2.
      dilation: 1 or 2.

    Returns:
      ``[B, H', W', G, O, C]``.
    """
    edges, operations, channels, size, _ = kernel.shape
    shared = x.shape[3:5] != kernel.shape[:2]
    order = (2, 0, 1) if shared else (0, 1, 2)
    flat = jnp.transpose(kernel.astype(x.dtype), (*order, 3, 4))
    pad = dilation * (size // 2)
    y = lax.conv_general_dilated(
        x.reshape(*x.shape[:3], -1),
        flat.reshape(-1, size, size, 1),
        (stride, stride),
        [(pad, pad)] * 2,
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "OHWI", "NHWC"),
        feature_group_count=x.shape[3] * x.shape[4] * channels,
    )
    if not shared:
        return y.reshape(*y.shape[:3], edges, operations, channels)
    y = y.reshape(*y.shape[:3], channels, edges, operations)
    return jnp.moveaxis(y, 3, 5)


def max_pool(x: Array, size: int, stride: int) -> Array:
    """Maximum of 3×3 with padding 1, or of 2×2 with an odd last row alone."""
    pads = [(1, 1) if size == 3 else (0, n % 2) for n in x.shape[1:3]]
    window, strides = (1, size, size, 1), (1, stride, stride, 1)
    padding = [(0, 0), *pads, (0, 0)]
    return lax.reduce_window(x, -jnp.inf, lax.max, window, strides, padding)


def average_pool(x: Array, stride: int) -> Array:
    """Mean of the pixels of a 3×3 window that are there."""
    height, width = x.shape[1:3]
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    terms = [
        padded[:, i : i + height : stride, j : j + width : stride]
        for i in range(3)
        for j in range(3)
    ]
    rows, columns = (
        np.minimum(at + 1, n - 1) - np.maximum(at - 1, 0) + 1
        for n in (height, width)
        for at in (np.arange(0, n, stride),)
    )
    scale = jnp.asarray(1.0 / np.outer(rows, columns), x.dtype)
    return reduce(jnp.add, terms) * scale[None, :, :, None]


def average_pool_2x2(x: Array) -> Array:
    """2×2 average with stride 2 of ``[B, H, W, C]``; an odd last row is left out."""
    batch, height, width, channels = x.shape
    x = x[:, : height // 2 * 2, : width // 2 * 2]
    parts = x.reshape(batch, height // 2, 2, width // 2, 2, channels)
    return parts.mean(axis=(2, 4))
