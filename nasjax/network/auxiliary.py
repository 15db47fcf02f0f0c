"""The auxiliary head, which training alone runs (DARTS, arXiv 1806.09055)."""

from collections.abc import Sequence

import jax.numpy as jnp

from nasjax import layers
from nasjax.base import Array, InputError, Tree
from nasjax.layers import Context

#: Channels of the auxiliary head's two layers.
_CHANNELS = (128, 768)


def template(channels: int, num_classes: int, *, imagenet: bool) -> tuple[Tree, Tree]:
    """Parameters and running statistics of the auxiliary head.

    ImageNet's has no second batch normalisation: the published networks were
    trained without it, by an oversight that was kept.
    """
    narrow, wide = _CHANNELS
    params = {
        "first": layers.unit_template(layers.POINTWISE, channels, narrow),
        "second": {"kernel": layers.kernel(wide, narrow, 2, 2)},
        "head": layers.head_template(wide, num_classes),
    }
    stats = {"first": layers.stats_template(narrow)}
    if not imagenet:
        params["second"] |= layers.affine_template(wide)
        stats["second"] = layers.stats_template(wide)
    return params, stats


def apply(
    weights: Tree, stats: Tree, x: Array, *, imagenet: bool, context: Context
) -> tuple[Array, Tree]:
    """Classify the features that follow the second reduction, for training alone.

    ReLU, average pool 5×5, 1×1 convolution, BN, ReLU, 2×2 convolution, BN (not
    for ImageNet), ReLU, linear.

    Args:
      weights: of `template`.
      stats: running statistics, of the same.
      x: ``[C, H, W, B]``, H and W 8 to 10 (ImageNet: 7 or 8).
      imagenet: pool with stride 2, not 3.
      context: how it is computed.

    Returns:
      Logits ``[B, Y]``, and statistics (`layers.normalise`).

    Raises:
      InputError: another H or W, which the published head does not fit.
    """
    check(x.shape[1:3], imagenet=imagenet)
    stride = 2 if imagenet else 3
    pooled = _pool_to_2x2(layers.relu(x), stride)
    y = layers.POINTWISE.apply(weights["first"], pooled, 1, context)
    moments = {}
    y, moments["first"] = layers.normalise(
        weights["first"], stats["first"], y, context=context
    )
    second = weights["second"]
    # The 2×2 convolution covers what is left: one matrix product.
    y = jnp.einsum("oihw,ihwb->ob", second["kernel"].astype(y.dtype), layers.relu(y))[
        :, None, None
    ]
    if "second" in stats:
        y, moments["second"] = layers.normalise(
            second, stats["second"], y, context=context
        )
    return layers.apply_head(weights["head"], layers.relu(y)), moments


def check(size: Sequence[int], *, imagenet: bool) -> None:
    """Refuse features that the published auxiliary head does not fit.

    Args:
      size: their height and width.
      imagenet: see `apply`.

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


def macs(channels: int, num_classes: int) -> int:
    """Multiply-accumulates of the auxiliary head, whose features are 2×2 pixels."""
    narrow, wide = _CHANNELS
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
