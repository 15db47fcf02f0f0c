"""What alpha says: how decided the edges are, and how many of them skip."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nasjax.spaces import derive
from nasjax.spaces.base import SearchSpace


def edge_entropy(strengths: Any) -> np.ndarray:
    """Entropy in nats of each edge's operations, from 0 (decided) to log O.

    Args:
      strengths: ``[..., E, O]``, not negative: shares of an edge's operations, such as
        the softmax of alpha. They are divided by their sum; an edge of zeros has
        entropy 0.

    Returns:
      ``[..., E]``.

    >>> edge_entropy([[1.0, 0.0], [0.5, 0.5]]).round(3).tolist()
    [0.0, 0.693]
    """
    # SciPy takes longer to import than the rest of this library.
    from scipy import special

    weights = np.asarray(strengths, np.float64)
    total = weights.sum(axis=-1, keepdims=True)
    shares = np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)
    return special.entr(shares).sum(axis=-1)


def edge_margins(strengths: Any) -> np.ndarray:
    """The strongest operation of each edge minus the second.

    Args:
      strengths: ``[..., E, O]``, alpha or weights from it.

    Returns:
      ``[..., E]``; NaN where there is one operation only.

    >>> edge_margins([[0.1, 0.7, 0.2]]).tolist()
    [0.49999999999999994]
    """
    array = np.asarray(strengths, np.float64)
    if array.shape[-1] < 2:
        return np.full(array.shape[:-1], np.nan)
    ordered = np.sort(array, axis=-1)
    return ordered[..., -1] - ordered[..., -2]


def skip_connects(
    space: SearchSpace, history: Sequence[Mapping[str, Any]]
) -> dict[str, list[int]]:
    """How many skip connections the derived cells have over time (STC-NAS Fig. 8).

    Args:
      space: the search space.
      history: alpha (or the strengths a method derives by) at T times, each
        ``{cell type: [E, O]}``.

    Returns:
      ``{cell type: T counts}``.
    """
    counts = [derive(space, alpha).skip_connects for alpha in history]
    return {name: [count[name] for count in counts] for name in space.cell_types}
