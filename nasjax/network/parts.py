"""Parts around the cells: stems, the classifier, the auxiliary head."""

import itertools
from collections.abc import Sequence

import jax.numpy as jnp

from nasjax import layers, ops, supernet
from nasjax.base import Array, InputError, Tree
from nasjax.network import units
from nasjax.network.units import Context, Size

_THREE = units.dense(3)
#: Channels of the auxiliary head's two layers.
_AUXILIARY = (128, 768)


# --- stems ----------------------------------------------------------------------


def stem_template(channels: Sequence[int]) -> tuple[Tree, Tree]:
    """Parameters and moments of 3×3 convolutions from ``channels[0]`` on."""
    pairs = list(itertools.pairwise(channels))
    return (
        tuple(units.params_template(_THREE, *pair) for pair in pairs),
        tuple(units.stats_template(outputs) for _, outputs in pairs),
    )


def apply_stem(
    weights: Sequence[Tree],
    stats: Sequence[Tree],
    x: Array,
    *,
    stride: int,
    context: Context,
) -> tuple[list[Array], tuple[Tree, ...]]:
    """3×3 convolutions with BN; a ReLU between two, none before the first.

    Returns:
      Every output ``[C', H', W', B]``, and the moments.
    """
    outputs, moments = [], []
    for index, (own, running) in enumerate(zip(weights, stats, strict=True)):
        x = layers.relu(x) if index else x
        x = _THREE.apply(own, x, stride, context)
        x, found = units.normalise(own, running, x, context=context)
        outputs.append(x)
        moments.append(found)
    return outputs, tuple(moments)


def stem_macs(channels: Sequence[int], size: Size, *, stride: int) -> tuple[int, Size]:
    """Multiply-accumulates of a stem, and the size after it."""
    total = 0
    for inputs, outputs in itertools.pairwise(channels):
        total += _THREE.macs(inputs, outputs, size, stride)
        size = units.strided(size, stride)
    return total, size


# --- the auxiliary head ---------------------------------------------------------


def auxiliary_template(
    channels: int, num_classes: int, *, imagenet: bool
) -> tuple[Tree, Tree]:
    """Parameters and moments of the auxiliary head.

    ImageNet's has no second batch normalisation: the published networks were
    trained without it, by an oversight that was kept.
    """
    narrow, wide = _AUXILIARY
    params = {
        "first": units.params_template(units.POINTWISE, channels, narrow),
        "second": {"kernel": ops.kernel(wide, narrow, 2, 2)},
        "head": supernet.head_template(wide, num_classes),
    }
    stats = {"first": units.stats_template(narrow)}
    if not imagenet:
        params["second"] |= units.affine_template(wide)
        stats["second"] = units.stats_template(wide)
    return params, stats


def apply_auxiliary(
    weights: Tree, stats: Tree, x: Array, *, imagenet: bool, context: Context
) -> tuple[Array, Tree]:
    """Classify the features that follow the second reduction, for training alone.

    ReLU, average pool 5×5, 1×1 convolution, BN, ReLU, 2×2 convolution, BN (not
    for ImageNet), ReLU, linear.

    Args:
      weights: of `auxiliary_template`.
      stats: likewise.
      x: ``[C, H, W, B]``, H and W 8 to 10 (ImageNet: 7 or 8).
      imagenet: pool with stride 2, not 3.
      context: how it is computed.

    Returns:
      Logits ``[B, Y]`` and the moments.

    Raises:
      InputError: another H or W, which the published head does not fit.
    """
    check_auxiliary(x.shape[1:3], imagenet=imagenet)
    stride = 2 if imagenet else 3
    pooled = _pool_to_2x2(layers.relu(x), stride)
    y = units.POINTWISE.apply(weights["first"], pooled, 1, context)
    moments = {}
    y, moments["first"] = units.normalise(
        weights["first"], stats["first"], y, context=context
    )
    second = weights["second"]
    # The 2×2 convolution covers what is left: one matrix product.
    y = jnp.einsum("oihw,ihwb->ob", second["kernel"].astype(y.dtype), layers.relu(y))[
        :, None, None
    ]
    if "second" in stats:
        y, moments["second"] = units.normalise(
            second, stats["second"], y, context=context
        )
    return supernet.apply_head(weights["head"], layers.relu(y)), moments


def check_auxiliary(size: Sequence[int], *, imagenet: bool) -> None:
    """Refuse features that the published auxiliary head does not fit.

    Args:
      size: their height and width.
      imagenet: see `apply_auxiliary`.

    Raises:
      InputError: naming the sizes, and the fields that help.
    """
    stride, side = (2, 224) if imagenet else (3, 32)
    if any((pixels - 5) // stride != 1 or pixels < 5 for pixels in size):
        raise InputError(
            f"the auxiliary head does not fit features of {size[0]}×{size[1]}: images "
            f"are about {side}×{side} for it; train.auxiliary_weight=0 trains without "
            f"it, and data.image_size={side} resizes the images of a folder"
        )


def auxiliary_macs(channels: int, num_classes: int) -> int:
    """Multiply-accumulates of the auxiliary head, whose features are 2×2 pixels."""
    narrow, wide = _AUXILIARY
    return 4 * narrow * channels + 4 * narrow * wide + wide * num_classes


def _pool_to_2x2(x: Array, stride: int) -> Array:
    """Four 5×5 averages, ``stride`` apart: ``[C, H, W, B]`` to ``[C, 2, 2, B]``."""
    starts = (0, stride)
    rows = [
        jnp.stack(
            [x[:, i : i + 5, j : j + 5].mean(axis=(1, 2)) for j in starts], axis=1
        )
        for i in starts
    ]
    return jnp.stack(rows, axis=1)
