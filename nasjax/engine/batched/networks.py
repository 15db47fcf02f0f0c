"""The network of a plan around the batched cells (`nasjax.engine.batched.cell`).

Of the weights that the scanned engine has; activations are ``[B, H, W, C]``.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from nasjax.architecture import fold_in_cell
from nasjax.base import Array, Tree
from nasjax.engine.batched.cell import run_cell
from nasjax.engine.batched.kernels import prepare
from nasjax.engine.batched.norm import norms
from nasjax.engine.batched.primitives import average_pool_2x2, convolution, halves
from nasjax.engine.scan.stages import INPUTS, Architecture, Network
from nasjax.layers import Context
from nasjax.spaces.base import SearchSpace
from nasjax.spaces.plan import Plan, Run, runs_of

#: The newest outputs that a cell may read, oldest first.
States = tuple[Array, ...]


def batch_norm(x: Array, context: Context) -> Array:
    """``[B, H, W, C]`` normalised by channel."""
    (y,) = norms((x[:, :, :, None, None],), context.norm_axis)
    return y[:, :, :, 0, 0]


def plain_convolution(x: Array, kernel: Array, *, stride: int = 1) -> Array:
    """``[B, H, W, C]`` and ``[C', C]`` or ``[C', C, k, k]`` to ``[B, H', W', C']``."""
    square = kernel if kernel.ndim == 4 else kernel[..., None, None]
    ordered = jnp.moveaxis(square, 1, -1)[None, None]
    return convolution(x, ordered, stride)[:, :, :, 0, 0]


def affine(weights: Mapping[str, Array], x: Array) -> Array:
    """Scale and offset by channel, in the dtype of ``x``."""
    scale, offset = (weights[name].astype(x.dtype) for name in ("scale", "offset"))
    return x * scale[None, None, None] + offset[None, None, None]


def apply_stem(
    weights: Mapping[str, Array], x: Array, context: Context, *, stride: int = 1
) -> Array:
    """3×3 convolution, batch normalisation with scale and offset."""
    x = plain_convolution(x, weights["kernel"], stride=stride)
    return affine(weights, batch_norm(x, context))


def apply_head(weights: Mapping[str, Array], x: Array) -> Array:
    """Global average pool and linear: to float32 ``[B, Y]``."""
    pooled = x.astype(jnp.float32).mean(axis=(1, 2))
    return pooled @ weights["kernel"].T + weights["bias"][None]


def relu_conv_norm(
    kernel: Array, x: Array, context: Context, *, stride: int = 1
) -> Array:
    """ReLU, convolution (``[C', C]`` or ``[C', C, k, k]``), batch normalisation."""
    y = plain_convolution(jax.nn.relu(x), kernel, stride=stride)
    return batch_norm(y, context)


def network(plan: Plan, space: SearchSpace, *, context: Context, dtype: Any) -> Network:
    """Stem, cells and head of a plan, as `scan.stages.network` has them.

    Args:
      plan: of the space.
      space: whose cells are run.
      context: for all layers.
      dtype: of the activations.
    """

    def stem(weights: Tree, images: Array) -> States:
        own = weights["stem"]
        x, outputs = images.astype(dtype), []
        for number, one in enumerate((own,) if isinstance(own, dict) else own):
            x = jax.nn.relu(x) if number else x
            x = apply_stem(one, x, context, stride=plan.stem.stride)
            outputs.append(x)
        # CIFAR's only one is read twice.
        outputs = outputs[:1] * (plan.arity - len(outputs)) + outputs
        return tuple(outputs[-plan.arity :])

    def cells(weights: Tree, architecture: Architecture, states: States) -> Array:
        edges = weights["edges" if plan.arity > 1 else "stages"]
        for own, stacked in zip(runs_of(plan), edges, strict=True):
            if own.block is not None:
                block = weights["residuals"][own.block]
                states = (_residual(block, states[-1], context),)
            states = _run(
                plan, own, space, context, weights, stacked, architecture, states
            )
        x = states[-1]
        if plan.last_norm:
            x = jax.nn.relu(affine(weights["last"], batch_norm(x, context)))
        return apply_head(weights["head"], x)

    return Network(stem, cells)


def _run(
    plan: Plan,
    own: Run,
    space: SearchSpace,
    context: Context,
    weights: Tree,
    edges: Tree,
    architecture: Architecture,
    states: States,
) -> States:
    """The states after the cells of one shape."""
    cell = plan.cells[own.first]
    runs = architecture[cell.kind]
    shape: dict[str, Any] = {"space": space, "reduction": cell.reduction}
    for at, kernels in enumerate(prepare(edges, runs, **shape)):
        number = own.first + at
        numbered, inputs = fold_in_cell(runs, number), states
        if cell.inputs:
            numbered = fold_in_cell(fold_in_cell(runs, own.first), at)
            inputs = tuple(
                _brought(weights[name][number], x, context)
                for name, x in zip(INPUTS, states, strict=True)
            )
        output = run_cell(kernels, numbered, inputs, context=context, **shape)
        states = (*states[1:], output)
    return states


def _brought(weights: Tree, x: Array, context: Context) -> Array:
    """An input at the cell's channels, halved where the cell before was smaller."""
    if not isinstance(weights, Mapping):
        return relu_conv_norm(weights, x, context)
    y = halves(x, weights["even"][None], weights["odd"][None])
    return batch_norm(y[:, :, :, 0], context)


def _residual(weights: Mapping[str, Tree], x: Array, context: Context) -> Array:
    """A block that halves the resolution and doubles the channels."""
    y = x
    for name, stride in (("first", 2), ("second", 1)):
        y = relu_conv_norm(weights[name], y, context, stride=stride)
        if f"{name}_norm" in weights:
            y = affine(weights[f"{name}_norm"], y)
    pooled = average_pool_2x2(x)
    return y + plain_convolution(pooled, weights["shortcut"])
