"""The DARTS search space (Liu et al., arXiv 1806.09055, section 3.1)."""

from collections.abc import Callable

from nasjax import operations
from nasjax.spaces.base import SearchSpace
from nasjax.spaces.derivation import (
    derive_two_edges_per_node,
    read_two_edges_per_node,
)
from nasjax.spaces.plan import STEMS, CellPlan, Input, Plan, Sizes, stem

OPERATIONS = (
    operations.NONE,
    operations.MAX_POOL_3X3,
    operations.AVG_POOL_3X3,
    operations.SKIP_CONNECT,
    operations.SEP_CONV_3X3,
    operations.SEP_CONV_5X5,
    operations.DIL_CONV_3X3,
    operations.DIL_CONV_5X5,
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
        read=read_two_edges_per_node,
        plan=plan,
        num_cells=8,
        stems=STEMS,
    )


def plan(sizes: Sizes, joined: Callable[[str], int]) -> Plan:
    """Stem, L cells, head; reductions at L//3 and 2L//3 double the channels.

    C=16, L=8 and 10 classes make a supernet of 1,930,618 weights. Two reductions leave
    nothing of an image smaller than 4×4 (32×32 with ImageNet's stem).
    """
    first, length, channels = (
        stem(sizes, multiplier=_STEM_MULTIPLIER),
        sizes.num_cells,
        sizes.channels,
    )
    before = previous = first.channels[-1]
    halve = sizes.stem == "imagenet"  # its last convolution is a reduction
    cells: list[CellPlan] = []
    for index in range(length):
        reduction = index in (length // 3, 2 * length // 3)
        channels *= 2 if reduction else 1
        inputs = Input(before, 2 if halve else 1), Input(previous)
        kind = "reduce" if reduction else "normal"
        cells.append(CellPlan(kind, channels, joined(kind), inputs, reduction))
        before, previous, halve = previous, cells[-1].out_channels, reduction
    return Plan(
        first,
        tuple(cells),
        sizes.num_classes,
        smallest=32 if sizes.stem == "imagenet" else 4,
        auxiliary_after=2 * length // 3,
    )
