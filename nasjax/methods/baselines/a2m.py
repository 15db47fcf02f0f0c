"""A2M: alpha's gradient at a sharper alpha, for flat minima (FlatDARTS, 2025)."""

from collections.abc import Callable
from typing import Any

from nasjax.arch_gradients import Average, sharpness_aware_arch_gradient
from nasjax.base import Array, Tree
from nasjax.methods.base import Method
from nasjax.methods.darts import darts


def a2m(*, rho: float = 0.1, alpha_scale: float = 1e-3) -> Method:
    """DARTS whose alpha follows the gradient of L_valid(alpha + rho grad L_valid).

    Exact, where the published code takes finite differences.

    Args:
      rho: 0.1 in the DARTS space, 0.01 in NAS-Bench-201; 0 is DARTS of first order.
      alpha_scale: alpha starts at this times N(0, 1).
    """

    def gradient(
        train_loss: Any,
        valid_loss: Callable[[Tree, Tree], Array],
        weights: Tree,
        arch: Tree,
        *,
        inner_step: Any,
        average: Average,
    ) -> tuple[Array, Tree]:
        del train_loss, inner_step
        return sharpness_aware_arch_gradient(
            valid_loss, weights, arch, rho=rho, average=average
        )

    return darts(alpha_scale=alpha_scale)._replace(name="a2m", arch_gradient=gradient)
