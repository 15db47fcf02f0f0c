"""Pooling."""

from functools import partial, reduce

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from nasjax.base import Array
from nasjax.layers.common import no_inline_on_cpu, strided_size, tap, undo_stride
from nasjax.layers.depthwise import inline_shift


def _window_counts(size: int, stride: int) -> np.ndarray:
    """How many of the three taps along one axis fall inside the image."""
    centres = np.arange(-(-size // stride)) * stride
    return np.minimum(centres + 1, size - 1) - np.maximum(centres - 1, 0) + 1


def avg_pool_3x3(x: Array, *, stride: int = 1) -> Array:
    """3×3 average, padding 1, the padding not counted.

    Args:
      x: ``[C, H, W, B]``.
      stride: 1 or 2.

    Returns:
      ``[C, ceil(H/stride), ceil(W/stride), B]``.
    """
    ones = jnp.ones((x.shape[0], 3, 3), x.dtype)
    counts = np.outer(
        _window_counts(x.shape[1], stride), _window_counts(x.shape[2], stride)
    )
    scale = jnp.asarray(1.0 / counts, x.dtype)
    return _box_sum(x, ones, stride) * scale[None, :, :, None]


def _box_sum(x: Array, ones: Array, stride: int) -> Array:
    # A constant kernel: the weight gradient is never asked for, so it costs nothing.
    return inline_shift(x, ones, stride=stride)


def _max_taps(x: Array, stride: int) -> list[Array]:
    lowest = jnp.asarray(-jnp.inf, x.dtype)
    padded = lax.pad(x, lowest, [(0, 0, 0), (1, 1, 0), (1, 1, 0), (0, 0, 0)])
    size = strided_size(x, stride)
    return [tap(padded, i, j, size, stride) for i in range(3) for j in range(3)]


@partial(jax.custom_vjp, nondiff_argnums=(1,))
@partial(jax.jit, static_argnums=1)
def _max_pool(x: Array, stride: int) -> Array:
    return reduce(jnp.maximum, _max_taps(x, stride))


def _max_pool_forward(x: Array, stride: int) -> tuple[Array, tuple[Array, Array]]:
    result = _max_pool(x, stride)
    return result, (x, result)


@partial(jax.jit, static_argnums=0)
def _max_pool_backward(
    stride: int, residuals: tuple[Array, Array], cotangent: Array
) -> tuple[Array]:
    """Send each cotangent to the first tap that holds the maximum."""
    x, result = residuals
    first = no_inline_on_cpu(_FIRST_TAP[stride])(x, result)
    size = x.shape[1], x.shape[2]
    # Output (r, c) read pixel (stride*r + i - 1, stride*c + j - 1) by tap (i, j).
    around = [(0, 0, 0), (1, 1, 0), (1, 1, 0), (0, 0, 0)]
    zero = jnp.zeros((), cotangent.dtype)
    # Where nothing was read nothing is sent, whatever tap stands there.
    sent = lax.pad(undo_stride(cotangent, size, stride), zero, around)
    holds = lax.pad(undo_stride(first, size, stride), jnp.int8(-1), around)
    terms = []
    for number in range(9):
        window = partial(tap, i=2 - number // 3, j=2 - number % 3, size=size, stride=1)
        own = window(sent)
        seen = window(holds) == jnp.int8(number)
        terms.append(lax.select(seen, own, lax.full_like(own, 0)))
    return (sum(terms[1:], terms[0]),)


def _first_tap(x: Array, result: Array, *, stride: int) -> Array:
    """Which tap of each window, of nine, is the first to hold the maximum."""
    first = jnp.full(result.shape, -1, jnp.int8)
    for number, one in reversed(list(enumerate(_max_taps(x, stride)))):
        # Not `jnp.where`, a jitted function: a call within one that stands apart
        # stands apart as well, nine passes for one.
        first = lax.select(one == result, lax.full_like(first, number), first)
    return first


_FIRST_TAP = {stride: partial(_first_tap, stride=stride) for stride in (1, 2)}


_max_pool.defvjp(_max_pool_forward, _max_pool_backward)


def max_pool_3x3(x: Array, *, stride: int = 1) -> Array:
    """3×3 maximum, padding 1; ties send their gradient to the first tap.

    Args:
      x: ``[C, H, W, B]``.
      stride: 1 or 2.

    Returns:
      ``[C, ceil(H/stride), ceil(W/stride), B]``.
    """
    return _max_pool(x, stride)


def avg_pool_2x2(x: Array) -> Array:
    """2×2 average with stride 2 of ``[C, H, W, B]``; an odd last row is left out."""
    channels, height, width, batch = x.shape
    x = x[:, : height // 2 * 2, : width // 2 * 2]
    return x.reshape(channels, height // 2, 2, width // 2, 2, batch).mean(axis=(2, 4))


def max_pool_2x2(x: Array) -> Array:
    """2×2 maximum with stride 2 of ``[C, H, W, B]``; an odd last row stands alone."""
    channels, height, width, batch = x.shape
    pads = ((0, 0), (0, height % 2), (0, width % 2), (0, 0))
    x = jnp.pad(x, pads, constant_values=-jnp.inf)
    rows, columns = x.shape[1] // 2, x.shape[2] // 2
    return x.reshape(channels, rows, 2, columns, 2, batch).max(axis=(2, 4))
