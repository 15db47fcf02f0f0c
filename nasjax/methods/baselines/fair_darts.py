"""FairDARTS: operations that do not compete (Chu et al., arXiv 1911.12126)."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from nasjax import losses, schedules
from nasjax.architecture import Mixture
from nasjax.base import Array, Key
from nasjax.genotype import Cell, Genotype, format_arch_str, kept_edges
from nasjax.methods.adding import add_arch_loss
from nasjax.methods.base import Alpha, Method, Terms, constant_alpha
from nasjax.methods.stc_nas import derivable
from nasjax.schedules import Schedule
from nasjax.spaces.base import SearchSpace
from nasjax.supernet import Architecture


def fair_darts(
    *,
    strength: Schedule = schedules.constant(10.0),
    kind: str = "l2",
    threshold: float = 0.0,
) -> Method:
    """Weights sigmoid(alpha), independent of one another (Eq. 5), pulled to 0 or 1.

    Alpha starts at 0, and `none` is no candidate. The published search has batch 128,
    the weights' learning rate 0.005 and alpha's 3e-3 with betas (0.9, 0.999).

    Args:
      strength: of the zero-one loss by progress, 10 in the published code.
      kind: ``l2`` (Eq. 8) or ``l1`` (Eq. 7), see `losses.zero_one`.
      threshold: a kept edge whose strongest operation is weaker runs `none`: the
        published derivation has 0.85; 0 keeps two edges per node, as DARTS does.

    Raises:
      ValueError: a threshold that is not in [0, 1).
    """
    if not 0 <= threshold < 1:
        raise ValueError(f"{threshold=} is not from 0 to below 1")

    def relax(
        key: Key, alpha: Alpha, progress: Array, space: SearchSpace
    ) -> Architecture:
        del key, progress
        return {name: Mixture(w) for name, w in sigmoids(alpha, space).items()}

    def zero_one(terms: Terms) -> Array:
        weights = sigmoids(terms.alpha, terms.space).values()
        every = jnp.concatenate([w.reshape(-1) for w in weights])
        return losses.zero_one(every, kind=kind)

    def adapt(space: SearchSpace) -> SearchSpace:
        space = derivable(space)
        return with_threshold(space, threshold) if threshold else space

    method = Method(
        "fair_darts", constant_alpha(0.0), relax, strengths=sigmoids, adapt=adapt
    )
    losses.zero_one(jnp.zeros(1), kind=kind)  # refuses another kind
    return add_arch_loss(method, zero_one, strength=strength, name="zero_one")


def sigmoids(alpha: Alpha, space: SearchSpace) -> dict[str, Array]:
    """The weight of every operation, ``{cell type: [E, O]}``."""
    return {name: jax.nn.sigmoid(alpha[name]) for name in space.cell_types}


def with_threshold(space: SearchSpace, threshold: float) -> SearchSpace:
    """The space, of whose derived cells an edge below a strength runs `none`."""

    def derive(space: SearchSpace, alpha: Mapping[str, Any]) -> Genotype:
        genotype = first(space, alpha)
        cells: dict[str, Cell] = {}
        for name, cell in genotype.cells.items():
            strengths = [
                alpha[name][space.edges.index(edge), space.primitives.index(operation)]
                for operation, edge in kept_edges(genotype, name)
            ]
            cells[name] = tuple(
                (operation if strength >= threshold else "none", source)
                for (operation, source), strength in zip(cell, strengths, strict=True)
            )
        if genotype.arch_str:
            return genotype._replace(arch_str=format_arch_str(cells["cell"]))
        return genotype._replace(normal=cells["normal"], reduce=cells["reduce"])

    first = space.derive
    return space._replace(derive=derive)
