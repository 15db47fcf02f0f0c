"""ReLU, linear maps, batch normalisation: what operations with weights are made of.

One unit serves the supernet and the discrete network. In the first, batch
normalisation has no scale and no offset; in the second both, and running averages.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import jax.numpy as jnp

from nasjax.base import Array, InputError, Tree
from nasjax.layers.activation import relu
from nasjax.layers.dense import convolution, pointwise, rectangular
from nasjax.layers.depthwise import DEPTHWISE_FORMS, depthwise
from nasjax.layers.init import Constant, Shapes, kernel
from nasjax.layers.norm import affine, batch_norm
from nasjax.layers.running import evaluate_norm, train_norm

#: Height and width of a feature map.
Size = tuple[int, int]


class Context(NamedTuple):
    """What a layer may depend on beside its input and its weights.

    Attributes:
      depthwise: form of the depthwise convolution (`layers.depthwise`).
      axis_name: of the devices that share a batch; None on one device.
      synchronised: batch normalisation over the batch of all devices, not of each.
      drop: key and rate of one edge, for operations that drop a part of their
        output; None drops nothing.
      train: where there are running averages, batch normalisation by the statistics
        of the batch instead.
    """

    depthwise: str = "auto"
    axis_name: str | None = None
    synchronised: bool = True
    drop: Any = None
    train: bool = True

    def batch_norm(self, x: Array) -> Array:
        """`layers.batch_norm`, over all devices where synchronised."""
        return batch_norm(x, axis_name=self.norm_axis)

    @property
    def norm_axis(self) -> str | None:
        """The devices over which batch normalisation is synchronised."""
        return self.axis_name if self.synchronised else None


#: One device, the backend's own forms, nothing dropped.
PLAIN = Context()
_DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


def check_arithmetic(dtype: Any, context: Context) -> Any:
    """The dtype of a network's activations.

    Raises:
      InputError: an unknown dtype, or an unknown form of the depthwise convolution.
    """
    name = dtype if isinstance(dtype, str) else jnp.dtype(dtype).name
    if name not in _DTYPES:
        raise InputError(f"dtype {name!r} is not one of {', '.join(_DTYPES)}")
    if context.depthwise not in DEPTHWISE_FORMS:
        raise InputError(
            f"depthwise={context.depthwise!r} is not one of "
            f"{', '.join(DEPTHWISE_FORMS)}"
        )
    return jnp.dtype(_DTYPES[name])


class Unit(NamedTuple):
    """ReLU, linear maps, batch normalisation.

    Attributes:
      shapes: ``(inputs, outputs) -> {name: shape}`` of the kernels, in the order
        of the maps; inputs and outputs are numbers of channels.
      apply: ``(kernels, x, stride, context) -> y``, the maps alone.
      macs: ``(inputs, outputs, size, stride) -> int``, multiply-accumulates of one
        image of that size.
      modules: PyTorch's names of the maps and of the batch normalisation; empty where
        they are numbered, after the ReLU.
    """

    shapes: Callable[[int, int], Shapes]
    apply: Callable[[Tree, Array, int, Context], Array]
    macs: Callable[[int, int, Size, int], int]
    modules: tuple[str, ...] = ()


def affine_template(channels: int, *, stack: tuple[int, ...] = ()) -> dict[str, Tree]:
    """Scale and offset of a batch normalisation; ``stack``: leading axes."""
    return {
        "scale": Constant((*stack, channels), 1.0),
        "offset": Constant((*stack, channels), 0.0),
    }


def stats_template(channels: int, *, stack: tuple[int, ...] = ()) -> dict[str, Tree]:
    """Running mean and variance of a batch normalisation."""
    return {
        "mean": Constant((*stack, channels), 0.0),
        "var": Constant((*stack, channels), 1.0),
    }


def unit_template(
    unit: Unit, inputs: int, outputs: int, *, stack: tuple[int, ...] = ()
) -> dict[str, Tree]:
    """Kernels, scale and offset of a unit."""
    kernels = {
        name: kernel(*shape, stack=stack)
        for name, shape in unit.shapes(inputs, outputs).items()
    }
    return {**kernels, **affine_template(outputs, stack=stack)}


def apply_unit(
    unit: Unit,
    weights: Tree,
    stats: Tree,
    x: Array,
    *,
    stride: int = 1,
    context: Context,
) -> tuple[Array, Tree]:
    """Run a unit with scale, offset and running averages.

    Args:
      unit: which.
      weights: of `unit_template`.
      stats: of `stats_template`.
      x: ``[C, H, W, B]``.
      stride: 1 or 2.
      context: how.

    Returns:
      ``[C', ceil(H/stride), ceil(W/stride), B]``, and the mean and variance that it
      was normalised by.
    """
    y = unit.apply(weights, relu(x), stride, context)
    return normalise(weights, stats, y, context=context)


def normalise(
    weights: Tree, stats: Tree | None, x: Array, *, context: Context
) -> tuple[Array, Tree]:
    """Batch normalisation with scale and offset.

    Args:
      weights: ``scale`` and ``offset``, ``[C]`` each.
      stats: running ``mean`` and ``var``; None of a supernet, which has none.
      x: ``[C, H, W, B]``.
      context: whether this is training, and which devices share a batch.

    Returns:
      ``[C, H, W, B]``, and new statistics for the running averages: in training the
      batch's, the variance unbiased (PyTorch's rule); else those given.
    """
    scale, offset = weights["scale"], weights["offset"]
    if stats is None:
        return affine(context.batch_norm(x), scale, offset), None
    if context.train:
        y, mean, variance = train_norm(x, scale, offset, context.norm_axis)
        return y, {"mean": mean, "var": variance}
    return evaluate_norm(x, scale, offset, stats["mean"], stats["var"]), stats


# --- the maps -------------------------------------------------------------------


def strided(size: Size, stride: int) -> Size:
    """Height and width after a stride."""
    return -(-size[0] // stride), -(-size[1] // stride)


def _pixels(size: Size, stride: int) -> int:
    height, width = strided(size, stride)
    return height * width


def _dense_shapes(inputs: int, outputs: int, *, size: int) -> Shapes:
    one = (outputs, inputs)
    return {"kernel": one if size == 1 else (*one, size, size)}


def _apply_dense(kernels: Tree, x: Array, stride: int, context: Context) -> Array:
    del context
    own = kernels["kernel"]
    run = pointwise if own.ndim == 2 else convolution
    return run(x, own, stride=stride)


def _dense_macs(inputs: int, outputs: int, at: Size, stride: int, *, size: int) -> int:
    return _pixels(at, stride) * inputs * outputs * size * size


@cache
def dense(size: int) -> Unit:
    """A k×k convolution."""
    return Unit(
        partial(_dense_shapes, size=size), _apply_dense, partial(_dense_macs, size=size)
    )


def _separable_shapes(inputs: int, outputs: int, *, size: int) -> Shapes:
    return {"depthwise": (inputs, size, size), "pointwise": (outputs, inputs)}


def _apply_separable(
    kernels: Tree, x: Array, stride: int, context: Context, *, dilation: int
) -> Array:
    x = depthwise(
        x,
        kernels["depthwise"],
        stride=stride,
        dilation=dilation,
        form=context.depthwise,
    )
    return pointwise(x, kernels["pointwise"])


def _separable_macs(
    inputs: int, outputs: int, at: Size, stride: int, *, size: int
) -> int:
    return _pixels(at, stride) * inputs * (size * size + outputs)


@cache
def separable(size: int, *, dilation: int = 1) -> Unit:
    """A depthwise k×k and a pointwise convolution."""
    return Unit(
        partial(_separable_shapes, size=size),
        partial(_apply_separable, dilation=dilation),
        partial(_separable_macs, size=size),
    )


def _asymmetric_shapes(inputs: int, outputs: int, *, size: int) -> Shapes:
    return {"row": (outputs, inputs, 1, size), "column": (outputs, outputs, size, 1)}


def _apply_asymmetric(kernels: Tree, x: Array, stride: int, context: Context) -> Array:
    del context
    x = rectangular(x, kernels["row"], strides=(1, stride))
    return rectangular(x, kernels["column"], strides=(stride, 1))


def _asymmetric_macs(
    inputs: int, outputs: int, at: Size, stride: int, *, size: int
) -> int:
    height, width = strided(at, stride)
    row = at[0] * width * inputs * outputs * size
    return row + height * width * outputs * outputs * size


@cache
def asymmetric(size: int) -> Unit:
    """A 1×k convolution, strided along the width, then a k×1 along the height."""
    return Unit(
        partial(_asymmetric_shapes, size=size),
        _apply_asymmetric,
        partial(_asymmetric_macs, size=size),
    )


def _halves_shapes(inputs: int, outputs: int) -> Shapes:
    half = outputs // 2
    return {"even": (half, inputs), "odd": (outputs - half, inputs)}


def _apply_halves(kernels: Tree, x: Array, stride: int, context: Context) -> Array:
    del context
    # An odd height or width is padded, where the reference code fails.
    odd = [(0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2), (0, 0)]
    shifted = jnp.pad(x, odd)[:, 1:, 1:]
    halves = (
        pointwise(x, kernels["even"], stride=stride),
        pointwise(shifted, kernels["odd"], stride=stride),
    )
    return jnp.concatenate(halves)


def _halves_macs(inputs: int, outputs: int, at: Size, stride: int) -> int:
    return _pixels(at, stride) * inputs * outputs


#: Factorized reduce: two strided 1×1 convolutions, of which the second reads one pixel
#: further along both axes, so that every pixel contributes.
FACTORIZED_REDUCE = Unit(
    _halves_shapes, _apply_halves, _halves_macs, ("conv_1", "conv_2", "bn")
)
#: A 1×1 convolution: how a cell takes in its inputs.
POINTWISE = dense(1)
#: A 3×3 convolution: stems and residual blocks.
CONV_3X3 = dense(3)
