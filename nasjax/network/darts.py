"""Networks of the DARTS family: CIFAR and ImageNet, cells of two edges a node."""

import itertools
from functools import partial
from typing import Any, NamedTuple

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
        return (
            (units.FACTORIZED_REDUCE, 2) if self.halve_before else (units.POINTWISE, 1)
        )


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


class Run(NamedTuple):
    """Equal cells, one after the other; their weights are stacked."""

    cell: CellPlan
    length: int


def runs(stack: tuple[CellPlan, ...]) -> tuple[Run, ...]:
    """The cells as runs; 20 cells are nine."""
    return tuple(Run(cell, len(list(own))) for cell, own in itertools.groupby(stack))


def stem_channels(settings: Settings) -> tuple[int, ...]:
    """Channels before, between and after the convolutions of the stem."""
    image, channels = settings.image_channels, settings.channels
    if DATASETS[settings.dataset].imagenet:
        return image, channels // 2, channels, channels
    return image, _STEM_MULTIPLIER * channels


def build(settings: Settings) -> Skeleton:
    """Stem, L cells, global average pool, linear; an auxiliary head if asked for.

    Parameters are ``stem``, ``cells`` (of every run of equal cells, stacked over them:
    ``before`` and ``previous`` bring in a cell's two inputs, ``edges`` are its
    operations), ``head``, and ``auxiliary``.

    Raises:
      InputError: a genotype that is none.
    """
    stack = plan(settings)
    params, stats = {}, {}
    params["stem"], stats["stem"] = parts.stem_template(stem_channels(settings))
    params["cells"], stats["cells"] = zip(*map(_run_template, runs(stack)), strict=True)
    params["head"] = supernet.head_template(
        stack[-1].out_channels, settings.num_classes
    )
    if settings.auxiliary:
        params["auxiliary"], stats["auxiliary"] = parts.auxiliary_template(
            stack[_auxiliary_after(settings)].out_channels,
            settings.num_classes,
            imagenet=DATASETS[settings.dataset].imagenet,
        )
    return Skeleton(
        params,
        stats,
        edges=(len(stack), max(len(c.graph.edges) for c in stack)),
        forward=partial(_forward, settings, stack),
        macs=partial(_macs, settings, stack),
    )


def _run_template(run: Run) -> tuple[Tree, Tree]:
    """Parameters and moments of equal cells."""
    cell, stack = run.cell, (run.length,)
    inputs = {
        "before": (cell.before[0], cell.before_channels),
        "previous": (units.POINTWISE, cell.previous_channels),
    }
    params = {
        name: units.params_template(unit, channels, cell.channels, stack=stack)
        for name, (unit, channels) in inputs.items()
    }
    stats = {name: units.stats_template(cell.channels, stack=stack) for name in inputs}
    params["edges"] = cells.params_template(cell.graph, cell.channels, stack=stack)
    stats["edges"] = cells.stats_template(cell.graph, cell.channels, stack=stack)
    return params, stats


def _auxiliary_after(settings: Settings) -> int:
    """The cell whose output the auxiliary head reads: the second reduction."""
    return 2 * settings.num_cells // 3


def _forward(
    settings: Settings,
    stack: tuple[CellPlan, ...],
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
    # ImageNet's cells read two convolutions of the stem, CIFAR's the one twice.
    states = (stems[-2], stems[-1]) if imagenet else (stems[0], stems[0])
    index, found = 0, []
    for run, weights, running in zip(
        runs(stack), params["cells"], stats["cells"], strict=True
    ):
        drop = None if keep is None else keep[index : index + run.length]
        states, moments = _apply_run(run, how, weights, running, states, drop)
        index += run.length
        found.append(moments)
        if index == _auxiliary_after(settings) + 1:
            features = states[1]
    moments = {"stem": stem, "cells": tuple(found)}
    auxiliary = None
    if settings.auxiliary and how.context.train:
        auxiliary, moments["auxiliary"] = parts.apply_auxiliary(
            params["auxiliary"],
            stats["auxiliary"],
            features,
            imagenet=imagenet,
            context=how.context,
        )
    logits = supernet.apply_head(params["head"], states[1])
    return Outputs(logits, auxiliary, moments)


#: Outputs of the cell before the previous one, and of the previous one.
States = tuple[Array, Array]


def _apply_run(
    run: Run,
    how: Pass,
    weights: Tree,
    stats: Tree,
    states: States,
    keep: Array | None,
) -> tuple[States, Tree]:
    """Run equal cells, unrolled or as a loop; the moments are stacked."""

    def step(states: States, own: tuple[Tree, Tree, Array | None]) -> Any:
        output, moments = _apply_cell(run.cell, how, *own, states)
        return (states[1], output), moments

    return cells.repeat(step, states, (weights, stats, keep), run.length, how)


def _apply_cell(
    cell: CellPlan,
    how: Pass,
    weights: Tree,
    stats: Tree,
    keep: Array | None,
    states: States,
) -> tuple[Array, Tree]:
    """Bring in the two inputs and run the edges."""
    context, moments = how.context, {}
    unit, stride = cell.before
    before, moments["before"] = units.apply_unit(
        unit,
        weights["before"],
        stats["before"],
        states[0],
        stride=stride,
        context=context,
    )
    previous, moments["previous"] = units.apply_unit(
        units.POINTWISE,
        weights["previous"],
        stats["previous"],
        states[1],
        context=context,
    )
    output, moments["edges"] = cells.apply(
        cell.graph,
        weights["edges"],
        stats["edges"],
        (before, previous),
        keep=keep,
        context=context,
    )
    return output, moments


def _macs(settings: Settings, stack: tuple[CellPlan, ...], size: Size) -> int:
    """`Skeleton.macs`."""
    imagenet = DATASETS[settings.dataset].imagenet
    channels = stem_channels(settings)
    total, size = parts.stem_macs(channels, size, stride=2 if imagenet else 1)
    for index, cell in enumerate(stack):
        unit, stride = cell.before
        # The stride of what is larger: its size before was twice this one's.
        at = (size[0] * stride, size[1] * stride)
        total += unit.macs(cell.before_channels, cell.channels, at, stride)
        total += units.POINTWISE.macs(cell.previous_channels, cell.channels, size, 1)
        total += cells.macs(cell.graph, cell.channels, size)
        if any(edge.stride == 2 for edge in cell.graph.edges):
            size = units.strided(size, 2)
        if settings.auxiliary and index == _auxiliary_after(settings):
            parts.check_auxiliary(size, imagenet=imagenet)
    if settings.auxiliary:
        read = stack[_auxiliary_after(settings)].out_channels
        total += parts.auxiliary_macs(read, settings.num_classes)
    return total + stack[-1].out_channels * settings.num_classes
