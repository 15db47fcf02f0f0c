"""A discrete network from its space's plan: weights, forward pass and cost."""

import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple

from nasjax import layers
from nasjax.base import Array, Tree
from nasjax.layers import CONV_3X3, Size, strided
from nasjax.network import auxiliary
from nasjax.network import cell as cells
from nasjax.network.cell import Graph
from nasjax.network.settings import (
    COLLECTIONS,
    Outputs,
    Pass,
    Settings,
    make_plan,
)
from nasjax.spaces import CellPlan, Plan, Residual, SearchSpace
from nasjax.spaces.plan import check_multiple, check_plan, count_macs

#: Names of a cell's inputs in the variables, oldest first.
INPUTS = ("before", "previous")
#: The newest outputs that a cell may read, oldest first.
States = tuple[Array, ...]


class Run(NamedTuple):
    """Equal parts of a body, one after the other; weights of cells are stacked."""

    part: CellPlan | Residual
    length: int


class Skeleton(NamedTuple):
    """A network as pure functions.

    Parameters are ``stem``, ``cells`` (of every run of equal cells, stacked over them:
    the operations of its edges; where cells bring their inputs in, these are ``edges``
    beside ``before`` and ``previous``), ``head``, and where the plan has them
    ``residuals``, ``last`` (the last batch normalisation) and ``auxiliary``.

    Attributes:
      settings: which network.
      space: of its genotype.
      plan: of the space.
      graphs: of each cell type.
      templates: of the parameters, ``params``, and of the running statistics,
        ``batch_stats``, to be drawn by `layers.draw`.
    """

    settings: Settings
    space: SearchSpace
    plan: Plan
    graphs: Mapping[str, Graph]
    templates: dict[str, Tree]

    @property
    def edges(self) -> tuple[int, int]:
        """``(cells, edges of a cell)`` that drop path draws for."""
        most = max(len(graph.edges) for graph in self.graphs.values())
        return len(self.plan.cells), most

    def forward(
        self, variables: Tree, images: Array, keep: Array | None, how: Pass
    ) -> Outputs:
        """Run the network on images ``[B, H, W, c]``.

        Args:
          variables: like ``templates``.
          images: ``[B, H, W, c]``.
          keep: ``[cells, edges, B]`` factors of drop path; None drops nothing.
          how: it is computed.

        Raises:
          InputError: images that the blocks of the space do not halve evenly, or that
            the auxiliary head does not fit.
        """
        return _forward(self, variables, images, keep, how)

    def macs(self, size: Size) -> int:
        """Multiply-accumulates of one image, an auxiliary head's among them."""
        return _macs(self, size)


def runs_of(plan: Plan) -> tuple[Run, ...]:
    """The body as runs; 20 cells of DARTS are nine.

    The cell whose output an auxiliary head reads ends one.
    """
    parts, index = [], -1
    for part in plan.body:
        index += isinstance(part, CellPlan)
        after = plan.auxiliary_after
        parts.append((part, after is not None and index > after))
    groups = itertools.groupby(parts)
    return tuple(Run(part, len(list(own))) for (part, _), own in groups)


def build(settings: Settings, space: SearchSpace) -> Skeleton:
    """The network of some settings.

    Raises:
      InputError: settings or a genotype that no network can be built from.
    """
    read = {kind: space.read(settings.genotype, kind) for kind in space.cell_types}
    plan = make_plan(settings, space, lambda kind: len(read[kind].output))
    check_plan(plan)
    reductions = {cell.kind: cell.reduction for cell in plan.cells}
    graphs = {
        kind: cells.graph(cell, space, reduction=reductions.get(kind, False))
        for kind, cell in read.items()
    }
    return Skeleton(settings, space, plan, graphs, _templates(settings, plan, graphs))


def _templates(
    settings: Settings, plan: Plan, graphs: Mapping[str, Graph]
) -> dict[str, Tree]:
    """`Skeleton.templates`."""
    params: dict[str, Tree] = {}
    stats: dict[str, Tree] = {}
    params["stem"] = layers.stem_template(plan.stem.channels)
    stats["stem"] = tuple(map(layers.stats_template, plan.stem.channels[1:]))
    parts = [(run, _template(graphs, run)) for run in runs_of(plan)]
    for name, kind in (("cells", CellPlan), ("residuals", Residual)):
        own = [trees for run, trees in parts if isinstance(run.part, kind)]
        if own:
            params[name], stats[name] = zip(*own, strict=True)
    if plan.last_norm:
        params["last"] = layers.affine_template(plan.out_channels)
        stats["last"] = layers.stats_template(plan.out_channels)
    params["head"] = layers.head_template(plan.out_channels, plan.num_classes)
    if settings.auxiliary:
        params["auxiliary"], stats["auxiliary"] = auxiliary.template(
            _auxiliary_channels(plan),
            plan.num_classes,
            imagenet=settings.stem == "imagenet",
        )
    return {"params": params, "batch_stats": stats}


def _auxiliary_channels(plan: Plan) -> int:
    assert plan.auxiliary_after is not None  # `make_plan` has refused it
    return plan.cells[plan.auxiliary_after].out_channels


def _template(graphs: Mapping[str, Graph], run: Run) -> tuple[Tree, Tree]:
    """Parameters and running statistics of a run."""
    part, stack = run.part, (run.length,)
    if isinstance(part, Residual):
        return _residual_template(part)
    edges = cells.template(graphs[part.kind], part.channels, stack=stack)
    if not part.inputs:
        return edges
    params, stats = {"edges": edges[0]}, {"edges": edges[1]}
    for name, own in zip(INPUTS, part.inputs, strict=True):
        params[name] = layers.unit_template(
            own.unit, own.channels, part.channels, stack=stack
        )
        stats[name] = layers.stats_template(part.channels, stack=stack)
    return params, stats


