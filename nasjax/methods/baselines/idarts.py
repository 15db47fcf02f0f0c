"""iDARTS: alpha by the implicit gradient (Zhang et al., arXiv 2106.10784)."""

from collections.abc import Callable
from typing import Any

from nasjax.arch_gradients import Average, implicit_arch_gradient
from nasjax.base import Array, Tree
from nasjax.methods.base import Method
from nasjax.methods.darts import darts


def idarts(
    *, learning_rate: float = 0.01, terms: int = 2, alpha_scale: float = 1e-3
) -> Method:
    """DARTS whose alpha follows `arch_gradients.implicit_arch_gradient`.

    One step of the weights per step of alpha, where the paper takes T = 4, and the
    training half's batch of the step at hand (deviations). The published notebook's
    weights move only by what its finite differences leave behind; this is the paper.

    Args:
      learning_rate: gamma, the weights' of the paper's NAS-Bench-201 search; held.
      terms: K of the Neumann series.
      alpha_scale: alpha starts at this times N(0, 1).

    Raises:
      ValueError: a learning rate that is not above 0, a negative number of terms.
    """
    if not learning_rate > 0:
        raise ValueError(f"{learning_rate=} is not above 0")
    if terms < 0:
        raise ValueError(f"{terms=} is below 0")

    def gradient(
        train_loss: Callable[[Tree, Tree], Array],
        valid_loss: Callable[[Tree, Tree], Array],
        weights: Tree,
        arch: Tree,
        *,
        inner_step: Any,
        average: Average,
    ) -> tuple[Array, Tree]:
        del inner_step
        return implicit_arch_gradient(
            train_loss,
            valid_loss,
            weights,
            arch,
            learning_rate=learning_rate,
            terms=terms,
            average=average,
        )

    return darts(alpha_scale=alpha_scale)._replace(
        name="idarts", arch_gradient=gradient
    )
