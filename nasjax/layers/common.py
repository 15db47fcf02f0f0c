"""What several primitives share."""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental.xla_metadata import set_xla_metadata

from nasjax.base import Array

T = TypeVar("T")


def expand(per_channel: Array) -> Array:
    """``[C]`` as ``[C, 1, 1, 1]``."""
    return per_channel[:, None, None, None]


def zeros_around(x: Array, pad: int) -> Array:
    """``[C, H, W, B]`` with ``pad`` rows and columns of zeros on every side."""
    # Not `jnp.pad`, a jitted function: a call that would be fused with nothing.
    around = (pad, pad, 0)
    return lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), around, around, (0, 0, 0)])


def undo_stride(cotangent: Array, size: tuple[int, ...], stride: int) -> Array:
    """Zeros between outputs, and at the end where the stride left pixels out."""
    if stride == 1:
        return cotangent
    spread = [
        (0, full - 1 - stride * (small - 1), stride - 1)
        for full, small in zip(size, cotangent.shape[1:3], strict=True)
    ]
    zero = jnp.zeros((), cotangent.dtype)
    return lax.pad(cotangent, zero, [(0, 0, 0), *spread, (0, 0, 0)])


def tap(padded: Array, i: int, j: int, size: tuple[int, int], stride: int) -> Array:
    """The window of ``padded`` that tap (i, j) of a kernel multiplies."""
    height, width = size
    return lax.slice(
        padded,
        (0, i, j, 0),
        (
            padded.shape[0],
            i + stride * (height - 1) + 1,
            j + stride * (width - 1) + 1,
            padded.shape[3],
        ),
        (1, stride, stride, 1),
    )


def strided_size(x: Array, stride: int) -> tuple[int, int]:
    """Height and width of what a stride leaves of ``x``."""
    return -(-x.shape[1] // stride), -(-x.shape[2] // stride)


def no_inline_on_cpu(function: Callable[..., T], *static: str) -> Callable[..., T]:
    """The function as a call of its own, which a CPU compiler fuses with nothing.

    For products and reductions of ``[C, H, W, B]`` as a matrix. The compiler would fuse
    their reshaping into the loop that makes the array, which then finds its place pixel
    by pixel with divisions, six times slower, and may be run once for every reader.
    And for what is joined of parts of an array that is a row of a stack: it would take
    the row there, part by part and pixel by pixel, three times slower.

    Args:
      function: of arrays, pure, the same object whenever it is used.
      *static: names of its arguments that are no arrays.
    """
    if jax.default_backend() != "cpu":
        return function
    jitted = jax.jit(function, static_argnames=static)
    return set_xla_metadata(inlineable="false")(jitted)
