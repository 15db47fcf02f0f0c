"""What a supernet loses when it is cut down to the derived architecture."""

from typing import NamedTuple

from nasjax.genotype import kept_edges as kept_edges
from nasjax.supernet import derived_architecture as derived_architecture


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
