"""Candidate operations as values: weights, function and cost of each.

An operation maps ``[C, H, W, B]`` to ``[C, ceil(H/s), ceil(W/s), B]`` for a stride
``s`` of 1 or 2. Batch normalisation has no scale and no offset, as in every
supernet of the DARTS family. Kernels start as PyTorch's do, uniform within
``1/sqrt(fan in)``, because the published settings were tuned on that start.

A space of your own may add to these: an :class:`Operation` is three functions.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nasjax import layers
from nasjax.base import Array, Key, Tree

#: Name -> shape of each weight of a layer.
Shapes = dict[str, tuple[int, ...]]


class Context(NamedTuple):
    """What an operation may depend on beside its input and its weights.

    Attributes:
      depthwise: form of the depthwise convolution (`layers.depthwise`).
      axis_name: of the devices that share a batch; None on one device.
      synchronised: batch normalisation over the batch of all devices, not of each.
      drop: key and rate of one edge, for operations that drop a part of their
        output; None drops nothing.
    """

    depthwise: str = "auto"
    axis_name: str | None = None
    synchronised: bool = True
    drop: Any = None

    def batch_norm(self, x: Array) -> Array:
        """`layers.batch_norm`, over all devices where synchronised."""
        return layers.batch_norm(x, axis_name=self.norm_axis)

    @property
    def norm_axis(self) -> str | None:
        """The devices over which batch normalisation is synchronised."""
        return self.axis_name if self.synchronised else None


#: One device, the backend's own forms, nothing dropped.
PLAIN = Context()


class Operation(NamedTuple):
    """A candidate operation.

    Attributes:
      name: the field's name of it, unique within a space.
      shapes: ``(channels, stride) -> {name: shape}`` of its weights, kernels whose
        first axis is the output's; empty when the operation has none.
      apply: ``(weights, x, stride, context) -> y``.
      macs: ``(channels, height, width, stride) -> int``, multiply-accumulates of
        one image; ``height`` and ``width`` are those of the output.
      is_zero: whether the output is zero whatever the input. Such an operation
        competes in a relaxation, is never evaluated, and is never derived where
        the space says so.
      before_norm: ``apply`` without the batch normalisation that ends it, where one
        does: a backward pass that knows the output then need not compute it again.
        It may be left out; who replaces ``apply`` replaces it too, or sets it to None.
    """

    name: str
    shapes: Callable[[int, int], Shapes]
    apply: Callable[[Tree, Array, int, Context], Array]
    macs: Callable[[int, int, int, int], int]
    is_zero: bool = False
    before_norm: Callable[[Tree, Array, int, Context], Array] | None = None


def _normalised(
    name: str,
    shapes: Callable[[int, int], Shapes],
    before_norm: Callable[[Tree, Array, int, Context], Array],
    macs: Callable[[int, int, int, int], int],
) -> Operation:
    """An operation that ends with batch normalisation."""

    def apply(weights: Tree, x: Array, stride: int, context: Context) -> Array:
        return context.batch_norm(before_norm(weights, x, stride, context))

    return Operation(name, shapes, apply, macs, before_norm=before_norm)


class Kernel(NamedTuple):
    """A weight to be drawn: uniform within ±1/sqrt(fan in)."""

    shape: tuple[int, ...]
    fan_in: int


class Constant(NamedTuple):
    """A weight that starts at one value."""

    shape: tuple[int, ...]
    value: float


def kernel(*shape: int, stack: tuple[int, ...] = ()) -> Kernel:
    """A kernel ``[C', ...]``, whose fan-in is all but its first axis.

    Args:
      *shape: of one kernel.
      stack: leading axes, for that many kernels in one array.
    """
    return Kernel((*stack, *shape), math.prod(shape[1:]))


def draw(key: Key, template: Tree) -> Tree:
    """A tree of float32 arrays from a tree of `Kernel` and `Constant`.

    Consumes the key. All kernels are cut from one draw: a draw each would compile
    for half a minute.
    """
    leaves, structure = jax.tree.flatten(
        template, is_leaf=lambda leaf: isinstance(leaf, Kernel | Constant)
    )
    sizes = [math.prod(x.shape) if isinstance(x, Kernel) else 0 for x in leaves]
    uniform = jax.random.uniform(key, (sum(sizes),), jnp.float32, -1.0, 1.0)
    arrays, start = [], 0
    for leaf, size in zip(leaves, sizes, strict=True):
        if isinstance(leaf, Constant):
            arrays.append(jnp.full(leaf.shape, leaf.value, jnp.float32))
        else:
            part = uniform[start : start + size].reshape(leaf.shape)
            arrays.append(part * (1.0 / math.sqrt(leaf.fan_in)))
            start += size
    return jax.tree.unflatten(structure, arrays)


def _no_weights(channels: int, stride: int) -> Shapes:
    del channels, stride
    return {}


def _no_macs(channels: int, height: int, width: int, stride: int) -> int:
    del channels, height, width, stride
    return 0


# --- none, pooling, skip --------------------------------------------------------


def _apply_none(weights: Tree, x: Array, stride: int, context: Context) -> Array:
    del weights, context
    return jnp.zeros_like(x[:, ::stride, ::stride])


def _max_pool(weights: Tree, x: Array, stride: int, context: Context) -> Array:
    del weights, context
    return layers.max_pool_3x3(x, stride=stride)


def _avg_pool(weights: Tree, x: Array, stride: int, context: Context) -> Array:
    del weights, context
    return layers.avg_pool_3x3(x, stride=stride)


def factorized_reduce_shapes(in_channels: int, out_channels: int) -> Shapes:
    """Kernels of the two halves, ``[C'/2, C]`` each."""
    half = out_channels // 2
    return {"even": (half, in_channels), "odd": (out_channels - half, in_channels)}


def factorized_reduce(weights: Tree, x: Array, *, context: Context = PLAIN) -> Array:
    """Halve the resolution: ReLU, two strided 1×1 convolutions, concat, BN.

    The second convolution reads ``x`` shifted by one pixel in both axes, so every
    pixel contributes. An odd height or width is padded with one row or column of
    zeros for it (the reference code fails there).

    Args:
      weights: of `factorized_reduce_shapes`.
      x: ``[C, H, W, B]``.
      context: how batch normalisation is computed.

    Returns:
      ``[C', ceil(H/2), ceil(W/2), B]``.
    """
    return context.batch_norm(reduced_halves(x, weights))


def reduced_halves(x: Array, weights: Tree) -> Array:
    """`factorized_reduce` before its batch normalisation."""
    x = layers.relu(x)
    odd_rows, odd_columns = x.shape[1] % 2, x.shape[2] % 2
    shifted = jnp.pad(x, ((0, 0), (0, odd_rows), (0, odd_columns), (0, 0)))[:, 1:, 1:]
    halves = (
        layers.pointwise(x, weights["even"], stride=2),
        layers.pointwise(shifted, weights["odd"], stride=2),
    )
    return jnp.concatenate(halves)


def _skip_shapes(channels: int, stride: int) -> Shapes:
    return {} if stride == 1 else factorized_reduce_shapes(channels, channels)


def _apply_skip(weights: Tree, x: Array, stride: int, context: Context) -> Array:
    return x if stride == 1 else factorized_reduce(weights, x, context=context)


def _skip_macs(channels: int, height: int, width: int, stride: int) -> int:
    return 0 if stride == 1 else channels * channels * height * width


# --- convolutions ---------------------------------------------------------------


def relu_conv_bn(
    x: Array, kernel: Array, *, stride: int = 1, context: Context = PLAIN
) -> Array:
    """ReLU, k×k convolution, batch normalisation.

    Args:
      x: ``[C, H, W, B]``.
      kernel: ``[C', C]`` for 1×1, ``[C', C, k, k]`` else.
      stride: 1 or 2.
      context: how batch normalisation is computed.

    Returns:
      ``[C', ceil(H/stride), ceil(W/stride), B]``.
    """
    return context.batch_norm(relu_conv(x, kernel, stride=stride))


def relu_conv(x: Array, kernel: Array, *, stride: int = 1) -> Array:
    """`relu_conv_bn` before its batch normalisation."""
    run = layers.pointwise if kernel.ndim == 2 else layers.convolution
    return run(layers.relu(x), kernel, stride=stride)


def _separable(
    x: Array,
    kernels: tuple[Array, Array],
    *,
    stride: int,
    dilation: int,
    context: Context,
) -> Array:
    """ReLU, depthwise, pointwise."""
    x = layers.depthwise(
        layers.relu(x),
        kernels[0],
        stride=stride,
        dilation=dilation,
        form=context.depthwise,
    )
    return layers.pointwise(x, kernels[1])


def _separable_shapes(channels: int, stride: int, *, size: int, repeats: int) -> Shapes:
    del stride
    shapes: Shapes = {}
    for index in range(1, repeats + 1):
        shapes[f"depthwise{index}"] = (channels, size, size)
        shapes[f"pointwise{index}"] = (channels, channels)
    return shapes


def _separables(
    weights: Tree,
    x: Array,
    stride: int,
    context: Context,
    *,
    dilation: int,
    repeats: int,
) -> Array:
    for index in range(1, repeats + 1):
        if index > 1:
            x, stride = context.batch_norm(x), 1  # only the first is strided
        kernels = weights[f"depthwise{index}"], weights[f"pointwise{index}"]
        x = _separable(x, kernels, stride=stride, dilation=dilation, context=context)
    return x


def _separable_macs(
    channels: int, height: int, width: int, stride: int, *, size: int, repeats: int
) -> int:
    del stride
    return repeats * height * width * channels * (size * size + channels)


def _separable_operation(
    name: str, *, size: int, dilation: int, repeats: int
) -> Operation:
    return _normalised(
        name,
        partial(_separable_shapes, size=size, repeats=repeats),
        partial(_separables, dilation=dilation, repeats=repeats),
        partial(_separable_macs, size=size, repeats=repeats),
    )


def _dense_shapes(channels: int, stride: int, *, size: int) -> Shapes:
    del stride
    one = (channels, channels)
    return {"kernel": one if size == 1 else (*one, size, size)}


def _dense(weights: Tree, x: Array, stride: int, context: Context) -> Array:
    del context
    return relu_conv(x, weights["kernel"], stride=stride)


def _dense_macs(
    channels: int, height: int, width: int, stride: int, *, size: int
) -> int:
    del stride
    return height * width * channels * channels * size * size


def _dense_operation(name: str, *, size: int) -> Operation:
    return _normalised(
        name,
        partial(_dense_shapes, size=size),
        _dense,
        partial(_dense_macs, size=size),
    )


NONE = Operation("none", _no_weights, _apply_none, _no_macs, is_zero=True)
SKIP_CONNECT = Operation("skip_connect", _skip_shapes, _apply_skip, _skip_macs)
MAX_POOL_3X3 = _normalised("max_pool_3x3", _no_weights, _max_pool, _no_macs)
#: Average pooling of the DARTS space: followed by batch normalisation.
AVG_POOL_3X3 = _normalised("avg_pool_3x3", _no_weights, _avg_pool, _no_macs)
#: Average pooling of NAS-Bench-201: nothing follows it.
PLAIN_AVG_POOL_3X3 = Operation("avg_pool_3x3", _no_weights, _avg_pool, _no_macs)
SEP_CONV_3X3 = _separable_operation("sep_conv_3x3", size=3, dilation=1, repeats=2)
SEP_CONV_5X5 = _separable_operation("sep_conv_5x5", size=5, dilation=1, repeats=2)
DIL_CONV_3X3 = _separable_operation("dil_conv_3x3", size=3, dilation=2, repeats=1)
DIL_CONV_5X5 = _separable_operation("dil_conv_5x5", size=5, dilation=2, repeats=1)
NOR_CONV_1X1 = _dense_operation("nor_conv_1x1", size=1)
NOR_CONV_3X3 = _dense_operation("nor_conv_3x3", size=3)
