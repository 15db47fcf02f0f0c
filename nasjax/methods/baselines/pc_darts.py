"""PC-DARTS: partial channels and edge normalisation (Xu et al., arXiv 1907.05737)."""

import jax

from nasjax import relaxations
from nasjax.architecture import Mixture
from nasjax.base import Array, Key
from nasjax.methods.base import Alpha, Method, normal_alpha
from nasjax.spaces.base import SearchSpace
from nasjax.supernet import Architecture


def pc_darts(
    *, channel_divisor: int = 4, arch_start: int = 15, alpha_scale: float = 1e-3
) -> Method:
    """DARTS on a part of the channels, with a weight for every edge.

    Args:
      channel_divisor: K of the paper, 1/K of the channels go through the operations
        (Eq. 2); the others pass by, then all are shuffled.
      arch_start: epochs in which only the weights are trained.
      alpha_scale: alpha and the edges' beta start at this times N(0, 1).

    Raises:
      ValueError: a divisor below 1 or a negative number of epochs.
    """
    if channel_divisor < 1:
        raise ValueError(f"{channel_divisor=} is not at least 1")
    if arch_start < 0:
        raise ValueError(f"{arch_start=} is not at least 0")

    def init(key: Key, space: SearchSpace) -> Alpha:
        alpha_key, edges_key = jax.random.split(key)
        alpha = normal_alpha(alpha_scale)(alpha_key, space)
        keys = jax.random.split(edges_key, len(space.cell_types))
        edges = {
            edge_name(name): alpha_scale * jax.random.normal(subkey, (space.num_edges,))
            for name, subkey in zip(space.cell_types, keys, strict=True)
        }
        return {**alpha, **edges}

    return Method(
        "pc_darts",
        init,
        relax_with_edges,
        strengths=strengths,
        adapt=lambda space: space._replace(channel_divisor=channel_divisor),
        arch_start=arch_start,
    )


def edge_name(cell_type: str) -> str:
    """Name of the ``[E]`` edge parameters beta of a cell type in alpha."""
    return f"{cell_type}_edges"


def strengths(alpha: Alpha, space: SearchSpace) -> dict[str, Array]:
    """Operation weight times edge weight (Eq. 4), by which PC-DARTS derives."""
    return {
        name: relaxations.softmax(alpha[name])
        * relaxations.edge_softmax(space, alpha[edge_name(name)])[:, None]
        for name in space.cell_types
    }


def relax_with_edges(
    key: Key, alpha: Alpha, progress: Array, space: SearchSpace
) -> Architecture:
    """The mixture, each edge scaled by its share of its node (Eq. 3)."""
    del key, progress
    return {name: Mixture(weights) for name, weights in strengths(alpha, space).items()}
