"""DrNAS: weights from a Dirichlet distribution (Chen et al., arXiv 2006.10355)."""

from nasjax import relaxations
from nasjax.architecture import Mixture
from nasjax.base import Array, Key
from nasjax.methods.base import (
    Alpha,
    Method,
    map_cell_types,
    normal_alpha,
    softmax_mixture,
)
from nasjax.spaces.base import SearchSpace
from nasjax.supernet import Architecture


def drnas(*, alpha_scale: float = 1e-3) -> Method:
    """An edge's weights are drawn from Dir(elu(alpha) + 1), pathwise differentiable.

    The plain form (Eq. 4): no partial channels, no progressive pruning. What a search
    is judged by and derived from is softmax(alpha), as in the published code, not the
    mean of the distribution. Its pull towards the flat distribution is the optimizer's
    weight decay of alpha (1e-3), as published by default.

    Args:
      alpha_scale: alpha starts at this times N(0, 1).
    """

    def relax(
        key: Key, alpha: Alpha, progress: Array, space: SearchSpace
    ) -> Architecture:
        del progress
        return map_cell_types(
            lambda key, alpha: Mixture(relaxations.dirichlet(key, alpha)),
            key,
            alpha,
            space,
        )

    return Method("drnas", normal_alpha(alpha_scale), relax, settle=softmax_mixture)
