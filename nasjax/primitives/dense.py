"""Dense convolutions."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from nasjax.base import Array
from nasjax.primitives.common import apart, as_given, undo_stride


def pointwise(x: Array, kernel: Array, *, stride: int = 1) -> Array:
    """1×1 convolution.

    Args:
      x: ``[C, H, W, B]``.
      kernel: ``[C', C]`` (PyTorch's OIHW without its last two axes).
      stride: 1 or 2; takes every ``stride``-th pixel from the first.

    Returns:
      ``[C', H/stride, W/stride, B]``.
    """
    if stride > 1:
        x = x[:, ::stride, ::stride]
    return _pointwise(x, kernel.astype(x.dtype))


def _product(kernel: Array, x: Array) -> Array:
    """``[C', C]`` times ``[C, H, W, B]``."""
    return (kernel @ x.reshape(len(x), -1)).reshape(-1, *x.shape[1:])


def _outer(x: Array, y: Array) -> Array:
    """``[C, C']``: the products of two arrays' channels, summed over all else."""
    return jnp.einsum("cn,on->co", x.reshape(len(x), -1), y.reshape(len(y), -1))


@jax.custom_vjp
def _pointwise(x: Array, kernel: Array) -> Array:
    return apart(_product)(kernel, x)


def _pointwise_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return _pointwise(x, kernel), (x, kernel)


def _pointwise_backward(
    residuals: tuple[Array, Array], cotangent: Array
) -> tuple[Array, Array]:
    x, kernel = residuals
    # The input, which seldom has fewer channels, on the left: three times as fast as
    # on the right where a cell's input of 4C channels is brought to C.
    taps = apart(_outer)(x, cotangent)
    return apart(_product)(kernel.T, cotangent), taps.T


_pointwise.defvjp(_pointwise_forward, _pointwise_backward)


def convolution(
    x: Array, kernel: Array, *, stride: int = 1, form: str = "auto"
) -> Array:
    """Dense k×k convolution, k odd.

    Args:
      x: ``[C, H, W, B]``.
      kernel: ``[C', C, k, k]`` (OIHW).
      stride: 1 or 2.
      form: "plain" (one convolution in our layout), "canonical" (transposed to
        NHWC, with gradients of its own: inside a loop the CPU compiler hands no
        other layout to its fast convolution, a factor of twenty) or "auto" (by
        backend).

    Returns:
      ``[C', ceil(H/stride), ceil(W/stride), B]``.

    Raises:
      ValueError: an unknown form.
    """
    if form == "auto":
        form = "canonical" if jax.default_backend() == "cpu" else "plain"
    if form not in ("canonical", "plain"):
        raise ValueError(f"{form=} is not one of auto, canonical, plain")
    run = _convolution_canonical if form == "canonical" else _convolution_plain
    return run(x, kernel.astype(x.dtype), stride)


def _convolution_plain(x: Array, kernel: Array, stride: int) -> Array:
    pad = kernel.shape[-1] // 2
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        [(pad, pad)] * 2,
        dimension_numbers=("CHWN", "OIHW", "CHWN"),
    )


def _nhwc(lhs: Array, rhs: Array, stride: int, pad: int) -> Array:
    return lax.conv_general_dilated(
        lhs,
        rhs,
        (stride, stride),
        [(pad, pad)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _convolution_canonical(x: Array, kernel: Array, stride: int) -> Array:
    pad = kernel.shape[-1] // 2
    y = _nhwc(
        jnp.transpose(x, (3, 1, 2, 0)),
        jnp.transpose(kernel, (2, 3, 1, 0)),
        stride,
        pad,
    )
    return as_given(jnp.transpose(y, (3, 1, 2, 0)))


def _convolution_forward(
    x: Array, kernel: Array, stride: int
) -> tuple[Array, tuple[Array, Array]]:
    return _convolution_canonical(x, kernel, stride), (x, kernel)


def _convolution_backward(
    stride: int, residuals: tuple[Array, Array], cotangent: Array
) -> tuple[Array, Array]:
    x, kernel = residuals
    full = undo_stride(cotangent, x.shape[1:3], stride)
    flipped = jnp.transpose(kernel[:, :, ::-1, ::-1], (1, 0, 2, 3))
    input_gradient = _convolution_canonical(full, flipped, 1)
    # The weight gradient is a convolution too, with the input's channels as its
    # batch and the batch as its channels: [C, H, W, B] is NHWC already.
    taps = _nhwc(x, jnp.transpose(full, (1, 2, 3, 0)), 1, kernel.shape[-1] // 2)
    return input_gradient, jnp.transpose(taps, (3, 0, 1, 2))


_convolution_canonical.defvjp(_convolution_forward, _convolution_backward)


def rectangular(x: Array, kernel: Array, *, strides: tuple[int, int]) -> Array:
    """Dense h×w convolution, h and w odd, padded to keep the size at stride 1.

    Args:
      x: ``[C, H, W, B]``.
      kernel: ``[C', C, h, w]`` (OIHW).
      strides: along H and W.

    Returns:
      ``[C', ceil(H/strides[0]), ceil(W/strides[1]), B]``.
    """
    y = lax.conv_general_dilated(
        jnp.transpose(x, (3, 1, 2, 0)),
        jnp.transpose(kernel.astype(x.dtype), (2, 3, 1, 0)),
        strides,
        [(size // 2, size // 2) for size in kernel.shape[2:]],
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    return jnp.transpose(y, (3, 1, 2, 0))
