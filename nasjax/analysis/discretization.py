"""What a supernet loses when it is cut down to the derived architecture."""

from collections.abc import Iterator
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from nasjax.cell import Path
from nasjax.genotype import Genotype
from nasjax.space import SearchSpace
from nasjax.supernet import Architecture


class Discretization(NamedTuple):
    """Accuracy of a supernet's weights before and after derivation.

    Attributes:
      before: with all that alpha weighs.
      after: with what the genotype keeps.
      gap: before minus after.
    """

    before: float
    after: float
    gap: float


def kept_edges(
    genotype: Genotype, cell_type: str
) -> Iterator[tuple[str, tuple[int, int]]]:
    """Operation and (source, target) of each edge that a cell keeps.

    >>> list(kept_edges(Genotype("nasbench201", arch_str="|none~0|"), "cell"))
    [('none', (0, 1))]
    """
    target = 0
    for index, (operation, source) in enumerate(genotype.cells.get(cell_type, ())):
        if genotype.arch_str:
            target += source == 0
        else:
            target = index // 2 + 2
        yield operation, (source, target)


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


def discretization_gap(before: float, after: float) -> Discretization:
    """Supernet accuracy before and after derivation (STC-NAS Table 1).

    Nothing is trained in between. `derived_architecture` gives the architecture after;
    its operations count in full, for the network that is trained alone has no alpha.

    Args:
      before: accuracy of what the method runs at the end of its search.
      after: accuracy of the derived architecture, with the same weights.

    >>> discretization_gap(0.75, 0.25)
    Discretization(before=0.75, after=0.25, gap=0.5)
    """
    return Discretization(before, after, before - after)
