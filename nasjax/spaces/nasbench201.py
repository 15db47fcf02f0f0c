"""The NAS-Bench-201 search space (Dong and Yang, arXiv 2001.00326, section 2)."""

from functools import partial

import jax
import jax.numpy as jnp

from nasjax import layers, ops, supernet
from nasjax.architecture import Mixture, Path, fold_in_cell
from nasjax.base import Array, Tree
from nasjax.engine.scan import (
    ForwardResult,
    Saved,
    cell_template,
    recomputed,
    recomputed_to_norm,
    run_cell,
)
from nasjax.engine.scan.stack import (
    Begun,
    Stage,
    StageWeights,
    Start,
    States,
    run_stack,
)
from nasjax.genotype import derive_every_edge
from nasjax.space import SearchSpace
from nasjax.supernet import Architecture, Settings, Supernet

OPERATIONS = (
    ops.NONE,
    ops.SKIP_CONNECT,
    ops.NOR_CONV_1X1,
    ops.NOR_CONV_3X3,
    ops.PLAIN_AVG_POOL_3X3,
)
_NUM_STAGES = 3
#: Convolutions of a residual block, batch normalisation after each.
_NORMALISED = ("first", "second")


def nasbench201() -> SearchSpace:
    """One input, three nodes, five operations; one cell type.

    >>> space = nasbench201()
    >>> space.num_edges, space.num_ops, space.edges
    (6, 5, ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)))
    """
    return SearchSpace(
        name="nasbench201",
        operations=OPERATIONS,
        edges=tuple(
            (source, target) for target in (1, 2, 3) for source in range(target)
        ),
        num_inputs=1,
        cell_types=("cell",),
        output=(3,),
        edges_per_node=None,
        derive=derive_every_edge,
        skeleton=skeleton,
    )


def _residual_template(channels: int, *, affine: bool) -> dict[str, Tree]:
    """A block that doubles ``channels`` and halves the resolution."""
    wide = 2 * channels
    kernels: dict[str, Tree] = {
        "first": ops.kernel(wide, channels, 3, 3),
        "second": ops.kernel(wide, wide, 3, 3),
        "shortcut": ops.kernel(wide, channels),
    }
    if not affine:
        return kernels
    norms = {f"{name}_norm": supernet.affine_template(wide) for name in _NORMALISED}
    return kernels | norms


def _apply_residual(
    weights: dict[str, Tree], x: Array, *, context: ops.Context
) -> Array:
    """Two ReLU-convolution-BN; the shortcut is a 2×2 average and a 1×1.

    Its batch normalisation has scale and offset where there are weights of them.
    """
    y = x
    for name, stride in zip(_NORMALISED, (2, 1), strict=True):
        run = partial(ops.relu_conv, stride=stride)
        y = recomputed_to_norm(run, context.norm_axis, y, weights[name])
        norm = weights.get(f"{name}_norm")
        if norm is not None:
            y = layers.affine(y, norm["scale"], norm["offset"])
    return y + layers.pointwise(layers.avg_pool_2x2(x), weights["shortcut"])


