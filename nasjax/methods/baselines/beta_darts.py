"""Beta-DARTS: DARTS with an alpha kept small and even (Ye et al., arXiv 2203.01665)."""

from nasjax import losses, schedules
from nasjax.base import Array
from nasjax.methods.adding import add_arch_loss
from nasjax.methods.base import Method, Terms
from nasjax.methods.darts import darts
from nasjax.schedules import Schedule


def beta_darts(
    *,
    strength: Schedule = schedules.linear(0.0, 25.0),
    alpha_scale: float = 1e-3,
) -> Method:
    """DARTS of first order with the Beta-Decay term in alpha's loss (Eq. 7).

    Args:
      strength: lambda by progress. The published code has t / 2 at epoch t: 0 to 25 in
        50 epochs, ``linear(0, 50)`` in its 100 of NAS-Bench-201.
      alpha_scale: alpha starts at this times N(0, 1).
    """
    method = darts(alpha_scale=alpha_scale)._replace(name="beta_darts")
    return add_arch_loss(method, beta_loss, strength=strength, name="beta")


def beta_loss(terms: Terms) -> Array:
    """`losses.beta_decay` of alpha, the mean over the edges of all cell types."""
    cells = [losses.beta_decay(terms.alpha[name]) for name in terms.space.cell_types]
    return sum(cells, start=cells[0] * 0) / len(cells)
