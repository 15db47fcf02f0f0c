"""Whether the supernet ranks architectures as training them alone does."""

from collections.abc import Sequence

import numpy as np


def kendall_tau(
    searched: Sequence[float], retrained: Sequence[float]
) -> tuple[float, float]:
    """Kendall's tau-b between two rankings of the same architectures (SciPy).

    Args:
      searched: what the supernet says of each, such as its accuracy with shared
        weights.
      retrained: the same of each trained alone.

    Returns:
      tau from -1 to 1, and the p-value of no association; NaN where one of the two
      does not tell any architectures apart. Source: STC-NAS Fig. 5.

    Raises:
      ValueError: fewer than two architectures, numbers that do not match, or a value
        that is not finite.

    >>> tau, _ = kendall_tau([0.1, 0.2, 0.3, 0.4], [90.0, 91.0, 93.0, 92.0])
    >>> round(tau, 3)
    0.667
    """
    # SciPy takes longer to import than the rest of this library.
    from scipy import stats

    first, second = (np.asarray(v, np.float64) for v in (searched, retrained))
    if first.shape != second.shape or first.ndim != 1 or len(first) < 2:
        raise ValueError(
            f"two or more architectures of both are needed, got {first.shape} and "
            f"{second.shape}"
        )
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ValueError("a value is not finite")
    result = stats.kendalltau(first, second)
    return float(result.statistic), float(result.pvalue)
