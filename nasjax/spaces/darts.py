"""The DARTS search space (Liu et al., arXiv 1806.09055, section 3.1)."""

import itertools
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from nasjax import ops, supernet
from nasjax.base import Array, Tree
from nasjax.cell import (
    Mixture,
    Path,
    apply_cell,
    cell_template,
    for_cell,
    recomputed_switch,
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


def _apply_stem(settings: Settings, weights: Tree, x: Array) -> tuple[Array, Array]:
    """What the first cell reads: the stem's output twice, or its last two (ImageNet).

    ImageNet's three convolutions halve the resolution each, with a ReLU between.
    """
    if settings.stem == "cifar":
        x = supernet.apply_stem(weights, x, context=settings.context)
        return x, x
    stem = partial(supernet.apply_stem, stride=2, context=settings.context)
    before = stem(weights[1], jax.nn.relu(stem(weights[0], x)))
    return before, stem(weights[2], jax.nn.relu(before))


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


def _preprocess(weights: Tree, x: Array, *, context: ops.Context) -> Array:
    """An input of a cell, brought to its channels and resolution."""
    if isinstance(weights, dict):
        return ops.factorized_reduce(weights, x, context=context)
    return ops.relu_conv_bn(x, weights, context=context)


def _choose(
    entries: list[Array],
    kernels: tuple[Array, ...],
    index: Array,
    x: Array,
    *,
    context: ops.Context,
) -> Array:
    """Input of the ``index``-th cell of a stage: an entry, or made of ``x``."""
    if not entries:
        run = jax.checkpoint(partial(ops.relu_conv_bn, context=context))
        return run(x, jnp.stack(kernels)[index])

    def entry(at: int, entries: list[Array], kernel: Array, x: Array) -> Array:
        del kernel, x
        return entries[at]

    def made(entries: list[Array], kernel: Array, x: Array) -> Array:
        del entries
        return ops.relu_conv_bn(x, kernel, context=context)

    branches = [partial(entry, at) for at in range(len(entries))]
    if not kernels:
        unused = jnp.zeros((entries[0].shape[0], x.shape[0]), jnp.float32)
        return recomputed_switch(tuple(branches), index, entries, unused, x)
    kernel = jnp.stack(kernels)[jnp.maximum(index - len(entries), 0)]
    last = jnp.minimum(index, len(entries))
    return recomputed_switch((*branches, made), last, entries, kernel, x)


def _run_stage(
    weights: dict[str, Tree],
    run_cell: Callable[[Tree, Array, Array, Array], Array],
    before: Array,
    previous: Array,
    *,
    width: int,
    context: ops.Context,
) -> tuple[Array, Array]:
    """Run the cells of one stage, more than one as a loop.

    The first cells read what comes from outside the stage, in other shapes: their
    inputs are made ahead and chosen by the cell's number.

    Args:
      weights: ``before`` and ``previous`` of each cell, ``edges`` stacked.
      run_cell: ``(edge weights, cell of the stage, input, input) -> output``.
      before: output of the cell before the previous one.
      previous: output of the previous cell.
      width: channels of a cell's output.
      context: of the preprocessing.
    """
    prepare = jax.checkpoint(partial(_preprocess, context=context))
    choose = partial(_choose, context=context)

    if len(weights["before"]) == 1:  # nothing to loop over
        output = run_cell(
            jax.tree.map(lambda a: a[0], weights["edges"]),
            jnp.zeros((), jnp.int32),
            prepare(weights["before"][0], before),
            prepare(weights["previous"][0], previous),
        )
        return previous, output

    def is_inside(own: Tree) -> bool:
        return not isinstance(own, dict) and own.shape[1] == width

    outside = [w for w in weights["before"] if not is_inside(w)]
    first_entries = [
        prepare(own, x) for own, x in zip(outside, (before, previous), strict=False)
    ]
    second_entries = [
        prepare(own, previous) for own in weights["previous"] if not is_inside(own)
    ]
    first_kernels = weights["before"][len(first_entries) :]
    second_kernels = weights["previous"][len(second_entries) :]
    nothing = jnp.zeros((width, *previous.shape[1:]), previous.dtype)

    def step(
        states: tuple[Array, Array], cell: tuple[Tree, Array]
    ) -> tuple[tuple[Array, Array], None]:
        before, previous = states
        edges, index = cell
        first = choose(first_entries, first_kernels, index, before)
        second = choose(second_entries, second_kernels, index, previous)
        return (previous, run_cell(edges, index, first, second)), None

    start = (
        nothing if first_entries else before,
        nothing if second_entries else previous,
    )
    numbers = jnp.arange(len(weights["before"]))
    return lax.scan(step, start, (weights["edges"], numbers))[0]


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
            f"{smallest}×{smallest}"
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

    def run_cell(
        cell: CellPlan, runs: Mixture | Path, edges: Tree, number: Array, *inputs: Array
    ) -> Array:
        return apply_cell(
            edges,
            for_cell(runs, number),
            inputs,
            space=space,
            reduction=cell.reduction,
            context=context,
        )

    def apply(weights: Tree, architecture: Architecture, images: Array) -> Array:
        x = supernet.enter(images, settings.dtype)
        before, previous = _apply_stem(settings, weights["stem"], x)
        for (first, end), edges in zip(runs, weights["edges"], strict=True):
            cell = cells[first]
            own = architecture["reduce" if cell.reduction else "normal"]
            run = partial(run_cell, cell, for_cell(own, first))
            stage = {
                "before": weights["before"][first:end],
                "previous": weights["previous"][first:end],
                "edges": edges,
            }
            before, previous = _run_stage(
                stage,
                run,
                before,
                previous,
                width=len(space.output) * cell.channels,
                context=context,
            )
        return supernet.apply_head(weights["head"], previous)

    return Supernet(
        space,
        settings,
        init=lambda key: ops.draw(key, template),
        apply=apply,
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
