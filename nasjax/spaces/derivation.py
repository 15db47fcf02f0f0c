"""How a genotype is derived from alpha, and read as cells again.

A space names one of the two forms: two edges per node (the DARTS family), or every
edge (NAS-Bench-201).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from nasjax.base import InputError
from nasjax.genotype import (
    Cell,
    DiscreteCell,
    Genotype,
    format_arch_str,
    read_cell,
)
from nasjax.spaces.base import SearchSpace


def derive(space: SearchSpace, alpha: Mapping[str, Any]) -> Genotype:
    """The genotype that ``alpha`` stands for, by the space's own rule.

    Args:
      space: a search space.
      alpha: ``{cell type: [E, O]}``, finite.

    Raises:
      ValueError: a missing cell type, a wrong shape, or values that are not finite.
    """
    return space.derive(space, check_alpha(space, alpha))


def check_alpha(space: SearchSpace, alpha: Mapping[str, Any]) -> dict[str, Any]:
    """Alpha as float64 arrays on the host, one for each cell type of the space.

    Raises:
      ValueError: a missing cell type, a wrong shape, or values that are not finite.
    """
    arrays = {}
    for cell_type in space.cell_types:
        if cell_type not in alpha:
            raise ValueError(
                f"alpha has {sorted(alpha)}, {space.name} needs {space.cell_types}"
            )
        array = np.asarray(alpha[cell_type], np.float64)
        if array.shape != (space.num_edges, space.num_ops):
            raise ValueError(
                f"alpha[{cell_type!r}] is {array.shape}, {space.name} needs "
                f"{(space.num_edges, space.num_ops)}"
            )
        if not np.isfinite(array).all():
            raise ValueError(f"alpha[{cell_type!r}] has values that are not finite")
        arrays[cell_type] = array
    return arrays


def derive_two_edges_per_node(
    space: SearchSpace, alpha: Mapping[str, np.ndarray]
) -> Genotype:
    """DARTS: two incoming edges per node, the strongest operation on each.

    Edges rank by their strongest operation other than `none`; ties go to the
    earlier edge and the earlier operation. Source: DARTS section 2.4.
    """
    allowed = [i for i, op in enumerate(space.operations) if not op.is_zero]
    cells: dict[str, Cell] = {}
    for cell_type, array in alpha.items():
        cell: list[tuple[str, int]] = []
        for node in range(space.num_inputs, space.num_states):
            incoming = [e for e, (_, t) in enumerate(space.edges) if t == node]
            strength = array[incoming][:, allowed].max(axis=1)
            # A stable sort of the negated strengths keeps ties in edge order.
            kept = sorted(np.argsort(-strength, kind="stable")[:2])
            for edge in (incoming[i] for i in kept):
                best = allowed[int(array[edge, allowed].argmax())]
                cell.append((space.primitives[best], space.edges[edge][0]))
        cells[cell_type] = tuple(cell)
    concat = tuple(range(space.num_inputs, space.num_states))
    return Genotype(
        space.name,
        normal=cells["normal"],
        normal_concat=concat,
        reduce=cells["reduce"],
        reduce_concat=concat,
    )


def read_two_edges_per_node(genotype: Genotype, cell_type: str) -> DiscreteCell:
    """A cell of the DARTS family: two edges a node.

    Raises:
      InputError: an edge from a state that is not earlier, an odd number of edges, or
        a state to concatenate that the cell does not have.
    """
    cell: Cell = getattr(genotype, cell_type)
    concat: tuple[int, ...] = getattr(genotype, f"{cell_type}_concat")
    if not cell or len(cell) % 2:
        raise InputError(f"genotype.{cell_type} has {len(cell)} edges; a node has two")
    for index, (_, source) in enumerate(cell):
        target = 2 + index // 2
        if not 0 <= source < target:
            raise InputError(
                f"edge {index} of genotype.{cell_type} leaves state {source}; it "
                f"leaves one of 0 to {target - 1}"
            )
    last = 1 + len(cell) // 2
    # An input state of a reduction has another size than its nodes.
    first = 2 if cell_type == "reduce" else 0
    if not concat or not all(first <= state <= last for state in concat):
        raise InputError(
            f"genotype.{cell_type}_concat is {list(concat)}; it lists states from "
            f"{first} to {last}"
        )
    return read_cell(genotype, cell_type)


def derive_every_edge(space: SearchSpace, alpha: Mapping[str, np.ndarray]) -> Genotype:
    """NAS-Bench-201: the strongest operation of every edge, `none` allowed."""
    (array,) = alpha.values()
    edges = tuple(
        (space.primitives[int(row.argmax())], source)
        for row, (source, _) in zip(array, space.edges, strict=True)
    )
    return Genotype(space.name, arch_str=format_arch_str(edges))


def read_every_edge(genotype: Genotype, cell_type: str) -> DiscreteCell:
    """A cell of NAS-Bench-201's form, whose last node is its output.

    Raises:
      InputError: a genotype without a string, or a string of another form.
    """
    if not genotype.arch_str:
        raise InputError(f"a genotype of {genotype.space} has an arch_str, not cells")
    return read_cell(genotype, cell_type)
