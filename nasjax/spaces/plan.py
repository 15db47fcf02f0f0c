"""The plan of a network around its cells, as plain data.

A supernet and a discrete network are built from one plan: its weights, both costs and
PyTorch's names follow. A space gives it (`spaces.base.SearchSpace`).
"""

import itertools
from collections.abc import Callable
from typing import NamedTuple

from nasjax import layers
from nasjax.base import InputError
from nasjax.layers import Size, Unit, strided

#: How images come in: one 3×3 convolution, or ImageNet's three of stride 2.
STEMS = ("cifar", "imagenet")


class Sizes(NamedTuple):
    """What a plan depends on beside its space.

    Attributes:
      channels: C of the first cells.
      num_cells: L; of a space of stages the cells per stage, N.
      num_classes: Y.
      image_channels: of an image.
      stem: one of `STEMS`.
    """

    channels: int
    num_cells: int
    num_classes: int
    image_channels: int = 3
    stem: str = "cifar"


class Stem(NamedTuple):
    """3×3 convolutions with batch normalisation, a ReLU between two.

    Attributes:
      channels: before the first convolution and after each.
      stride: of each.
      modules: PyTorch's names of each convolution and its batch normalisation.
    """

    channels: tuple[int, ...]
    stride: int
    modules: tuple[tuple[str, str], ...]


class Input(NamedTuple):
    """How an earlier output is brought to a cell's channels and resolution.

    A 1×1 convolution; a factorized reduce where that output is larger than the newest
    (DARTS, arXiv 1806.09055, the published code).

    Attributes:
      channels: of that output.
      stride: 1, or 2 where it is larger.
    """

    channels: int
    stride: int = 1

    @property
    def unit(self) -> Unit:
        """What it goes through."""
        return layers.POINTWISE if self.stride == 1 else layers.FACTORIZED_REDUCE


class CellPlan(NamedTuple):
    """One cell.

    Attributes:
      kind: its cell type.
      channels: C of its states.
      joined: how many states its output concatenates.
      inputs: how the newest outputs come in, oldest first: two; empty where the cell
        reads the newest as it is.
      reduction: whether edges that leave an input have stride 2.
    """

    kind: str
    channels: int
    joined: int
    inputs: tuple[Input, ...] = ()
    reduction: bool = False

    @property
    def out_channels(self) -> int:
        """Channels of the output."""
        return self.joined * self.channels


class Residual(NamedTuple):
    """A block that doubles ``channels`` and halves the resolution.

    Two ReLU-convolution-BN of 3×3, and a shortcut: a 2×2 average and a 1×1.
    """

    channels: int

    @property
    def out_channels(self) -> int:
        """Channels of the output."""
        return 2 * self.channels


class Plan(NamedTuple):
    """A network: stem, body, global average pool, linear.

    Attributes:
      stem: what images go through first.
      body: cells and the blocks between them, in order.
      num_classes: Y.
      last_norm: whether batch normalisation and a ReLU follow the body.
      smallest: height and width of an image are at least this.
      multiple: height and width of an image are multiples of this.
      auxiliary_after: number of the cell whose output an auxiliary head reads; None
        where there is none.
      edges_module: PyTorch's name of the list of a cell's edges.
    """

    stem: Stem
    body: tuple[CellPlan | Residual, ...]
    num_classes: int
    last_norm: bool = False
    smallest: int = 1
    multiple: int = 1
    auxiliary_after: int | None = None
    edges_module: str = "_ops"

    @property
    def cells(self) -> tuple[CellPlan, ...]:
        """The cells alone."""
        return tuple(part for part in self.body if isinstance(part, CellPlan))

    @property
    def residuals(self) -> tuple[Residual, ...]:
        """The blocks alone."""
        return tuple(part for part in self.body if isinstance(part, Residual))

    @property
    def out_channels(self) -> int:
        """Channels that the classifier reads."""
        return self.body[-1].out_channels

    @property
    def arity(self) -> int:
        """How many outputs a cell reads: the newest, or the two newest."""
        return max(1, len(self.cells[0].inputs))


