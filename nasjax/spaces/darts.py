"""The DARTS search space (Liu et al., arXiv 1806.09055, section 3.1)."""

import itertools
from functools import partial
from typing import Any, NamedTuple

from nasjax import layers, ops, supernet
from nasjax.architecture import Mixture, Path, fold_in_cell
from nasjax.base import Array, Tree
from nasjax.engine.scan import ForwardResult, Saved, cell_template, recomputed, run_cell
from nasjax.engine.scan.inputs import choose_input, first_inputs, is_inside
from nasjax.engine.scan.stack import (
    Begun,
    Stage,
    StageWeights,
    Start,
    States,
    run_stack,
)
from nasjax.genotype import derive_two_edges_per_node
from nasjax.space import SearchSpace
from nasjax.supernet import Architecture, Settings, Supernet

OPERATIONS = (
    ops.NONE,
    ops.MAX_POOL_3X3,
    ops.AVG_POOL_3X3,
    ops.SKIP_CONNECT,
    ops.SEP_CONV_3X3,
    ops.SEP_CONV_5X5,
    ops.DIL_CONV_3X3,
    ops.DIL_CONV_5X5,
)
_STEM_MULTIPLIER = 3


def darts(*, num_nodes: int = 4) -> SearchSpace:
    """Two inputs, four nodes, eight operations; a normal and a reduction cell.

    Args:
      num_nodes: N, intermediate nodes.

    >>> space = darts()
    >>> space.num_edges, space.num_ops, space.edges[:5]
    (14, 8, ((0, 2), (1, 2), (0, 3), (1, 3), (2, 3)))

    Raises:
      ValueError: no node.
    """
    if num_nodes < 1:
        raise ValueError(f"{num_nodes=} is not at least 1")
    nodes = range(2, 2 + num_nodes)
    return SearchSpace(
        name="darts",
        operations=OPERATIONS,
        edges=tuple((source, target) for target in nodes for source in range(target)),
        num_inputs=2,
        cell_types=("normal", "reduce"),
        output=tuple(nodes),
        edges_per_node=2,
        derive=derive_two_edges_per_node,
        skeleton=skeleton,
    )


class CellPlan(NamedTuple):
    """One cell of the stack and what it reads."""

    reduction: bool
    channels: int
    before_channels: int  # of the output before the previous one
    previous_channels: int
    halve_before: bool  # what came just before halved the resolution