def _chained(space: SearchSpace, length: int) -> SearchSpace:
    """``length`` cells, each of which reads the last node before it, as one cell.

    >>> _chained(nasbench201(), 2).edges[5:8]
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


def _stage(
    number: int, settings: Settings, *, space: SearchSpace, context: ops.Context
) -> tuple[Stage, Stage]:
    """N cells, after a residual block where there is a stage before.

    For mixtures a loop over cells. For paths one cell, the cells' chain: its loop over
    the edges of all of them writes each state once, where the next ones read it.
    """
    reduce = partial(_apply_residual, context=context)
    length = settings.num_cells
    first = number * length

    def shape(states: States) -> tuple[int, ...]:
        channels, height, width, batch = states[-1].shape
        if not number:
            return channels, height, width, batch
        return 2 * channels, height // 2, width // 2, batch

    def begin(around: Tree, states: States) -> tuple[Tree, Start]:
        return (), (reduce(around, states[-1]) if number else states[-1],)

    def run(
        around: Tree,
        edges: Tree,
        entries: Tree,
        cell: Array,
        states: Start,
        runs: Mixture | Path,
        known: ForwardResult | None = None,
    ) -> tuple[Array, Saved]:
        del around, entries
        if isinstance(runs, Path):
            runs, graph = _along(runs, first, length), _chained(space, length)
        else:
            runs, graph = fold_in_cell(runs, first + cell), space
        return run_cell(
            edges,
            runs,
            states,
            space=graph,
            reduction=False,
            context=context,
            known=known,
        )

    mixed = Stage(length, space.cell_types[0], shape, begin, run)
    return mixed, mixed._replace(length=1)


def skeleton(space: SearchSpace, settings: Settings) -> Supernet:
    """Stem; three stages of N cells with residual blocks between; BN, ReLU, head.

    Raises:
      ValueError: the image's height or width is not a multiple of 4.
    """
    height, width, image_channels = settings.image_shape
    if height % 4 or width % 4:
        raise ValueError(
            f"NAS-Bench-201 halves images twice: {height}×{width} is not of 4s; "
            "data.image_size resizes the images of a folder"
        )
    context = settings.context
    widths = [settings.channels * 2**stage for stage in range(_NUM_STAGES)]

    stack = (settings.num_cells,)
    template = {
        "stem": supernet.stem_template(image_channels, settings.channels),
        "stages": tuple(
            cell_template(space, channels=channels, reduction=False, stack=stack)
            for channels in widths
        ),
        "residuals": tuple(
            _residual_template(channels, affine=settings.residual_affine)
            for channels in widths[:-1]
        ),
        "last": supernet.affine_template(widths[-1]),
        "head": supernet.head_template(widths[-1], settings.num_classes),
    }

    stages = [
        _stage(number, settings, space=space, context=context)
        for number in range(_NUM_STAGES)
    ]
    mixed, paths = zip(*stages, strict=True)

    def stem(weights: Tree, images: Array) -> tuple[States, Begun]:
        x = supernet.enter(images, settings.dtype)
        run = partial(supernet.apply_stem, context=context)
        states = (recomputed(run, weights["stem"], x),)
        return states, mixed[0].begin({}, states)

    def run_cells(
        weights: Tree, architecture: Architecture, entry: tuple[States, Begun]
    ) -> Array:
        residuals = ({}, *weights["residuals"])
        chain, edges = mixed, weights["stages"]
        if isinstance(architecture[space.cell_types[0]], Path):
            chain, edges = paths, map(_along_edges, edges)
        stacked = tuple(map(StageWeights, residuals, edges))
        x = run_stack(chain, stacked, architecture, *entry)
        last = weights["last"]
        x = layers.affine(context.batch_norm(x), last["scale"], last["offset"])
        return supernet.apply_head(weights["head"], layers.relu(x))

    return Supernet(
        space,
        settings,
        init=lambda key: ops.draw(key, template),
        stem=stem,
        cells=run_cells,
        macs=partial(_macs, space, settings),
    )


def _macs(space: SearchSpace, settings: Settings, cost: supernet.CellCost) -> int:
    height, width, image_channels = settings.image_shape
    channels = settings.channels
    total = 9.0 * image_channels * channels * height * width
    for stage in range(_NUM_STAGES):
        if stage:
            height, width, channels = height // 2, width // 2, channels * 2
            # First and second 3×3, and the 1×1 shortcut, of a residual block.
            total += (
                height * width * channels * (channels // 2 * (9 + 1) + channels * 9)
            )
        cell = supernet.cell_macs(
            space, channels=channels, height=height, width=width, reduction=False
        )
        total += settings.num_cells * cost(cell)
    return round(total + channels * settings.num_classes)
