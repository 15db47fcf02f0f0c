"""Layers of a discrete network: ReLU, linear maps, batch normalisation.

Every operation with weights is a chain of such units. A unit has its kernels, and a
scale and an offset of its batch normalisation, in ``params``; the running mean and
variance in ``batch_stats``. All functions are pure: a training pass returns the
moments of its batch, and the running averages are updated from them at the end.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax.numpy as jnp

from nasjax import layers, ops
from nasjax.base import Array, Tree
from nasjax.network import norm

#: Height and width of a feature map.
Size = tuple[int, int]


class Context(NamedTuple):
    """How a pass over a network is computed.

    Attributes:
      train: batch normalisation by the moments of the batch, not by the running
        averages.
      axis_name: of the devices whose batches are normalised together; None for
        each its own.
      depthwise: form of the depthwise convolution (`layers.depthwise`).
    """

    train: bool = False
    axis_name: str | None = None
    depthwise: str = "auto"


class Unit(NamedTuple):
    """ReLU, linear maps, batch normalisation.

    Attributes:
      shapes: ``(inputs, outputs) -> {name: shape}`` of the kernels, in the order
        of the maps; channels.
      apply: ``(kernels, x, stride, context) -> y``, the maps alone.
      macs: ``(inputs, outputs, size of the input, stride) -> int`` for one image.
    """

    shapes: Callable[[int, int], dict[str, tuple[int, ...]]]
    apply: Callable[[Tree, Array, int, Context], Array]
    macs: Callable[[int, int, Size, int], int]


def params_template(
    unit: Unit, inputs: int, outputs: int, *, stack: tuple[int, ...] = ()
) -> dict[str, Tree]:
    """Parameters of a unit, to be drawn by `ops.draw`; ``stack``: leading axes."""
    kernels = {
        name: ops.kernel(*shape, stack=stack)
        for name, shape in unit.shapes(inputs, outputs).items()
    }
    return {**kernels, **affine_template(outputs, stack=stack)}


def affine_template(channels: int, *, stack: tuple[int, ...] = ()) -> dict[str, Tree]:
    """Scale and offset of a batch normalisation."""
    return {
        "scale": ops.Constant((*stack, channels), 1.0),
        "offset": ops.Constant((*stack, channels), 0.0),
    }


def stats_template(channels: int, *, stack: tuple[int, ...] = ()) -> dict[str, Tree]:
    """Running moments of a batch normalisation."""
    return {
        "mean": ops.Constant((*stack, channels), 0.0),
        "var": ops.Constant((*stack, channels), 1.0),
    }


def apply_unit(
    unit: Unit,
    weights: Tree,
    stats: Tree,
    x: Array,
    *,
    stride: int = 1,
    context: Context,
) -> tuple[Array, Tree]:
    """Run a unit.

    Args:
      unit: which.
      weights: of `params_template`.
      stats: of `stats_template`.
      x: ``[C, H, W, B]``.
      stride: 1 or 2.
      context: how.

    Returns:
      ``[C', ceil(H/stride), ceil(W/stride), B]`` and the moments it was normalised by.
    """
    y = unit.apply(weights, layers.relu(x), stride, context)
    return normalise(weights, stats, y, context=context)


def normalise(
    weights: Tree, stats: Tree, x: Array, *, context: Context
) -> tuple[Array, Tree]:
    """Batch normalisation with scale and offset: ``[C, ...]`` and its moments.

    Training takes the moments of the batch and returns them, the variance unbiased,
    for the running averages (PyTorch's rule); evaluation takes the running averages.
    """
    scale, offset = weights["scale"], weights["offset"]
    if context.train:
        y, mean, variance = norm.train(x, scale, offset, context.axis_name)
        return y, {"mean": mean, "var": variance}
    return norm.evaluate(x, scale, offset, stats["mean"], stats["var"]), stats


# --- the maps -------------------------------------------------------------------


def strided(size: Size, stride: int) -> Size:
    """Height and width after a stride."""
    return -(-size[0] // stride), -(-size[1] // stride)


def _pixels(size: Size, stride: int) -> int:
    height, width = strided(size, stride)
    return height * width


def _dense_shapes(inputs: int, outputs: int, *, size: int) -> dict:
    one = (outputs, inputs)
    return {"kernel": one if size == 1 else (*one, size, size)}


def _apply_dense(kernels: Tree, x: Array, stride: int, context: Context) -> Array:
    del context
    kernel = kernels["kernel"]
    run = layers.pointwise if kernel.ndim == 2 else layers.convolution
    return run(x, kernel, stride=stride)


def _dense_macs(inputs: int, outputs: int, at: Size, stride: int, *, size: int) -> int:
    return _pixels(at, stride) * inputs * outputs * size * size


def dense(size: int) -> Unit:
    """A k×k convolution."""
    return Unit(
        partial(_dense_shapes, size=size), _apply_dense, partial(_dense_macs, size=size)
    )


def _separable_shapes(inputs: int, outputs: int, *, size: int) -> dict:
    return {"depthwise": (inputs, size, size), "pointwise": (outputs, inputs)}


def _apply_separable(
    kernels: Tree, x: Array, stride: int, context: Context, *, dilation: int
) -> Array:
    x = layers.depthwise(
        x,
        kernels["depthwise"],
        stride=stride,
        dilation=dilation,
        form=context.depthwise,
    )
    return layers.pointwise(x, kernels["pointwise"])


def _separable_macs(
    inputs: int, outputs: int, at: Size, stride: int, *, size: int
) -> int:
    return _pixels(at, stride) * inputs * (size * size + outputs)


def separable(size: int, *, dilation: int = 1) -> Unit:
    """A depthwise k×k and a pointwise convolution."""
    return Unit(
        partial(_separable_shapes, size=size),
        partial(_apply_separable, dilation=dilation),
        partial(_separable_macs, size=size),
    )


def _asymmetric_shapes(inputs: int, outputs: int, *, size: int) -> dict:
    return {"row": (outputs, inputs, 1, size), "column": (outputs, outputs, size, 1)}


def _apply_asymmetric(kernels: Tree, x: Array, stride: int, context: Context) -> Array:
    del context
    x = layers.rectangular(x, kernels["row"], strides=(1, stride))
    return layers.rectangular(x, kernels["column"], strides=(stride, 1))


def _asymmetric_macs(
    inputs: int, outputs: int, at: Size, stride: int, *, size: int
) -> int:
    height, width = strided(at, stride)
    row = at[0] * width * inputs * outputs * size
    return row + height * width * outputs * outputs * size


def asymmetric(size: int) -> Unit:
    """A 1×k convolution, strided along the width, then a k×1 along the height."""
    return Unit(
        partial(_asymmetric_shapes, size=size),
        _apply_asymmetric,
        partial(_asymmetric_macs, size=size),
    )


def _apply_halves(kernels: Tree, x: Array, stride: int, context: Context) -> Array:
    del context
    # An odd height or width is padded, where the reference code fails.
    odd = [(0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2), (0, 0)]
    shifted = jnp.pad(x, odd)[:, 1:, 1:]
    halves = (
        layers.pointwise(x, kernels["even"], stride=stride),
        layers.pointwise(shifted, kernels["odd"], stride=stride),
    )
    return jnp.concatenate(halves)


def _halves_macs(inputs: int, outputs: int, at: Size, stride: int) -> int:
    return _pixels(at, stride) * inputs * outputs


#: Factorized reduce: two strided 1×1 convolutions, the second one pixel further.
FACTORIZED_REDUCE = Unit(ops.factorized_reduce_shapes, _apply_halves, _halves_macs)
#: A 1×1 convolution: how a cell takes in its inputs.
POINTWISE = dense(1)
