"""Networks of the DARTS family: CIFAR and ImageNet, cells of two edges a node."""

from functools import partial
from typing import NamedTuple

import jax

from nasjax import supernet
from nasjax.base import Array, InputError, Tree
from nasjax.genotype import Cell
from nasjax.network import cell as cells
from nasjax.network import parts, units
from nasjax.network.cell import Graph
from nasjax.network.skeleton import DATASETS, Outputs, Pass, Settings, Skeleton
from nasjax.network.units import Size, Unit

_STEM_MULTIPLIER = 3


class CellPlan(NamedTuple):
    """One cell of the stack and what it reads.

    Attributes:
      graph: its edges.
      channels: C.
      before_channels: of the output before the previous one.
      previous_channels: of the previous output.
      halve_before: whether the output before the previous one is larger, because
        the previous cell was a reduction.
    """

    graph: Graph
    channels: int
    before_channels: int
    previous_channels: int
    halve_before: bool

    @property
    def out_channels(self) -> int:
        """Channels of the cell's output."""
        return len(self.graph.output) * self.channels

    @property
    def before(self) -> tuple[Unit, int]:
        """How the output before the previous one is brought in, and the stride."""
        return (units.HALVES, 2) if self.halve_before else (units.POINTWISE, 1)


def graph(edges: Cell, concat: tuple[int, ...], *, reduction: bool) -> Graph:
    """A cell of a genotype: two edges a node; a reduction halves what it reads.

    Raises:
      InputError: an unknown operation, an edge from a state that is not earlier, an
        odd number of edges, or a state to concatenate that the cell has not.
    """
    name = "reduce" if reduction else "normal"
    if not edges or len(edges) % 2:
        raise InputError(f"genotype.{name} has {len(edges)} edges; a node has two")
    placed = []
    for index, (operation, source) in enumerate(edges):
        target = 2 + index // 2
        if not 0 <= source < target:
            raise InputError(
                f"edge {index} of genotype.{name} leaves state {source}; it leaves one "
                f"of 0 to {target - 1}"
            )
        placed.append((operation, source, target, 2 if reduction and source < 2 else 1))
    last = 1 + len(edges) // 2
    # An input state of a reduction has another size than its nodes.
    first = 2 if reduction else 0
    if not concat or not all(first <= state <= last for state in concat):
        raise InputError(
            f"genotype.{name}_concat is {list(concat)}; it lists states from {first} "
            f"to {last}"
        )
    return cells.graph(tuple(placed), tuple(concat))


