"""The network of a plan on this engine: a loop for each run of cells of one shape."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nasjax import layers
from nasjax.architecture import Mixture, Path, fold_in_cell
from nasjax.base import Array, Tree
from nasjax.engine.scan import (
    ForwardResult,
    Saved,
    recomputed,
    recomputed_to_norm,
    run_cell,
)
from nasjax.engine.scan.inputs import choose_input, first_inputs, is_inside
from nasjax.engine.scan.stack import (
    Begun,
    Stage,
    StageWeights,
    Start,
    States,
    run_stack,
)
from nasjax.layers import Context
from nasjax.spaces.base import SearchSpace
from nasjax.spaces.plan import CellPlan, Plan, Run, runs_of

#: What every cell type runs.
Architecture = Mapping[str, Mixture | Path]
#: Names of a cell's inputs in the weights, oldest first.
INPUTS = ("before", "previous")
#: Convolutions of a residual block, batch normalisation after each.
NORMALISED = ("first", "second")


class Network(NamedTuple):
    """A supernet's two halves (`Supernet.stem`, `Supernet.cells`)."""

    stem: Callable[[Tree, Array], Tree]
    cells: Callable[[Tree, Architecture, Tree], Array]


def network(plan: Plan, space: SearchSpace, *, context: Context, dtype: Any) -> Network:
    """Stem, cells and head of a plan.

    Args:
      plan: of the space.
      space: whose cells are run.
      context: for all layers.
      dtype: of the activations.
    """
    runs = runs_of(plan)
    make = _prepared if plan.arity > 1 else _chained
    pairs = [make(plan, own, space=space, context=context) for own in runs]

    def stage_params(weights: Tree, stage: int) -> Tree:
        first, end, block = runs[stage]
        if plan.arity > 1:
            return {name: weights[name][first:end] for name in INPUTS}
        return {} if block is None else weights["residuals"][block]

    def stem(weights: Tree, images: Array) -> tuple[States, Begun]:
        x = layers.enter(images, dtype)
        run = partial(_apply_stem, plan, context)
        outputs = recomputed(run, weights["stem"], x)
        # CIFAR's only one is read twice.
        states = (*outputs[:1] * (plan.arity - len(outputs)), *outputs)
        return states, pairs[0][0].prepare_inputs(stage_params(weights, 0), states)

    def cells(
        weights: Tree, architecture: Architecture, entry: tuple[States, Begun]
    ) -> Array:
        chain, stacked = [], []
        edges = weights["edges" if plan.arity > 1 else "stages"]
        for number, ((mixed, alone), own) in enumerate(zip(pairs, edges, strict=True)):
            stage = mixed
            if isinstance(architecture[mixed.cell_type], Path) and alone is not mixed:
                stage, own = alone, _along_edges(own)
            chain.append(stage)
            stacked.append(StageWeights(stage_params(weights, number), own))
        x = run_stack(tuple(chain), tuple(stacked), architecture, *entry)
        if plan.last_norm:
            x, _ = layers.normalise(weights["last"], None, x, context=context)
            x = layers.relu(x)
        return layers.apply_head(weights["head"], x)

    return Network(stem, cells)


def _apply_stem(plan: Plan, context: Context, weights: Tree, x: Array) -> States:
    """What of the stem's outputs the first cell reads."""
    own = (weights,) if isinstance(weights, dict) else weights
    stride, nothing = plan.stem.stride, (None,) * len(own)
    outputs, _ = layers.apply_stem(own, nothing, x, stride=stride, context=context)
    return tuple(outputs[-plan.arity :])


# --- cells whose inputs are brought in --------------------------------------------


