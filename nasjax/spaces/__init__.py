"""Search spaces as values: edges, operations, plan of the network, derivation.

Nothing in the library knows a global list of primitives; a space of your own is
another :class:`SearchSpace`, one file. `SPACES` gives a genotype its space by name, so
what trains, converts or draws genotypes of yours needs an entry in it.
"""

from collections.abc import Callable

from nasjax.base import InputError
from nasjax.genotype import Genotype
from nasjax.spaces.base import SearchSpace as SearchSpace
from nasjax.spaces.base import check_space as check_space
from nasjax.spaces.darts import darts as darts
from nasjax.spaces.derivation import check_alpha as check_alpha
from nasjax.spaces.derivation import derive as derive
from nasjax.spaces.derivation import (
    derive_every_edge as derive_every_edge,
)
from nasjax.spaces.derivation import (
    derive_two_edges_per_node as derive_two_edges_per_node,
)
from nasjax.spaces.derivation import (
    read_every_edge as read_every_edge,
)
from nasjax.spaces.derivation import (
    read_two_edges_per_node as read_two_edges_per_node,
)
from nasjax.spaces.nasbench201 import nasbench201 as nasbench201
from nasjax.spaces.plan import STEMS as STEMS
from nasjax.spaces.plan import CellPlan as CellPlan
from nasjax.spaces.plan import Input as Input
from nasjax.spaces.plan import Plan as Plan
from nasjax.spaces.plan import Residual as Residual
from nasjax.spaces.plan import Sizes as Sizes
from nasjax.spaces.plan import stem as stem

#: Spaces by name, for launchers and for what reads a genotype; add your own.
SPACES: dict[str, Callable[[], SearchSpace]] = {
    "darts": darts,
    "nasbench201": nasbench201,
}


def space_of(genotype: Genotype) -> SearchSpace:
    """The space that a genotype names.

    Raises:
      InputError: a space that is not in `SPACES`.
    """
    if genotype.space not in SPACES:
        raise InputError(
            f"genotype.space is {genotype.space!r}; it is one of {', '.join(SPACES)}"
        )
    return SPACES[genotype.space]()
