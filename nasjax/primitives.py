"""Array primitives the candidate operations are built from, on ``[C, H, W, B]``.

All are differentiable twice (second-order DARTS needs it). Padding is that of the
PyTorch reference: ``dilation * (kernel // 2)`` zeros on every side, so a stride of
two maps ``H`` to ``ceil(H / 2)``.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from nasjax.base import Array

#: Epsilon of every batch normalisation (spec section 1).
BATCH_NORM_EPSILON = 1e-5


def _expand(per_channel: Array) -> Array:
    return per_channel[:, None, None, None]


def _sum_per_channel(x: Array) -> Array:
    # Rows first: the inner loop then runs over the contiguous batch axis.
    return jnp.sum(x, axis=(1, 2)).sum(axis=1)


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
    count = x.size // x.shape[0]

    def mean(x: Array) -> Array:
        own = _sum_per_channel(x) / count
        return own if axis_name is None else lax.pmean(own, axis_name)

    wide = x.astype(jnp.float32)
    centred = wide - _expand(mean(wide))
    variance = mean(centred * centred)
    return (centred * _expand(lax.rsqrt(variance + epsilon))).astype(x.dtype)


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
    flat = _pointwise(x.reshape(x.shape[0], -1), kernel.astype(x.dtype))
    return flat.reshape(-1, *x.shape[1:])


@jax.custom_vjp
def _pointwise(x: Array, kernel: Array) -> Array:
    return kernel @ x  # [C', C] [C, HWB]


def _pointwise_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return _pointwise(x, kernel), (x, kernel)


def _pointwise_backward(
    residuals: tuple[Array, Array], cotangent: Array
) -> tuple[Array, Array]:
    x, kernel = residuals
    # The input on the left and in the shape of the forward product: else the CPU
    # compiler computes the depthwise convolution before it once more, transposed.
    taps = jnp.einsum("cn,on->co", x, cotangent)
    return jnp.einsum("oc,on->cn", kernel, cotangent), taps.T


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
    return jnp.transpose(y, (3, 1, 2, 0))


def _convolution_forward(
    x: Array, kernel: Array, stride: int
) -> tuple[Array, tuple[Array, Array]]:
    return _convolution_canonical(x, kernel, stride), (x, kernel)


def _convolution_backward(
    stride: int, residuals: tuple[Array, Array], cotangent: Array
) -> tuple[Array, Array]:
    x, kernel = residuals
    full = _undo_stride(cotangent, x.shape[1:3], stride)
    flipped = jnp.transpose(kernel[:, :, ::-1, ::-1], (1, 0, 2, 3))
    input_gradient = _convolution_canonical(full, flipped, 1)
    # The weight gradient is a convolution too, with the input's channels as its
    # batch and the batch as its channels: [C, H, W, B] is NHWC already.
    taps = _nhwc(x, jnp.transpose(full, (1, 2, 3, 0)), 1, kernel.shape[-1] // 2)
    return input_gradient, jnp.transpose(taps, (3, 0, 1, 2))


_convolution_canonical.defvjp(_convolution_forward, _convolution_backward)


def _undo_stride(cotangent: Array, size: tuple[int, ...], stride: int) -> Array:
    """Zeros between outputs, and at the end where the stride left pixels out."""
    if stride == 1:
        return cotangent
    spread = [
        (0, full - 1 - stride * (small - 1), stride - 1)
        for full, small in zip(size, cotangent.shape[1:3], strict=True)
    ]
    zero = jnp.zeros((), cotangent.dtype)
    return lax.pad(cotangent, zero, [(0, 0, 0), *spread, (0, 0, 0)])


# --- depthwise convolution: one function, a form for each backend ---------------


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


def _tap(padded: Array, i: int, j: int, size: tuple[int, int], stride: int) -> Array:
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


def _strided_size(x: Array, stride: int) -> tuple[int, int]:
    return -(-x.shape[1] // stride), -(-x.shape[2] // stride)


def _shift_and_add(x: Array, kernel: Array, stride: int, dilation: int) -> Array:
    """The sum over taps of shifted copies: one fused pass, forward only."""
    k = kernel.shape[-1]
    pad = dilation * (k // 2)
    size = _strided_size(x, stride)
    padded = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    terms = [
        _expand(kernel[:, i, j])
        * _tap(padded, i * dilation, j * dilation, size, stride)
        for i in range(k)
        for j in range(k)
    ]
    return sum(terms[1:], terms[0])


def _bands(width: int, k: int, stride: int, dilation: int) -> np.ndarray:
    """``[k, W', W]`` selectors: (j, o, w) is 1 where tap j of output o reads w."""
    out = np.arange(-(-width // stride))[:, None] * stride - dilation * (k // 2)
    taps = np.arange(k)[:, None, None] * dilation
    return (out + taps == np.arange(width)).astype(np.float32)


def _rows(x: Array, k: int, stride: int, dilation: int) -> Array:
    """``[C, H', k, W, B]``: the k rows that each row of the output reads."""
    pad = dilation * (k // 2)
    span = stride * (_strided_size(x, stride)[0] - 1) + 1
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


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _depthwise_shift(x: Array, kernel: Array, stride: int, dilation: int) -> Array:
    return _shift_and_add(x, kernel, stride, dilation)


def _depthwise_shift_forward(
    x: Array, kernel: Array, stride: int, dilation: int
) -> tuple[Array, tuple[Array, Array]]:
    return _shift_and_add(x, kernel, stride, dilation), (x, kernel)


def _depthwise_shift_backward(
    stride: int, dilation: int, residuals: tuple[Array, Array], cotangent: Array
) -> tuple[Array, Array]:
    """Gradients of shift-and-add without autodiff's k² copies of the input."""
    x, kernel = residuals
    full = _undo_stride(cotangent, x.shape[1:3], stride)
    # Odd kernels with symmetric padding: the transpose is the flipped kernel.
    input_gradient = _depthwise_shift(full, kernel[:, ::-1, ::-1], 1, dilation)
    return input_gradient, _taps(x, cotangent, kernel.shape[-1], stride, dilation)


def _taps(x: Array, cotangent: Array, k: int, stride: int, dilation: int) -> Array:
    """Weight gradient ``[C, k, k]``: a batched matrix product, then its diagonals.

    ``products[c, h, i, w, o]`` sums x at pixel w of the i-th row around h times the
    cotangent at o; tap j is the diagonal where output o reads pixel w.
    """
    rows = _rows(x, k, stride, dilation)  # [C, H', k, W, B]
    products = jnp.einsum("chiwb,chob->chiwo", rows, cotangent)
    bands = jnp.asarray(_bands(x.shape[2], k, stride, dilation), x.dtype)
    return jnp.einsum("ciwo,jow->cij", products.sum(axis=1), bands)


_depthwise_shift.defvjp(_depthwise_shift_forward, _depthwise_shift_backward)

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


# --- 3×3 pooling ----------------------------------------------------------------


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
    return _depthwise_shift(x, ones, stride, 1)


def _max_taps(x: Array, stride: int) -> list[Array]:
    lowest = jnp.asarray(-jnp.inf, x.dtype)
    padded = lax.pad(x, lowest, [(0, 0, 0), (1, 1, 0), (1, 1, 0), (0, 0, 0)])
    size = _strided_size(x, stride)
    return [_tap(padded, i, j, size, stride) for i in range(3) for j in range(3)]


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def _max_pool(x: Array, stride: int) -> Array:
    taps = _max_taps(x, stride)
    result = taps[0]
    for tap in taps[1:]:
        result = jnp.maximum(result, tap)
    return result


def _max_pool_forward(x: Array, stride: int) -> tuple[Array, tuple[Array, Array]]:
    result = _max_pool(x, stride)
    return result, (x, result)


def _max_pool_backward(
    stride: int, residuals: tuple[Array, Array], cotangent: Array
) -> tuple[Array]:
    """Send each cotangent to the first tap that holds the maximum."""
    x, result = residuals
    height, width = x.shape[1:3]
    rows, columns = result.shape[1:3]
    free = jnp.ones(result.shape, bool)
    gradient = jnp.zeros_like(x)
    zero = jnp.zeros((), x.dtype)
    for index, tap in enumerate(_max_taps(x, stride)):
        i, j = divmod(index, 3)
        hit = free & (tap == result)
        free &= ~hit
        part = jnp.where(hit, cotangent, zero)
        # Output (r, c) read pixel (stride*r + i - 1, stride*c + j - 1).
        low_high = [
            (i - 1, height - i - stride * (rows - 1), stride - 1),
            (j - 1, width - j - stride * (columns - 1), stride - 1),
        ]
        gradient += lax.pad(part, zero, [(0, 0, 0), *low_high, (0, 0, 0)])
    return (gradient,)


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


def affine(x: Array, scale: Array, offset: Array) -> Array:
    """``x * scale + offset`` by channel: ``[C, H, W, B]``, ``[C]``, ``[C]``."""
    return x * _expand(scale.astype(x.dtype)) + _expand(offset.astype(x.dtype))


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
