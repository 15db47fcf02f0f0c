"""The supernet: a search space's weight-sharing network, from its plan."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nasjax import layers
from nasjax.architecture import Path
from nasjax.base import Array, Key, Tree
from nasjax.engine import batched
from nasjax.engine.scan import stages
from nasjax.engine.scan.cell import cell_template
from nasjax.engine.scan.stages import Architecture
from nasjax.genotype import Genotype, kept_edges
from nasjax.spaces.base import SearchSpace
from nasjax.spaces.plan import (
    STEMS,
    CellPlan,
    Input,
    Plan,
    Residual,
    Sizes,
    check_multiple,
    check_plan,
    count_macs,
    runs_of,
)

#: How a supernet is computed (`build`).
ENGINES = ("auto", "batched", "scan")
#: Multiply-accumulates of a cell's edges, ``[E][O]`` -> of those that are run.
CellCost = Callable[[list[list[int]]], float]


class Settings(NamedTuple):
    """Size and arithmetic of a supernet.

    Attributes:
      channels: C of the first cells.
      num_cells: L, or of a space of stages (NAS-Bench-201) the cells per stage, N.
      num_classes: Y.
      image_shape: ``(H, W, channels)`` of an image.
      dtype: of the activations, float32 or bfloat16; weights, statistics, logits
        and losses are float32.
      context: how the operations are computed.
      stem: one of `STEMS`.
      residual_affine: whether the batch normalisation in residual blocks has scale and
        offset.
      engine: "batched" or "scan".
    """

    channels: int
    num_cells: int
    num_classes: int
    image_shape: tuple[int, int, int]
    dtype: Any
    context: layers.Context
    stem: str = "cifar"
    residual_affine: bool = False
    engine: str = "scan"


class Supernet(NamedTuple):
    """A search space's weight-sharing network as pure functions.

    Attributes:
      space: its search space.
      settings: its size.
      init: ``key -> weights``, a tree of float32 arrays. Consumes the key.
      stem: ``(weights, images [B, H, W, c]) -> entry``, all that does not depend on the
        architecture, so that several of one step share it.
      cells: ``(weights, architecture, entry) -> logits [B, Y]``, the rest.
      macs: ``cost -> int``, multiply-accumulates of one image, where ``cost``
        maps the multiply-accumulates of the edges of a cell, ``[E][O]``, to those
        that are run.
    """

    space: SearchSpace
    settings: Settings
    init: Callable[[Key], Tree]
    stem: Callable[[Tree, Array], Tree]
    cells: Callable[[Tree, Architecture, Tree], Array]
    macs: Callable[[CellCost], int]

    def apply(self, weights: Tree, architecture: Architecture, images: Array) -> Array:
        """Logits ``[B, Y]`` of images ``[B, H, W, c]``."""
        return self.cells(weights, architecture, self.stem(weights, images))


def build(
    space: SearchSpace,
    *,
    channels: int = 16,
    num_cells: int | None = None,
    num_classes: int = 10,
    image_shape: tuple[int, int, int] = (32, 32, 3),
    dtype: Any = jnp.float32,
    depthwise: str = "auto",
    stem: str = "cifar",
    residual_affine: bool = False,
    axis_name: str | None = None,
    synchronised: bool = True,
    engine: str = "auto",
) -> Supernet:
    """The supernet of a space.

    Args:
      space: a search space.
      channels: C of the first cells.
      num_cells: L, or of a space of stages the cells per stage, N; None for the
        space's own default (DARTS 8, NAS-Bench-201 5).
      num_classes: Y.
      image_shape: ``(H, W, channels)``.
      dtype: of the activations.
      depthwise: form of the depthwise convolution (`layers.depthwise`).
      stem: "cifar" keeps the resolution, "imagenet" brings 224 pixels to 28; of those
        that the space has.
      residual_affine: the batch normalisation in residual blocks has scale and offset,
        as in NAS-Bench-201's search code; without (our default) nothing is affine
        between stem and head.
      axis_name: of the devices that share a batch; None on one device.
      synchronised: batch normalisation over the batch of all devices (n devices
        give what one gives), not of each.
      engine: how it is computed, never what: "batched" runs the edges that leave a
        state together, in few launches, "scan" one after the other in little memory;
        "auto" takes the former on an accelerator and the latter on a CPU. Both have
        the same weights.

    Raises:
      ValueError: an unknown engine, a size below 1, an image too small for the
        skeleton, a dtype other than float32 and bfloat16, an unknown form or stem,
        channels that the space's partial channels, or ImageNet's stem, do not divide.
    """
    if engine not in ENGINES:
        raise ValueError(f"{engine=} is not one of {', '.join(ENGINES)}")
    if engine == "auto":
        engine = "scan" if jax.default_backend() == "cpu" else "batched"
    context = layers.Context(depthwise, axis_name, synchronised)
    settings = Settings(
        channels,
        space.num_cells if num_cells is None else num_cells,
        num_classes,
        image_shape,
        layers.check_arithmetic(dtype, context),
        context,
        stem,
        residual_affine,
        engine,
    )
    _check(space, settings)
    sizes = Sizes(channels, settings.num_cells, num_classes, image_shape[2], stem)
    plan = space.plan(sizes, lambda kind: len(space.output))
    check_plan(plan)
    _check_images(plan, space, image_shape)
    if residual_affine and not plan.residuals:
        raise ValueError(
            f"{residual_affine=} is of spaces with residual blocks, not of {space.name}"
        )
    return _from_plan(plan, space, settings)


def _check(space: SearchSpace, settings: Settings) -> None:
    sizes = {
        "channels": settings.channels,
        "num_cells": settings.num_cells,
        "num_classes": settings.num_classes,
        "image height": settings.image_shape[0],
        "image width": settings.image_shape[1],
        "image channels": settings.image_shape[2],
    }
    for size, value in sizes.items():
        if value < 1:
            raise ValueError(f"{size} is {value}; it is at least 1")
    channels, stem = settings.channels, settings.stem
    if channels % space.channel_divisor:
        raise ValueError(
            f"{channels=} is not a multiple of {space.channel_divisor}, for partial "
            "channels"
        )
    if stem not in STEMS:
        raise ValueError(f"{stem=} is not one of {', '.join(STEMS)}")
    if stem not in space.stems:
        raise ValueError(
            f"{stem=} is not of the space {space.name}, which has "
            f"{', '.join(space.stems)}"
        )


def _from_plan(plan: Plan, space: SearchSpace, settings: Settings) -> Supernet:
    affine = settings.residual_affine
    weights = template(plan, space, residual_affine=affine)
    network = batched.network if settings.engine == "batched" else stages.network
    stem, cells = network(plan, space, context=settings.context, dtype=settings.dtype)
    return Supernet(
        space,
        settings,
        init=lambda key: layers.draw(key, weights),
        stem=stem,
        cells=cells,
        macs=partial(_macs, plan, space, settings.image_shape[:2]),
    )


def _check_images(
    plan: Plan, space: SearchSpace, image_shape: tuple[int, int, int]
) -> None:
    if min(image_shape[:2]) < plan.smallest:
        raise ValueError(
            f"images of {image_shape[:2]} pixels are smaller than "
            f"{plan.smallest}×{plan.smallest}; data.image_size resizes the images of a "
            "folder"
        )
    check_multiple(plan, image_shape[:2], name=space.name)


def derived_architecture(space: SearchSpace, genotype: Genotype) -> Architecture:
    """A genotype as a path through the supernet: its edges at weight 1, no others.

    Args:
      space: of the supernet, as the method adapted it.
      genotype: of that space.

    Raises:
      ValueError: an edge or an operation that the space does not have.
    """
    cells = {}
    for name in space.cell_types:
        operation = np.zeros(space.num_edges, np.int32)
        active = np.zeros(space.num_edges, bool)
        for kept, edge in kept_edges(genotype, name):
            if edge not in space.edges or kept not in space.primitives:
                raise ValueError(
                    f"{kept} on edge {edge[1]}←{edge[0]} is not of {space.name} with "
                    f"{', '.join(space.primitives)}"
                )
            place = space.edges.index(edge)
            operation[place] = space.primitives.index(kept)
            active[place] = True
        weight = jnp.ones(space.num_edges)
        cells[name] = Path(jnp.asarray(operation), weight, jnp.asarray(active))
    return cells


def count(weights: Tree) -> int:
    """How many numbers a tree of arrays (or of their shapes) holds."""
    return sum(leaf.size for leaf in jax.tree.leaves(weights))


def every_operation(macs: list[list[int]]) -> float:
    """Cost of a mixture: all operations of all edges (`Supernet.macs`)."""
    return float(sum(map(sum, macs)))


def costliest_operation(macs: list[list[int]]) -> float:
    """Upper bound of a path: the dearest operation of every edge."""
    return float(sum(map(max, macs)))


def template(
    plan: Plan, space: SearchSpace, *, residual_affine: bool = False
) -> dict[str, Tree]:
    """Weights of a supernet, to be drawn by `layers.draw`.

    ``stem``, ``head``, and of every run of cells the weights of its edges, stacked:
    ``edges`` where cells bring their inputs in, with those of each cell's inputs,
    ``before`` and ``previous``; else ``stages``. Where the plan has them, ``residuals``
    (of the blocks between) and ``last`` (the last batch normalisation).

    Args:
      plan: of the space.
      space: whose cells are weighed.
      residual_affine: see `build`.
    """
    stem = layers.stem_template(plan.stem.channels)
    tree: dict[str, Tree] = {
        "stem": stem if len(stem) > 1 else stem[0],
        "head": layers.head_template(plan.out_channels, plan.num_classes),
    }
    edges = tuple(
        cell_template(
            space,
            channels=plan.cells[run.first].channels,
            reduction=plan.cells[run.first].reduction,
            stack=(run.end - run.first,),
        )
        for run in runs_of(plan)
    )
    if plan.arity == 1:
        tree["stages"] = edges
    else:
        tree["edges"] = edges
        for place, name in enumerate(("before", "previous")):
            tree[name] = tuple(_input_template(c, c.inputs[place]) for c in plan.cells)
    if plan.residuals:
        tree["residuals"] = tuple(
            _residual_template(block, affine=residual_affine)
            for block in plan.residuals
        )
    if plan.last_norm:
        tree["last"] = layers.affine_template(plan.out_channels)
    return tree


def _input_template(cell: CellPlan, source: Input) -> Tree:
    """Kernels of an input of a cell; of one kernel, that alone."""
    shapes = source.unit.shapes(source.channels, cell.channels)
    kernels = {name: layers.kernel(*shape) for name, shape in shapes.items()}
    return kernels.get("kernel", kernels)


def _residual_template(block: Residual, *, affine: bool) -> dict[str, Tree]:
    inputs, outputs = block.channels, block.out_channels
    tree: dict[str, Tree] = {
        "first": layers.kernel(outputs, inputs, 3, 3),
        "second": layers.kernel(outputs, outputs, 3, 3),
        "shortcut": layers.kernel(outputs, inputs),
    }
    if affine:
        for name in ("first", "second"):
            tree[f"{name}_norm"] = layers.affine_template(outputs)
    return tree


def _macs(plan: Plan, space: SearchSpace, size: layers.Size, cost: CellCost) -> int:
    """`Supernet.macs`."""

    def of_cell(cell: CellPlan, size: layers.Size) -> float:
        return cost(cell_macs(space, cell, size))

    return round(count_macs(plan, size, of_cell))


def cell_macs(space: SearchSpace, cell: CellPlan, size: layers.Size) -> list[list[int]]:
    """``[E][O]`` multiply-accumulates in a cell whose inputs are of a size."""
    channels = cell.channels // space.channel_divisor
    inside = layers.strided(size, 2 if cell.reduction else 1)
    rows = []
    for source, _ in space.edges:
        halved = cell.reduction and source < space.num_inputs
        at, stride = (size, 2) if halved else (inside, 1)
        rows.append([op.macs(channels, at, stride) for op in space.operations])
    return rows