def stem(sizes: Sizes, *, multiplier: int = 1) -> Stem:
    """The stem of a name.

    Args:
      sizes: with the name, and the channels of images and cells.
      multiplier: channels of the "cifar" stem's output are so many times the cells'.

    Raises:
      InputError: odd channels, which ImageNet's stem cannot halve.
    """
    image, channels = sizes.image_channels, sizes.channels
    if sizes.stem != "imagenet":
        return Stem((image, multiplier * channels), 1, (("stem.0", "stem.1"),))
    if channels % 2:
        raise InputError(
            f"channels is {channels}; ImageNet's stem halves it, so it is even"
        )
    modules = (("stem0.0", "stem0.1"), ("stem0.3", "stem0.4"), ("stem1.1", "stem1.2"))
    return Stem((image, channels // 2, channels, channels), 2, modules)


class Run(NamedTuple):
    """Cells of one shape with nothing between, which a supernet loops over.

    Attributes:
      first: number of the first cell.
      end: number after the last.
      block: number of the block just before; None for none.
    """

    first: int
    end: int
    block: int | None


def runs_of(plan: Plan) -> tuple[Run, ...]:
    """The cells as runs; a reduction stands alone."""
    runs: list[Run] = []
    before: CellPlan | Residual | None = None
    index = blocks = 0
    for part in plan.body:
        if isinstance(part, Residual):
            before, blocks = part, blocks + 1
            continue
        if _alike(before, part):
            runs[-1] = runs[-1]._replace(end=index + 1)
        else:
            block = blocks - 1 if isinstance(before, Residual) else None
            runs.append(Run(index, index + 1, block))
        before, index = part, index + 1
    return tuple(runs)


def _alike(before: CellPlan | Residual | None, cell: CellPlan) -> bool:
    """Whether a cell goes on with the run of the part before it."""
    if not isinstance(before, CellPlan) or before.reduction or cell.reduction:
        return False
    return before.channels == cell.channels


def check_plan(plan: Plan) -> None:
    """Refuse a plan whose parts do not go together.

    Raises:
      ValueError: with what is wrong.
    """
    if problem := _problem(plan):
        raise ValueError(f"plan of a network: {problem}")


def _problem(plan: Plan) -> str:
    """What is wrong with a plan; an empty text for nothing."""
    if not plan.body or not isinstance(plan.body[-1], CellPlan):
        return "its body ends with a cell"
    inputs = {len(cell.inputs) for cell in plan.cells}
    if inputs not in ({0}, {2}):
        return f"its cells have {sorted(inputs)} inputs; all have two, or none"
    if inputs == {2} and plan.residuals:
        return "its cells bring their inputs in, so no block stands between them"
    outputs = list(plan.stem.channels[1:])
    outputs = outputs[:1] * (plan.arity - len(outputs)) + outputs
    for index, part in enumerate(plan.body):
        reads = outputs[-plan.arity :]
        if isinstance(part, CellPlan) and part.inputs:
            wanted = [own.channels for own in part.inputs]
        else:
            wanted = [part.channels]
        if reads != wanted:
            return f"part {index} reads {wanted} channels, and is given {reads}"
        if isinstance(part, Residual) and isinstance(plan.body[index + 1], Residual):
            return "a cell stands between two blocks"
        outputs.append(part.out_channels)
    return ""


def count_macs(
    plan: Plan, size: Size, cell: Callable[[CellPlan, Size], float]
) -> float:
    """Multiply-accumulates of one image.

    Args:
      plan: of the network.
      size: height and width of the image.
      cell: ``(cell, size of its inputs) ->`` those of its edges.
    """
    total = 0.0
    for inputs, outputs in itertools.pairwise(plan.stem.channels):
        total += layers.CONV_3X3.macs(inputs, outputs, size, plan.stem.stride)
        size = strided(size, plan.stem.stride)
    for part in plan.body:
        if isinstance(part, Residual):
            total += _residual_macs(part, size)
            size = strided(size, 2)
            continue
        for own in part.inputs:
            # What is larger was so many times this size.
            at = size[0] * own.stride, size[1] * own.stride
            total += own.unit.macs(own.channels, part.channels, at, own.stride)
        total += cell(part, size)
        size = strided(size, 2) if part.reduction else size
    return total + plan.out_channels * plan.num_classes


def _residual_macs(block: Residual, size: Size) -> int:
    inputs, outputs, half = block.channels, block.out_channels, strided(size, 2)
    return (
        layers.CONV_3X3.macs(inputs, outputs, size, 2)
        + layers.CONV_3X3.macs(outputs, outputs, half, 1)
        + layers.POINTWISE.macs(inputs, outputs, half, 1)
    )


def check_multiple(plan: Plan, size: Size, *, name: str) -> None:
    """Refuse images that the blocks of a space do not halve evenly.

    Args:
      plan: of the network.
      size: height and width of the images.
      name: of the space.

    Raises:
      InputError: a height or width that is not a multiple of `Plan.multiple`.
    """
    if any(pixels % plan.multiple for pixels in size):
        raise InputError(
            f"images are {size[0]}×{size[1]}; {name} halves them so often that both "
            f"are multiples of {plan.multiple}; data.image_size resizes the images of "
            "a folder"
        )
