"""DARTS: differentiable architecture search (Liu et al., arXiv 1806.09055)."""

from nasjax.base import Array, Key
from nasjax.methods.base import Alpha, Method, normal_alpha, softmax_mixture
from nasjax.spaces.base import SearchSpace
from nasjax.supernet import Architecture


def darts(
    *, order: int = 1, alpha_scale: float = 1e-3, inner_clip: bool = True
) -> Method:
    """Softmax mixture, alpha by the gradient of the validation loss.

    Args:
      order: 1 takes it at the current weights (xi = 0 of Eq. 7), 2 at the weights
        after the optimizer's own step (Eq. 6, exactly, momentum and weight decay
        included).
      alpha_scale: alpha starts at this times N(0, 1).
      inner_clip: of order 2, whether that step clips the gradient as the weights' step
        does, and alpha's gradient goes through the clipping. The published code does
        not clip there (a deviation: ours is the step that is taken).

    Raises:
      ValueError: an order other than 1 and 2.
    """
    if order not in (1, 2):
        raise ValueError(f"{order=} is not 1 or 2")
    return Method(
        "darts",
        normal_alpha(alpha_scale),
        relax_to_mixture,
        order=order,
        inner_clip=inner_clip,
    )


def relax_to_mixture(
    key: Key, alpha: Alpha, progress: Array, space: SearchSpace
) -> Architecture:
    """Every operation of every edge by its softmax weight (Eq. 2)."""
    del key, progress
    return softmax_mixture(alpha, space)