def _residual_template(block: Residual) -> tuple[Tree, Tree]:
    inputs, outputs = block.channels, block.out_channels
    params = {
        "first": layers.unit_template(CONV_3X3, inputs, outputs),
        "second": layers.unit_template(CONV_3X3, outputs, outputs),
        "shortcut": layers.kernel(outputs, inputs),
    }
    names = ("first", "second")
    return params, {name: layers.stats_template(outputs) for name in names}


# --- the forward pass ---------------------------------------------------------------


def _forward(
    built: Skeleton, variables: Tree, images: Array, keep: Array | None, how: Pass
) -> Outputs:
    """`Skeleton.forward`."""
    plan, context = built.plan, how.context
    check_multiple(plan, (images.shape[1], images.shape[2]), name=built.space.name)
    params, stats = variables["params"], variables["batch_stats"]
    x, found = layers.enter(images, how.dtype), {}
    outputs, found["stem"] = layers.apply_stem(
        params["stem"], stats["stem"], x, stride=plan.stem.stride, context=context
    )
    # CIFAR's only one is read twice by cells of two inputs.
    outputs = outputs[:1] * (plan.arity - len(outputs)) + outputs
    states: States = tuple(outputs[-plan.arity :])
    states, features = _body(built, how, variables, states, keep, found)
    y = states[-1]
    logits = None
    if built.settings.auxiliary and context.train:
        logits, found["auxiliary"] = auxiliary.apply(
            params["auxiliary"],
            stats["auxiliary"],
            features,
            imagenet=built.settings.stem == "imagenet",
            context=context,
        )
    if plan.last_norm:
        y, found["last"] = layers.normalise(
            params["last"], stats["last"], y, context=context
        )
        y = layers.relu(y)
    return Outputs(layers.apply_head(params["head"], y), logits, found)


def _body(
    built: Skeleton,
    how: Pass,
    variables: Tree,
    states: States,
    keep: Array | None,
    found: dict[str, Tree],
) -> tuple[States, Array]:
    """The states after the body, and what an auxiliary head reads.

    Adds the statistics of the body's parts to those found.
    """
    features, index = states[-1], 0
    seen: dict[str, list[Tree]] = {"cells": [], "residuals": []}
    for run in runs_of(built.plan):
        name = "residuals" if isinstance(run.part, Residual) else "cells"
        place = len(seen[name])
        own = tuple(variables[tree][name][place] for tree in COLLECTIONS)
        if isinstance(run.part, Residual):
            y, stats = _apply_residual(own, states[-1], how)
            states = (*states[1:], y)
        else:
            drop = None if keep is None else keep[index : index + run.length]
            states, stats = _apply_run(built, run, how, own, states, drop)
            index += run.length
            if built.plan.auxiliary_after == index - 1:
                features = states[-1]
        seen[name].append(stats)
    found |= {name: tuple(stats) for name, stats in seen.items() if stats}
    return states, features


def _apply_residual(own: tuple[Tree, Tree], x: Array, how: Pass) -> tuple[Array, Tree]:
    """`spaces.plan.Residual`, of its weights and its running statistics."""
    weights, stats = own
    y, found, stride = x, {}, 2
    for name in ("first", "second"):
        y, found[name] = layers.apply_unit(
            CONV_3X3, weights[name], stats[name], y, stride=stride, context=how.context
        )
        stride = 1
    return y + layers.pointwise(layers.avg_pool_2x2(x), weights["shortcut"]), found


def _apply_run(
    built: Skeleton,
    run: Run,
    how: Pass,
    own: tuple[Tree, Tree],
    states: States,
    keep: Array | None,
) -> tuple[States, Tree]:
    """Run equal cells, unrolled or as a loop; the statistics are stacked."""
    cell = run.part
    assert isinstance(cell, CellPlan)

    def step(states: States, own: tuple[Tree, Tree, Array | None]) -> Any:
        output, found = _apply_cell(built, cell, how, *own, states)
        return (*states[1:], output), found

    return cells.repeat(step, states, (*own, keep), run.length, how)


def _apply_cell(
    built: Skeleton,
    cell: CellPlan,
    how: Pass,
    weights: Tree,
    stats: Tree,
    keep: Array | None,
    states: States,
) -> tuple[Array, Tree]:
    """Bring in the inputs and run the edges."""
    run, graph, context = cells.apply, built.graphs[cell.kind], how.context
    if not cell.inputs:
        return run(graph, weights, stats, states, keep=keep, context=context)
    inputs, found = [], {}
    for name, own, x in zip(INPUTS, cell.inputs, states, strict=True):
        y, found[name] = layers.apply_unit(
            own.unit, weights[name], stats[name], x, stride=own.stride, context=context
        )
        inputs.append(y)
    output, found["edges"] = run(
        graph,
        weights["edges"],
        stats["edges"],
        tuple(inputs),
        keep=keep,
        context=context,
    )
    return output, found


# --- cost -----------------------------------------------------------------------------


def _macs(built: Skeleton, size: Size) -> int:
    """`Skeleton.macs`."""
    plan, sizes = built.plan, []

    def of_cell(cell: CellPlan, size: Size) -> int:
        sizes.append(strided(size, 2 if cell.reduction else 1))
        return cells.macs(built.graphs[cell.kind], cell.channels, size)

    total = round(count_macs(plan, size, of_cell))
    if built.settings.auxiliary:
        assert plan.auxiliary_after is not None
        imagenet = built.settings.stem == "imagenet"
        auxiliary.check(sizes[plan.auxiliary_after], imagenet=imagenet)
        total += auxiliary.macs(_auxiliary_channels(plan), plan.num_classes)
    return total
