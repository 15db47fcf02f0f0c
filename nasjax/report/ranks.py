"""Whether the figures of a study's runs rank them alike."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from nasjax.analysis.ranking import kendall_tau
from nasjax.report.study import Outcome, Table

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
    outcomes: Sequence[Outcome], metrics: Sequence[str]
) -> dict[str, Agreement]:
    """How each metric ranks the runs, against the first metric, over all cells.

    A metric that too few runs have, or that tells none apart, is left out.

    >>> runs = [
    ...     Outcome("a", "A", n, "", {"truth": n, "guess": v})
    ...     for n, v in enumerate([1.0, 2.0, 4.0, 3.0])
    ... ]
    >>> round(rank_agreement(runs, ["truth", "guess"])["guess"].tau, 3)
    0.667
    """
    found = {}
    first, *others = metrics
    for name in others:
        both = [
            (one.values[first], one.values[name])
            for one in outcomes
            if first in one.values and name in one.values
        ]
        if len(both) < _FEWEST:
            continue
        tau, p_value = kendall_tau(*zip(*both, strict=True))
        if np.isfinite(tau):
            found[name] = Agreement(tau, p_value, len(both))
    return found


def head(table: Table) -> tuple[str, ...]:
    """Headings of `rows`."""
    return (f"against {next(iter(table.metrics))}", "Kendall's tau", "p", "runs")


def rows(found: Mapping[str, Agreement]) -> list[tuple[str, ...]]:
    """A line for each metric."""
    return [
        (name, f"{one.tau:+.2f}", f"{one.p_value:.2g}", str(one.runs))
        for name, one in found.items()
    ]
