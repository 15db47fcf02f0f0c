"""Depthwise convolution: one function, a form for each backend."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from nasjax.base import Array
from nasjax.layers.common import (
    expand,
    strided_size,
    tap,
    undo_stride,
    zeros_around,
)


def _depthwise_grouped(x: Array, kernel: Array, stride: int, dilation: int) -> Array:
    """The compiler's own grouped convolution: cuDNN on a GPU, very slow on CPU."""
    pad = dilation * (kernel.shape[-1] // 2)
    return lax.conv_general_dilated(
        x,
        kernel[:, None],
        (stride, stride),
        [(pad, pad)] * 2,
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("CHWN", "OIHW", "CHWN"),
        feature_group_count=x.shape[0],
    )


def _shift_and_add(
    x: Array, kernel: Array, stride: int, dilation: int, *, inline: bool
) -> Array:
    """The sum over taps of shifted copies: one fused pass, forward only."""
    padded = zeros_around(x, dilation * (kernel.shape[-1] // 2))
    run = _inline_sum_of_taps if inline else _sum_of_taps
    return run(padded, kernel, strided_size(x, stride), stride, dilation)


def _taps_summed(
    padded: Array, kernel: Array, size: tuple[int, int], stride: int, dilation: int
) -> Array:
    k = kernel.shape[-1]
    terms = [
        expand(kernel[:, i, j]) * tap(padded, i * dilation, j * dilation, size, stride)
        for i in range(k)
        for j in range(k)
    ]
    return sum(terms[1:], terms[0])


# Jitted, as are other primitives of many small parts, to be traced and lowered once for
# all its calls. What is fused with its surroundings stands outside, such as the padding
# above: a compiler that shares calls fuses nothing across their edge. Or it is inline:
# traced once, but written out where it is used.
_STATIC = ("size", "stride", "dilation")
_sum_of_taps = jax.jit(_taps_summed, static_argnames=_STATIC)
_inline_sum_of_taps = jax.jit(_taps_summed, static_argnames=_STATIC, inline=True)


def _bands(width: int, k: int, stride: int, dilation: int) -> np.ndarray:
    """``[k, W', W]`` selectors: (j, o, w) is 1 where tap j of output o reads w."""
    out = np.arange(-(-width // stride))[:, None] * stride - dilation * (k // 2)
    taps = np.arange(k)[:, None, None] * dilation
    return (out + taps == np.arange(width)).astype(np.float32)


def _rows(x: Array, k: int, stride: int, dilation: int) -> Array:
    """``[C, H', k, W, B]``: the k rows that each row of the output reads."""
    pad = dilation * (k // 2)
    span = stride * (strided_size(x, stride)[0] - 1) + 1
    padded = jnp.pad(x, ((0, 0), (pad, pad), (0, 0), (0, 0)))
    starts = range(0, k * dilation, dilation)
    return jnp.stack([padded[:, i : i + span : stride] for i in starts], axis=2)


def _depthwise_banded(x: Array, kernel: Array, stride: int, dilation: int) -> Array:
    """One batched matrix product per channel over (row tap, W).

    The k taps along W become a ``[W', W]`` band, so the convolution and both its
    gradients are matrix products: many more multiplications, far fewer passes over
    memory than a grouped convolution's gradient takes on a CPU.
    """
    k = kernel.shape[-1]
    bands = jnp.asarray(_bands(x.shape[2], k, stride, dilation), x.dtype)
    band = jnp.einsum("cij,jow->ciow", kernel, bands)
    rows = _rows(x, k, stride, dilation)
    return jnp.einsum("ciow,chiwb->chob", band, rows)


def _depthwise_shift(x: Array, kernel: Array, stride: int, dilation: int) -> Array:
    return _shift(x, kernel, stride, dilation, False)


def inline_shift(
    x: Array, kernel: Array, *, stride: int = 1, dilation: int = 1
) -> Array:
    """`depthwise` of the form "shift", to be fused with what reads it."""
    return _shift(x, kernel, stride, dilation, True)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _shift(x: Array, kernel: Array, stride: int, dilation: int, inline: bool) -> Array:
    return _shift_and_add(x, kernel, stride, dilation, inline=inline)


def _shift_forward(
    x: Array, kernel: Array, stride: int, dilation: int, inline: bool
) -> tuple[Array, tuple[Array, Array]]:
    return _shift(x, kernel, stride, dilation, inline), (x, kernel)


def _shift_backward(
    stride: int,
    dilation: int,
    inline: bool,
    residuals: tuple[Array, Array],
    cotangent: Array,
) -> tuple[Array, Array]:
    """Gradients of shift-and-add without autodiff's k² copies of the input."""
    del inline
    x, kernel = residuals
    input_gradient = _transposed(cotangent, kernel, x.shape[1:3], stride, dilation)
    return input_gradient, _taps(x, cotangent, kernel.shape[-1], stride, dilation)


def _transposed(
    cotangent: Array, kernel: Array, size: tuple[int, ...], stride: int, dilation: int
) -> Array:
    """Input gradient: odd kernels, symmetric padding, so the flipped kernel."""
    full = undo_stride(cotangent, size, stride)
    return inline_shift(full, kernel[:, ::-1, ::-1], dilation=dilation)


#: Columns of the output that one step of a weight gradient's loop covers, at most.
_COLUMNS = 8


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _taps(x: Array, cotangent: Array, k: int, stride: int, dilation: int) -> Array:
    """Weight gradient ``[C, k, k]``: shift-and-add with the roles exchanged.

    A pixel of the cotangent multiplies the k×k window of ``x`` that its output read.
    The windows, ``[C, k, k, B]``, are summed block after block, the batch at the end.
    """
    padded = zeros_around(x, dilation * (k // 2))
    return _sum_of_windows(padded, cotangent, k, stride, dilation)


@partial(jax.jit, static_argnames=("k", "stride", "dilation"))
def _sum_of_windows(
    padded: Array, cotangent: Array, k: int, stride: int, dilation: int
) -> Array:
    channels, height, width, batch = cotangent.shape
    span = dilation * (k - 1) + 1
    columns = max(n for n in range(1, _COLUMNS + 1) if width % n == 0)
    blocks = width // columns
    at = partial(lax.dynamic_slice, allow_negative_indices=False)

    def product(row: Array, column: Array) -> Array:
        start = (0, row * stride, column * stride, 0)
        seen = at(padded, start, (channels, span, span, batch))
        window = seen[:, ::dilation, ::dilation].astype(jnp.float32)
        pixel = at(cotangent, (0, row, column, 0), (channels, 1, 1, batch))
        return window * pixel.astype(jnp.float32)

    def step(number: Array, total: Array) -> Array:
        row, first = lax.div(number, blocks), lax.rem(number, blocks) * columns
        for column in range(columns):
            total += product(row, first + column)
        return total

    zeros = jnp.zeros((channels, k, k, batch), jnp.float32)
    total = lax.fori_loop(0, height * blocks, step, zeros)
    return total.sum(axis=-1).astype(padded.dtype)


def _taps_forward(
    x: Array, cotangent: Array, k: int, stride: int, dilation: int
) -> tuple[Array, tuple[Array, Array]]:
    return _taps(x, cotangent, k, stride, dilation), (x, cotangent)


def _taps_backward(
    k: int, stride: int, dilation: int, residuals: tuple[Array, Array], bar: Array
) -> tuple[Array, Array]:
    """Linear in both arguments, so the same three functions; for second derivatives."""
    del k
    x, cotangent = residuals
    x_bar = _transposed(cotangent, bar, x.shape[1:3], stride, dilation)
    return x_bar, _depthwise_shift(x, bar, stride, dilation)


_taps.defvjp(_taps_forward, _taps_backward)
_shift.defvjp(_shift_forward, _shift_backward)


_DEPTHWISE_FORMS: dict[str, Callable[[Array, Array, int, int], Array]] = {
    "banded": _depthwise_banded,
    "grouped": _depthwise_grouped,
    "shift": _depthwise_shift,
}


#: The form ``"auto"`` takes on each backend; any other backend takes "grouped".
_DEPTHWISE_DEFAULTS = {"cpu": "shift"}


DEPTHWISE_FORMS = ("auto", *sorted(_DEPTHWISE_FORMS))


def depthwise(
    x: Array,
    kernel: Array,
    *,
    stride: int = 1,
    dilation: int = 1,
    form: str = "auto",
) -> Array:
    """Depthwise k×k convolution, k odd.

    Args:
      x: ``[C, H, W, B]``.
      kernel: ``[C, k, k]`` (PyTorch's ``[C, 1, k, k]`` without its second axis).
      stride: 1 or 2.
      dilation: 1 or 2.
      form: how it is computed, never what: "grouped" (the compiler's grouped
        convolution), "shift" (shift-and-add with gradients of its own), "banded"
        (a batched matrix product) or "auto" (by backend).

    Returns:
      ``[C, ceil(H/stride), ceil(W/stride), B]``.

    Raises:
      ValueError: an unknown form.
    """
    if form == "auto":
        form = _DEPTHWISE_DEFAULTS.get(jax.default_backend(), "grouped")
    if form not in _DEPTHWISE_FORMS:
        raise ValueError(f"{form=} is not one of {', '.join(DEPTHWISE_FORMS)}")
    return _DEPTHWISE_FORMS[form](x, kernel.astype(x.dtype), stride, dilation)