def plan(space: SearchSpace, settings: Settings) -> tuple[CellPlan, ...]:
    """The cells, reductions at L//3 and 2L//3 (spec section 1)."""
    length, channels = settings.num_cells, settings.channels
    before = previous = stem_channels(settings)[-1]
    halve = settings.stem == "imagenet"  # its last convolution is a reduction
    cells: list[CellPlan] = []
    for index in range(length):
        reduction = index in (length // 3, 2 * length // 3)
        channels *= 2 if reduction else 1
        cells.append(CellPlan(reduction, channels, before, previous, halve))
        before, previous, halve = previous, len(space.output) * channels, reduction
    return tuple(cells)


def stem_channels(settings: Settings) -> tuple[int, ...]:
    """Channels before, between and after the stem's convolutions (spec section 8)."""
    image, channels = settings.image_shape[2], settings.channels
    if settings.stem == "imagenet":
        return image, channels // 2, channels, channels
    return image, _STEM_MULTIPLIER * channels


def _stem_template(settings: Settings) -> Tree:
    pairs = itertools.pairwise(stem_channels(settings))
    stems = tuple(supernet.stem_template(*pair) for pair in pairs)
    return stems if settings.stem == "imagenet" else stems[0]


def _apply_stem(settings: Settings, weights: Tree, x: Array) -> States:
    """The stem's output, or its last two (ImageNet).

    ImageNet's three convolutions halve the resolution each, with a ReLU between.
    """
    if settings.stem == "cifar":
        return (supernet.apply_stem(weights, x, context=settings.context),)
    stem = partial(supernet.apply_stem, stride=2, context=settings.context)
    before = stem(weights[1], layers.relu(stem(weights[0], x)))
    return before, stem(weights[2], layers.relu(before))


def stages(cells: tuple[CellPlan, ...]) -> list[tuple[int, int]]:
    """``(first, last + 1)`` of each run of normal cells, and of each reduction."""
    runs: list[tuple[int, int]] = []
    for index, cell in enumerate(cells):
        if index and not cell.reduction and not cells[index - 1].reduction:
            runs[-1] = (runs[-1][0], index + 1)
        else:
            runs.append((index, index + 1))
    return runs


def _before_template(cell: CellPlan) -> Tree:
    if not cell.halve_before:
        return ops.kernel(cell.channels, cell.before_channels)
    halves = ops.factorized_reduce_shapes(cell.before_channels, cell.channels)
    return {name: ops.kernel(*shape) for name, shape in halves.items()}


def _edges_template(cells: tuple[CellPlan, ...], space: SearchSpace) -> Tree:
    """Weights of the edges of a stage's cells, stacked."""
    return cell_template(
        space,
        channels=cells[0].channels,
        reduction=cells[0].reduction,
        stack=(len(cells),),
    )


def _stage(
    cell: CellPlan,
    length: int,
    first: int,
    *,
    space: SearchSpace,
    context: ops.Context,
) -> Stage:
    """A run of cells as one loop, their inputs chosen by the cell's number.

    Args:
      cell: the first of them.
      length: how many.
      first: its number in the network.
      space: the search space.
      context: for the operations.
    """
    width = len(space.output) * cell.channels

    def shape(states: States) -> tuple[int, ...]:
        _, *size, batch = states[-1].shape
        stride = 2 if cell.reduction else 1
        return width, *(-(-n // stride) for n in size), batch

    def run(
        around: dict[str, Any],
        edges: Tree,
        entries: tuple[list[Array], list[Array]],
        number: Array,
        states: Start,
        runs: Mixture | Path,
        known: ForwardResult | None = None,
    ) -> tuple[Array, Saved]:
        kernels = [
            tuple(own for own in around[name] if is_inside(own, width))
            for name in ("before", "previous")
        ]
        choose = partial(choose_input, index=number, context=context)
        return run_cell(
            edges,
            fold_in_cell(fold_in_cell(runs, first), number),
            tuple(map(choose, entries, kernels, states)),
            space=space,
            reduction=cell.reduction,
            context=context,
            known=known,
        )

    begin = partial(first_inputs, width=width, context=context)
    return Stage(length, "reduce" if cell.reduction else "normal", shape, begin, run)


def skeleton(space: SearchSpace, settings: Settings) -> Supernet:
    """Stem, L cells, global pool, linear.

    C=16, L=8 and 10 classes make 1,930,618 weights: ``stem``, ``head``, for each
    cell the preprocessing of its inputs ``before`` and ``previous``, and ``edges``
    stacked over the cells of each stage.

    Raises:
      ValueError: an image smaller than 4×4 (32×32 with ImageNet's stem) leaves
        nothing after two reductions.
    """
    smallest = 32 if settings.stem == "imagenet" else 4
    if min(settings.image_shape[:2]) < smallest:
        raise ValueError(
            f"images of {settings.image_shape[:2]} pixels are smaller than "
            f"{smallest}×{smallest}; data.image_size resizes the images of a folder"
        )
    cells = plan(space, settings)
    runs = stages(cells)
    template = {
        "stem": _stem_template(settings),
        "before": tuple(map(_before_template, cells)),
        "previous": tuple(ops.kernel(c.channels, c.previous_channels) for c in cells),
        "edges": tuple(_edges_template(cells[a:b], space) for a, b in runs),
        "head": supernet.head_template(
            len(space.output) * cells[-1].channels, settings.num_classes
        ),
    }

    context = settings.context

    chain = tuple(
        _stage(cells[a], b - a, a, space=space, context=context) for a, b in runs
    )

    def around(weights: Tree, stage: int) -> Tree:
        a, b = runs[stage]
        return {name: weights[name][a:b] for name in ("before", "previous")}

    def stem(weights: Tree, images: Array) -> tuple[States, Begun]:
        x = supernet.enter(images, settings.dtype)
        outputs = recomputed(partial(_apply_stem, settings), weights["stem"], x)
        states = outputs[0], outputs[-1]  # the only one is read twice
        return states, chain[0].begin(around(weights, 0), states)

    def run_cells(
        weights: Tree, architecture: Architecture, entry: tuple[States, Begun]
    ) -> Array:
        stacked = tuple(
            StageWeights(around(weights, stage), edges)
            for stage, edges in enumerate(weights["edges"])
        )
        output = run_stack(chain, stacked, architecture, *entry)
        return supernet.apply_head(weights["head"], output)

    return Supernet(
        space,
        settings,
        init=lambda key: ops.draw(key, template),
        stem=stem,
        cells=run_cells,
        macs=partial(_macs, cells, space, settings),
    )


def _macs(
    cells: tuple[CellPlan, ...],
    space: SearchSpace,
    settings: Settings,
    cost: supernet.CellCost,
) -> int:
    height, width = settings.image_shape[:2]
    total = 0.0
    for inputs, outputs in itertools.pairwise(stem_channels(settings)):
        if settings.stem == "imagenet":
            height, width = -(-height // 2), -(-width // 2)
        total += 9.0 * inputs * outputs * height * width
    for cell in cells:
        entry = height * width * cell.channels
        total += entry * (cell.before_channels + cell.previous_channels)
        if cell.reduction:
            height, width = -(-height // 2), -(-width // 2)
        total += cost(
            supernet.cell_macs(
                space,
                channels=cell.channels,
                height=height,
                width=width,
                reduction=cell.reduction,
            )
        )
    return round(total + len(space.output) * cells[-1].channels * settings.num_classes)