def _prepared(
    plan: Plan, own: Run, *, space: SearchSpace, context: Context
) -> tuple[Stage, Stage]:
    """A run of cells as one loop, their inputs chosen by the cell's number."""
    cell, first = plan.cells[own.first], own.first
    width = cell.out_channels

    def run(
        stage_params: dict[str, Any],
        edges: Tree,
        prepared: tuple[list[Array], list[Array]],
        number: Array,
        states: Start,
        runs: Mixture | Path,
        known: ForwardResult | None = None,
    ) -> tuple[Array, Saved]:
        kernels = [
            tuple(own for own in stage_params[name] if is_inside(own, width))
            for name in INPUTS
        ]
        choose = partial(choose_input, index=number, context=context)
        return run_cell(
            edges,
            fold_in_cell(fold_in_cell(runs, first), number),
            tuple(map(choose, prepared, kernels, states)),
            space=space,
            reduction=cell.reduction,
            context=context,
            known=known,
        )

    prepare_inputs = partial(first_inputs, width=width, context=context)
    shape = partial(_shape, cell, own)
    stage = Stage(own.end - first, cell.kind, shape, prepare_inputs, run)
    return stage, stage


def _shape(cell: CellPlan, own: Run, states: States) -> tuple[int, ...]:
    """The shape of an output of a run, given the states before it."""
    _, *size, batch = states[-1].shape
    for halved in (own.block is not None, cell.reduction):
        size = [-(-n // 2) for n in size] if halved else size
    return cell.out_channels, *size, batch


# --- cells that read the newest output ---------------------------------------------


def _apply_residual(weights: dict[str, Tree], x: Array, *, context: Context) -> Array:
    """`spaces.plan.Residual`; its norms are affine where there are weights of them."""
    y = x
    for name, stride in zip(NORMALISED, (2, 1), strict=True):
        run = partial(_relu_conv, stride=stride)
        y = recomputed_to_norm(run, context.norm_axis, y, weights[name])
        norm = weights.get(f"{name}_norm")
        if norm is not None:
            y = layers.affine(y, norm["scale"], norm["offset"])
    return y + layers.pointwise(layers.avg_pool_2x2(x), weights["shortcut"])


def _relu_conv(x: Array, kernel: Array, *, stride: int) -> Array:
    return layers.convolution(layers.relu(x), kernel, stride=stride)


def _chain_of(space: SearchSpace, length: int) -> SearchSpace:
    """``length`` cells, each of which reads the last node before it, as one cell.

    >>> from nasjax.spaces import nasbench201
    >>> _chain_of(nasbench201(), 2).edges[5:8]
    ((2, 3), (3, 4), (3, 5))
    """
    (last,) = space.output
    edges = tuple(
        (cell * last + source, cell * last + target)
        for cell in range(length)
        for source, target in space.edges
    )
    return space._replace(edges=edges, output=(length * last,))


def _along(path: Path, first: int, length: int) -> Path:
    """What all edges of so many cells run, from the cell numbered ``first`` on."""
    cells = [fold_in_cell(path, first + number) for number in range(length)]
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *cells)


def _along_edges(edges: Tree) -> Tree:
    """Weights ``[N, E, ...]`` of a stage's cells as ``[1, N*E, ...]``."""
    return jax.tree.map(lambda leaf: leaf.reshape(1, -1, *leaf.shape[2:]), edges)


def _chained(
    plan: Plan, own: Run, *, space: SearchSpace, context: Context
) -> tuple[Stage, Stage]:
    """A run of cells, after a residual block where one stands before.

    For mixtures a loop over cells. For paths one cell, the cells' chain: its loop over
    the edges of all of them writes each state once, where the next ones read it.
    """
    cell, first, length = plan.cells[own.first], own.first, own.end - own.first

    def prepare_inputs(stage_params: Tree, states: States) -> tuple[Tree, Start]:
        x = states[-1]
        if own.block is not None:
            x = _apply_residual(stage_params, x, context=context)
        return (), (x,)

    def run(
        stage_params: Tree,
        edges: Tree,
        prepared: Tree,
        at: Array,
        states: Start,
        runs: Mixture | Path,
        known: ForwardResult | None = None,
    ) -> tuple[Array, Saved]:
        del stage_params, prepared
        if isinstance(runs, Path):
            runs, graph = _along(runs, first, length), _chain_of(space, length)
        else:
            runs, graph = fold_in_cell(runs, first + at), space
        return run_cell(
            edges,
            runs,
            states,
            space=graph,
            reduction=cell.reduction,
            context=context,
            known=known,
        )

    mixed = Stage(length, cell.kind, partial(_shape, cell, own), prepare_inputs, run)
    return mixed, mixed._replace(length=1)
