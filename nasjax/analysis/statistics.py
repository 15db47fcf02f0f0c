"""Statistics of a few seeds: what can be said of them, and how surely."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

#: Values that a bootstrap needs to say more than they do.
_LEAST = 3


class Summary(NamedTuple):
    """What some seeds say of one figure.

    Attributes:
      size: how many values.
      mean: of them.
      sd: standard deviation of the sample (n - 1), NaN for one value.
      low: the smallest.
      high: the largest.
      interval: of the mean, by bootstrap; None for one value or two.
    """

    size: int
    mean: float
    sd: float
    low: float
    high: float
    interval: tuple[float, float] | None


def summarise(
    values: Sequence[float], *, confidence: float = 0.95, resamples: int = 9999
) -> Summary:
    """Mean, spread and a bootstrap interval of the mean.

    The interval is SciPy's percentile bootstrap from a fixed seed. Of three seeds it
    can only be coarse, and it knows nothing outside their range; of two it would be
    the two themselves, whatever is asked of it, so that there is none.

    Args:
      values: one for each seed, at least one, finite.
      confidence: of the interval.
      resamples: of the bootstrap.

    Raises:
      ValueError: no value, or one that is not finite.

    >>> summary = summarise([93.0, 94.0, 95.0])
    >>> summary.mean, summary.sd, summary.low, summary.high
    (94.0, 1.0, 93.0, 95.0)
    """
    sample = _checked(values)
    return Summary(
        size=len(sample),
        mean=float(sample.mean()),
        sd=float(sample.std(ddof=1)) if len(sample) > 1 else float("nan"),
        low=float(sample.min()),
        high=float(sample.max()),
        interval=_bootstrap((sample,), np.mean, confidence, resamples),
    )


def difference(
    values: Sequence[float],
    baseline: Sequence[float],
    *,
    confidence: float = 0.95,
    resamples: int = 9999,
) -> tuple[float, tuple[float, float] | None]:
    """Mean of the values minus that of a baseline, with a bootstrap interval.

    Args:
      values: at least one, finite.
      baseline: likewise; resampled independently.
      confidence: of the interval.
      resamples: of the bootstrap.

    Returns:
      The difference and its interval, None where either has fewer than three values.

    Raises:
      ValueError: no value, or one that is not finite.

    >>> difference([3.0, 3.0, 3.0], [1.0, 1.0, 1.0])
    (2.0, (2.0, 2.0))
    """

    def statistic(first: np.ndarray, second: np.ndarray, axis: int = -1) -> Any:
        return first.mean(axis=axis) - second.mean(axis=axis)

    first, second = _checked(values), _checked(baseline)
    found = float(first.mean() - second.mean())
    return found, _bootstrap((first, second), statistic, confidence, resamples)


def _checked(values: Sequence[float]) -> np.ndarray:
    sample = np.asarray(values, np.float64)
    if sample.ndim != 1 or not len(sample):
        raise ValueError(f"at least one value is needed, got {values!r}")
    if not np.isfinite(sample).all():
        raise ValueError(f"a value is not finite: {values!r}")
    return sample


def _bootstrap(
    samples: tuple[np.ndarray, ...],
    statistic: Callable[..., Any],
    confidence: float,
    resamples: int,
) -> tuple[float, float] | None:
    if min(map(len, samples)) < _LEAST:
        return None
    # SciPy takes longer to import than the rest of this library.
    from scipy import stats

    result = stats.bootstrap(
        samples,
        statistic,
        n_resamples=resamples,
        confidence_level=confidence,
        method="percentile",  # BCa is undefined where all values are equal
        rng=np.random.default_rng(0),
    )
    low, high = result.confidence_interval
    return float(low), float(high)
