"""Whether the figures of a study's runs rank them alike."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from nasjax.analysis.ranking import kendall_tau

#: Of fewer runs a rank correlation says nothing.
_FEWEST = 4


class Agreement(NamedTuple):
    """Kendall's tau between a metric and the first one of the table.

    Attributes:
      tau: from -1 to 1.
      p_value: of no association.
      runs: that have both figures.
    """

    tau: float
    p_value: float
    runs: int


def rank_agreement(
    runs: Sequence[Mapping[str, float]], metrics: Sequence[str]
) -> dict[str, Agreement]:
    """How each metric ranks the runs, against the first metric.

    A metric that too few runs have, or that tells none apart, is left out.

    Args:
      runs: figures of each by metric.
      metrics: the first, and those compared with it.

    >>> runs = [
    ...     {"truth": n, "guess": v} for n, v in enumerate([1.0, 2.0, 4.0, 3.0])
    ... ]
    >>> round(rank_agreement(runs, ["truth", "guess"])["guess"].tau, 3)
    0.667
    """
    found = {}
    first = next(iter(metrics), "")
    for name in metrics[1:]:
        both = [(one[first], one[name]) for one in runs if {first, name} <= set(one)]
        if len(both) < _FEWEST:
            continue
        tau, p_value = kendall_tau(*zip(*both, strict=True))
        if np.isfinite(tau):
            found[name] = Agreement(tau, p_value, len(both))
    return found


def rows(
    found: Mapping[str, Mapping[str, Agreement]], first: str, labels: Mapping[str, str]
) -> list[tuple[str, ...]]:
    """A head, then a line for each metric: tau over all runs, and over those of a cell.

    Args:
      found: `rank_agreement` by cell; of all cells under "".
      first: the metric that the others are compared with.
      labels: of the cells, in their order.
    """
    columns = {"": "all runs"} | {c: label for c, label in labels.items() if c in found}
    names = dict.fromkeys(name for of in found.values() for name in of)
    body = [
        (name, *(_spoken(found.get(cell, {}).get(name)) for cell in columns))
        for name in names
    ]
    return [(f"against {first}", *columns.values()), *body] if body else []


def _spoken(one: Agreement | None) -> str:
    return f"{one.tau:+.2f} (p {one.p_value:.2g}, {one.runs} runs)" if one else "–"
