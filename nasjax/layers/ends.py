"""What stands around the cells of every network: the stem and the classifier."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import chex
import jax.numpy as jnp

from nasjax.base import Array, Tree
from nasjax.layers.activation import relu
from nasjax.layers.init import Kernel, kernel
from nasjax.layers.units import CONV_3X3, Context, normalise, unit_template


def enter(images: Array, dtype: Any) -> Array:
    """``[B, H, W, c]`` images to ``[c, H, W, B]`` activations."""
    chex.assert_rank(images, 4)
    return jnp.transpose(images, (3, 1, 2, 0)).astype(dtype)


def head_template(channels: int, num_classes: int) -> dict[str, Tree]:
    """The linear classifier."""
    return {
        "kernel": kernel(num_classes, channels),
        "bias": Kernel((num_classes,), channels),
    }


def apply_head(weights: Mapping[str, Array], x: Array) -> Array:
    """Global average pool and linear: ``[C, H, W, B]`` to float32 ``[B, Y]``."""
    pooled = x.astype(jnp.float32).mean(axis=(1, 2))  # [C, B]
    logits = jnp.einsum("yc,cb->by", weights["kernel"], pooled)
    return logits + weights["bias"][None]


def stem_template(channels: Sequence[int]) -> tuple[dict[str, Tree], ...]:
    """3×3 convolutions from ``channels[0]`` on, with scale and offset."""
    pairs = itertools.pairwise(channels)
    return tuple(unit_template(CONV_3X3, *pair) for pair in pairs)


def apply_stem(
    weights: Sequence[Tree],
    stats: Sequence[Tree | None],
    x: Array,
    *,
    stride: int,
    context: Context,
) -> tuple[list[Array], tuple[Tree, ...]]:
    """3×3 convolutions with BN; a ReLU between two, none before the first.

    Args:
      weights: of `stem_template`.
      stats: running averages of each; None of a supernet.
      x: ``[c, H, W, B]``.
      stride: of each convolution.
      context: how.

    Returns:
      Every output ``[C', H', W', B]``, and the statistics of each, see `normalise`.
    """
    outputs, found = [], []
    for index, (own, running) in enumerate(zip(weights, stats, strict=True)):
        x = relu(x) if index else x
        x = CONV_3X3.apply(own, x, stride, context)
        x, seen = normalise(own, running, x, context=context)
        outputs.append(x)
        found.append(seen)
    return outputs, tuple(found)
