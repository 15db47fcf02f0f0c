"""Networks of NAS-Bench-201: three stages of N cells, residual blocks between."""

from functools import partial

from nasjax import layers, ops, supernet
from nasjax.base import Array, InputError, Tree
from nasjax.genotype import parse_arch_str
from nasjax.network import cell as cells
from nasjax.network import parts, units
from nasjax.network.cell import Graph
from nasjax.network.skeleton import Outputs, Pass, Settings, Skeleton
from nasjax.network.units import Size

#: Stages, each of twice the channels and half the size of the one before.
NUM_STAGES = 3
_THREE = units.dense(3)


def graph(arch_str: str) -> Graph:
    """The cell of an architecture string.

    Raises:
      InputError: a string of another form, or an unknown operation.
    """
    edges, target = [], 0
    for operation, source in parse_arch_str(arch_str):
        target += source == 0
        edges.append((operation, source, target, 1))
    return cells.graph(tuple(edges), (target,))


def build(settings: Settings) -> Skeleton:
    """Stem, three stages with residual blocks between, BN, ReLU, pool, linear.

    Parameters are ``stem``, ``cells`` (of each stage, stacked over its cells),
    ``residuals`` (of the blocks between), ``last`` (the last batch normalisation) and
    ``head``.

    Raises:
      InputError: an architecture string that is none.
    """
    cell = graph(settings.genotype.arch_str)
    widths = [settings.channels * 2**stage for stage in range(NUM_STAGES)]
    stack = (settings.num_cells,)
    params, stats = {}, {}
    params["stem"], stats["stem"] = parts.stem_template(
        (settings.image_channels, settings.channels)
    )
    for tree, template in (
        (params, cells.params_template),
        (stats, cells.stats_template),
    ):
        tree["cells"] = tuple(template(cell, width, stack=stack) for width in widths)
    params["residuals"] = tuple(map(_residual_template, widths[:-1]))
    stats["residuals"] = tuple(
        {name: units.stats_template(2 * width) for name in ("first", "second")}
        for width in widths[:-1]
    )
    params["last"] = units.affine_template(widths[-1])
    stats["last"] = units.stats_template(widths[-1])
    params["head"] = supernet.head_template(widths[-1], settings.num_classes)
    return Skeleton(
        params,
        stats,
        edges=(NUM_STAGES * settings.num_cells, len(cell.edges)),
        forward=partial(_forward, settings, cell),
        macs=partial(_macs, settings, cell),
    )


def _residual_template(channels: int) -> dict[str, Tree]:
    """A block that doubles ``channels`` and halves the resolution."""
    return {
        "first": units.params_template(_THREE, channels, 2 * channels),
        "second": units.params_template(_THREE, 2 * channels, 2 * channels),
        "shortcut": ops.kernel(2 * channels, channels),
    }


def _apply_residual(
    weights: Tree, stats: Tree, x: Array, how: Pass
) -> tuple[Array, Tree]:
    """Two ReLU-convolution-BN; the shortcut is a 2×2 average and a 1×1."""
    y, moments, stride = x, {}, 2
    for name in ("first", "second"):
        y, moments[name] = units.apply_unit(
            _THREE, weights[name], stats[name], y, stride=stride, context=how.context
        )
        stride = 1
    shortcut = layers.pointwise(layers.avg_pool_2x2(x), weights["shortcut"])
    return y + shortcut, moments


def _forward(
    settings: Settings,
    cell: Graph,
    variables: Tree,
    images: Array,
    keep: Array | None,
    how: Pass,
) -> Outputs:
    """Run the network (`Skeleton.forward`).

    Raises:
      InputError: an image whose height or width is not a multiple of 4.
    """
    if images.shape[1] % 4 or images.shape[2] % 4:
        raise InputError(
            f"images are {images.shape[1]}×{images.shape[2]}; NAS-Bench-201 halves "
            "them twice, so both are multiples of 4; data.image_size resizes the "
            "images of a folder"
        )
    params, stats = variables["params"], variables["batch_stats"]
    x = supernet.enter(images, how.dtype)
    (x,), stem = parts.apply_stem(
        params["stem"], stats["stem"], x, stride=1, context=how.context
    )
    found, blocks = [], []
    for stage in range(NUM_STAGES):
        if stage:
            own = params["residuals"][stage - 1], stats["residuals"][stage - 1]
            x, moments = _apply_residual(*own, x, how)
            blocks.append(moments)
        own = params["cells"][stage], stats["cells"][stage]
        count = settings.num_cells
        drop = None if keep is None else keep[stage * count : (stage + 1) * count]
        x, moments = _apply_stage(cell, count, *own, x, drop, how)
        found.append(moments)
    x, last = units.normalise(params["last"], stats["last"], x, context=how.context)
    logits = supernet.apply_head(params["head"], layers.relu(x))
    moments = {
        "stem": stem,
        "cells": tuple(found),
        "residuals": tuple(blocks),
        "last": last,
    }
    return Outputs(logits, None, moments)


def _apply_stage(
    cell: Graph,
    count: int,
    weights: Tree,
    stats: Tree,
    x: Array,
    keep: Array | None,
    how: Pass,
) -> tuple[Array, Tree]:
    """Equal cells, one after the other; the moments are stacked."""

    def step(x: Array, own: tuple[Tree, Tree, Array | None]) -> tuple[Array, Tree]:
        weights, stats, keep = own
        return cells.apply(cell, weights, stats, (x,), keep=keep, context=how.context)

    return cells.repeat(step, x, (weights, stats, keep), count, how)


def _macs(settings: Settings, cell: Graph, size: Size) -> int:
    """`Skeleton.macs`."""
    channels = settings.channels
    total, size = parts.stem_macs((settings.image_channels, channels), size, stride=1)
    for stage in range(NUM_STAGES):
        if stage:
            total += _THREE.macs(channels, 2 * channels, size, 2)
            size = units.strided(size, 2)
            total += _THREE.macs(2 * channels, 2 * channels, size, 1)
            total += units.POINTWISE.macs(channels, 2 * channels, size, 1)
            channels *= 2
        total += settings.num_cells * cells.macs(cell, channels, size)
    return total + channels * settings.num_classes
