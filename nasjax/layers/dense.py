"""Dense convolutions."""

from collections.abc import Callable
from functools import partial, reduce

import jax
import jax.numpy as jnp
from jax import lax

from nasjax.base import Array
from nasjax.layers.common import no_inline_on_cpu


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
    return no_inline_on_cpu(_product)(kernel, x)


def _pointwise_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return _pointwise(x, kernel), (x, kernel)


def _pointwise_backward(
    residuals: tuple[Array, Array], cotangent: Array
) -> tuple[Array, Array]:
    x, kernel = residuals
    # The input, which seldom has fewer channels, on the left: three times as fast as
    # on the right where a cell's input of 4C channels is brought to C.
    taps = no_inline_on_cpu(_outer)(x, cotangent)
    return no_inline_on_cpu(_product)(kernel.T, cotangent), taps.T


_pointwise.defvjp(_pointwise_forward, _pointwise_backward)


def convolution(
    x: Array, kernel: Array, *, stride: int = 1, form: str = "auto"
) -> Array:
    """Dense k×k convolution, k odd.

    Args:
      x: ``[C, H, W, B]``.
      kernel: ``[C', C, k, k]`` (OIHW).
      stride: 1 or 2.
      form: "plain" (the compiler's convolution; inside a loop on a CPU it is not its
        fast one, a factor of twenty), "stacked" or "windows" (one matrix product,
        less stacked for it ahead in the former where C is not far below C') or "auto"
        (by backend and channels).

    Returns:
      ``[C', ceil(H/stride), ceil(W/stride), B]``.

    Raises:
      ValueError: an unknown form.
    """
    kernel = kernel.astype(x.dtype)
    if form == "auto":
        form = _best_form(kernel)
    if form not in _FORMS:
        raise ValueError(f"{form=} is not one of auto, {', '.join(_FORMS)}")
    return _FORMS[form](x, kernel, stride)


def _best_form(kernel: Array) -> str:
    if jax.default_backend() != "cpu":
        return "plain"
    out_channels, in_channels, k, _ = kernel.shape
    return "windows" if k * in_channels <= out_channels else "stacked"


def _convolution_plain(x: Array, kernel: Array, stride: int) -> Array:
    pad = kernel.shape[-1] // 2
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        [(pad, pad)] * 2,
        dimension_numbers=("CHWN", "OIHW", "CHWN"),
    )


# --- as one matrix product ------------------------------------------------------
#
# "stacked": the input is stacked along W, for each column of the kernel what that
# column reads, [kC, N]. The product with all taps, [kC', kC], is stacked likewise: for
# each row of the kernel, what it adds to the output, which reads the k parts along H
# and sums them.
# Nothing is transposed, and k arrays are made, not k*k as of windows (im2col). With a
# stride the product is made of all rows, twice as many as are read. An image of few
# channels has windows of less than the k parts of its output.


def _read(x: Array, axis: int, tap: int, stride: int) -> Array:
    """``y[i] = x[stride*i + tap]`` along an axis, zero where that is outside."""
    size = x.shape[axis]
    last = stride * (-(-size // stride) - 1)
    edges = [(0, 0, 0)] * x.ndim
    edges[axis] = (-tap, last + 1 + tap - size, 0)
    moved = lax.pad(x, jnp.zeros((), x.dtype), edges)
    return lax.slice_in_dim(moved, 0, last + 1, stride, axis)


def _written(y: Array, axis: int, tap: int, stride: int, size: int) -> Array:
    """The transpose of `_read`: ``x[stride*i + tap] = y[i]`` of ``size`` entries."""
    end = stride * (y.shape[axis] - 1) + 1 + tap
    edges = [(0, 0, 0)] * y.ndim
    edges[axis] = (tap, size - end, stride - 1)
    return lax.pad(y, jnp.zeros((), y.dtype), edges)


def _reaches(size: int) -> range:
    """Where the taps of a k×k kernel are, along either axis, from its centre."""
    return range(-(size // 2), size // 2 + 1)


def _all_columns(x: Array, *, size: int, stride: int) -> Array:
    return jnp.concatenate([_read(x, 2, tap, stride) for tap in _reaches(size)])


def _all_rows(y: Array, *, size: int, stride: int, height: int) -> Array:
    parts = [_written(y, 1, tap, stride, height) for tap in _reaches(size)]
    return jnp.concatenate(parts)


def _columns(x: Array, kernel: Array, stride: int) -> Array:
    """``[C, H, W, B]`` to ``[k*C, H, W', B]``: what each column of a kernel reads."""
    run = no_inline_on_cpu(_all_columns, "size", "stride")
    return run(x, size=kernel.shape[-1], stride=stride)


def _rows(y: Array, kernel: Array, stride: int, height: int) -> Array:
    """``[C', H', W', B]`` to ``[k*C', H, W', B]``: what each of its rows adds to."""
    run = no_inline_on_cpu(_all_rows, "size", "stride", "height")
    return run(y, size=kernel.shape[-1], stride=stride, height=height)


def _convolution_windows(x: Array, kernel: Array, stride: int) -> Array:
    """The product with all windows at once, ``[k*k*C, N]``."""
    taps = _reaches(kernel.shape[-1])
    rows = [_read(x, 1, tap, stride) for tap in taps]
    windows = [_read(row, 2, tap, stride) for row in rows for tap in taps]
    flat = kernel.transpose(0, 2, 3, 1).reshape(len(kernel), -1)
    return _pointwise(jnp.concatenate(windows), flat)


def _flat_taps(kernel: Array) -> Array:
    """``[C', C, k, k]`` as ``[k*C', k*C]``: rows with outputs, columns with inputs."""
    out_channels, in_channels, k, _ = kernel.shape
    return kernel.transpose(2, 0, 3, 1).reshape(k * out_channels, k * in_channels)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _convolution_stacked(x: Array, kernel: Array, stride: int) -> Array:
    rows = no_inline_on_cpu(_product)(_flat_taps(kernel), _columns(x, kernel, stride))
    size = kernel.shape[-1]
    parts = zip(_reaches(size), jnp.split(rows, size), strict=True)
    return reduce(jnp.add, [_read(row, 1, tap, stride) for tap, row in parts])


def _stacked_forward(
    x: Array, kernel: Array, stride: int
) -> tuple[Array, tuple[Array, Array]]:
    return _convolution_stacked(x, kernel, stride), (x, kernel)


def _stacked_backward(
    stride: int, residuals: tuple[Array, Array], cotangent: Array
) -> tuple[Array, Array]:
    x, kernel = residuals
    out_channels, in_channels, k, _ = kernel.shape
    _, height, width, _ = x.shape
    rows_bar = _rows(cotangent, kernel, stride, height)
    kernel_bar = no_inline_on_cpu(_outer)(rows_bar, _columns(x, kernel, stride))
    kernel_bar = kernel_bar.reshape(k, out_channels, k, in_channels)
    columns_bar = no_inline_on_cpu(_product)(_flat_taps(kernel).T, rows_bar)
    parts = zip(_reaches(k), jnp.split(columns_bar, k), strict=True)
    terms = [_written(column, 2, tap, stride, width) for tap, column in parts]
    return reduce(jnp.add, terms), kernel_bar.transpose(1, 3, 0, 2)


_convolution_stacked.defvjp(_stacked_forward, _stacked_backward)

_FORMS: dict[str, Callable[[Array, Array, int], Array]] = {
    "plain": _convolution_plain,
    "stacked": _convolution_stacked,
    "windows": _convolution_windows,
}


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