def plan(settings: Settings) -> tuple[CellPlan, ...]:
    """The cells: reductions at L//3 and 2L//3 double the channels."""
    genotype, length = settings.genotype, settings.num_cells
    normal = graph(genotype.normal, genotype.normal_concat, reduction=False)
    reduce = graph(genotype.reduce, genotype.reduce_concat, reduction=True)
    channels = settings.channels
    halve = DATASETS[settings.dataset].imagenet  # the second stem is a reduction
    before = previous = channels if halve else _STEM_MULTIPLIER * channels
    stack: list[CellPlan] = []
    for index in range(length):
        reduction = index in (length // 3, 2 * length // 3)
        channels *= 2 if reduction else 1
        stack.append(
            CellPlan(reduce if reduction else normal, channels, before, previous, halve)
        )
        before, previous, halve = previous, stack[-1].out_channels, reduction
    return tuple(stack)


def stages(stack: tuple[CellPlan, ...]) -> list[tuple[int, int]]:
    """``(first, last + 1)`` of each run of cells with equal edges."""
    runs: list[tuple[int, int]] = []
    for index, cell in enumerate(stack):
        own = cell.graph, cell.channels
        if index and own == (stack[index - 1].graph, stack[index - 1].channels):
            runs[-1] = (runs[-1][0], index + 1)
        else:
            runs.append((index, index + 1))
    return runs


def stem_channels(settings: Settings) -> tuple[int, ...]:
    """Channels before, between and after the convolutions of the stem."""
    image, channels = settings.image_channels, settings.channels
    if DATASETS[settings.dataset].imagenet:
        return image, channels // 2, channels, channels
    return image, _STEM_MULTIPLIER * channels


def build(settings: Settings) -> Skeleton:
    """Stem, L cells, global average pool, linear; an auxiliary head if asked for.

    Parameters are ``stem``, ``before`` and ``previous`` (what brings in a cell's two
    inputs, of every cell), ``cells`` (of every run of equal cells, stacked over
    them), ``head``, ``auxiliary``.

    Raises:
      InputError: a genotype that is none.
    """
    stack = plan(settings)
    runs = stages(stack)
    imagenet = DATASETS[settings.dataset].imagenet
    params, stats = {}, {}
    params["stem"], stats["stem"] = parts.stem_template(stem_channels(settings))
    params["before"] = tuple(
        units.params_template(c.before[0], c.before_channels, c.channels) for c in stack
    )
    params["previous"] = tuple(
        units.params_template(units.POINTWISE, c.previous_channels, c.channels)
        for c in stack
    )
    for name in ("before", "previous"):
        stats[name] = tuple(units.stats_template(c.channels) for c in stack)
    for tree, template in (
        (params, cells.params_template),
        (stats, cells.stats_template),
    ):
        tree["cells"] = tuple(
            template(stack[a].graph, stack[a].channels, stack=(b - a,)) for a, b in runs
        )
    params["head"] = supernet.head_template(
        stack[-1].out_channels, settings.num_classes
    )
    if settings.auxiliary:
        params["auxiliary"], stats["auxiliary"] = parts.auxiliary_template(
            stack[_auxiliary_after(settings)].out_channels,
            settings.num_classes,
            imagenet=imagenet,
        )
    return Skeleton(
        params,
        stats,
        edges=(len(stack), max(len(c.graph.edges) for c in stack)),
        forward=partial(_forward, settings, stack, runs),
        macs=partial(_macs, settings, stack),
    )


def _auxiliary_after(settings: Settings) -> int:
    """The cell whose output the auxiliary head reads."""
    return 2 * settings.num_cells // 3


def _forward(
    settings: Settings,
    stack: tuple[CellPlan, ...],
    runs: list[tuple[int, int]],
    variables: Tree,
    images: Array,
    keep: Array | None,
    how: Pass,
) -> Outputs:
    """Run the network (`Skeleton.forward`)."""
    params, stats = variables["params"], variables["batch_stats"]
    imagenet = DATASETS[settings.dataset].imagenet
    stems, stem = parts.apply_stem(
        params["stem"],
        stats["stem"],
        supernet.enter(images, how.dtype),
        stride=2 if imagenet else 1,
        context=how.context,
    )
    outputs, found = _run_cells(
        stack,
        [_of_each_cell(tree, runs) for tree in (params, stats)],
        # ImageNet's cells read two convolutions of the stem, CIFAR's the one twice.
        stems[-2:] if imagenet else stems * 2,
        keep,
        how,
    )
    moments = {"stem": stem, **_stacked(found, runs)}
    auxiliary = None
    if settings.auxiliary and how.context.train:
        auxiliary, moments["auxiliary"] = parts.apply_auxiliary(
            params["auxiliary"],
            stats["auxiliary"],
            outputs[_auxiliary_after(settings)],
            imagenet=imagenet,
            context=how.context,
        )
    logits = supernet.apply_head(params["head"], outputs[-1])
    return Outputs(logits, auxiliary, moments)


def _run_cells(
    stack: tuple[CellPlan, ...],
    variables: list[list[Tree]],
    stems: list[Array],
    keep: Array | None,
    how: Pass,
) -> tuple[list[Array], list[Tree]]:
    """Outputs and moments of every cell; ``variables``: params, stats of each."""
    run = jax.checkpoint(_run_cell, static_argnums=(0, 1)) if how.remat else _run_cell
    before, previous = stems
    outputs, found = [], []
    for index, cell in enumerate(stack):
        weights, stats = (trees[index] for trees in variables)
        drop = None if keep is None else keep[index]
        output, moments = run(cell, how, weights, stats, (before, previous), drop)
        before, previous = previous, output
        outputs.append(output)
        found.append(moments)
    return outputs, found


def _run_cell(
    cell: CellPlan,
    how: Pass,
    weights: Tree,
    stats: Tree,
    inputs: tuple[Array, Array],
    keep: Array | None,
) -> tuple[Array, Tree]:
    """Bring in the two inputs and run the edges."""
    unit, stride = cell.before
    before, before_moments = units.apply_unit(
        unit,
        weights["before"],
        stats["before"],
        inputs[0],
        stride=stride,
        context=how.context,
    )
    previous, previous_moments = units.apply_unit(
        units.POINTWISE,
        weights["previous"],
        stats["previous"],
        inputs[1],
        context=how.context,
    )
    output, moments = cells.apply(
        cell.graph,
        weights["cells"],
        stats["cells"],
        (before, previous),
        keep=None if keep is None else keep[: len(cell.graph.edges)],
        context=how.context,
    )
    return output, {
        "before": before_moments,
        "previous": previous_moments,
        "cells": moments,
    }


def _of_each_cell(tree: Tree, runs: list[tuple[int, int]]) -> list[Tree]:
    """``before``, ``previous`` and ``cells`` of each cell, out of the stacks."""
    edges = [
        own
        for stacked, (first, end) in zip(tree["cells"], runs, strict=True)
        for own in cells.unstack(stacked, end - first)
    ]
    return [
        {"before": before, "previous": previous, "cells": own}
        for before, previous, own in zip(
            tree["before"], tree["previous"], edges, strict=True
        )
    ]


def _stacked(found: list[Tree], runs: list[tuple[int, int]]) -> dict[str, Tree]:
    """The inverse of `_of_each_cell`."""
    return {
        "before": tuple(moments["before"] for moments in found),
        "previous": tuple(moments["previous"] for moments in found),
        "cells": tuple(
            cells.stack([moments["cells"] for moments in found[first:end]])
            for first, end in runs
        ),
    }


def _macs(settings: Settings, stack: tuple[CellPlan, ...], size: Size) -> int:
    """`Skeleton.macs`."""
    imagenet = DATASETS[settings.dataset].imagenet
    channels = stem_channels(settings)
    total, size = parts.stem_macs(channels, size, stride=2 if imagenet else 1)
    for cell in stack:
        unit, stride = cell.before
        # The stride of what is larger: its size before was twice this one's.
        at = (size[0] * stride, size[1] * stride)
        total += unit.macs(cell.before_channels, cell.channels, at, stride)
        total += units.POINTWISE.macs(cell.previous_channels, cell.channels, size, 1)
        total += cells.macs(cell.graph, cell.channels, size)
        if any(edge.stride == 2 for edge in cell.graph.edges):
            size = units.strided(size, 2)
    if settings.auxiliary:
        read = stack[_auxiliary_after(settings)].out_channels
        total += parts.auxiliary_macs(read, settings.num_classes)
    return total + stack[-1].out_channels * settings.num_classes
