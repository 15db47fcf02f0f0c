"""What the seeds of one search found, for a terminal."""

import math
from collections.abc import Sequence

from nasjax.analysis.statistics import summarise
from nasjax.report.forms import aligned, short, spread
from nasjax.report.study import Outcome


def seeds_to_text(outcomes: Sequence[Outcome], metrics: Sequence[str]) -> str:
    """For a terminal: a line a seed of one cell, or why it has no result, and the mean.

    >>> of = lambda seed, value: Outcome("a", "a", seed, "", {"x": value})
    >>> print(seeds_to_text([of(0, 92.0), of(1, 94.0)], ["x"]))
    seed  x
    0     92.00
    1     94.00
          93.00 ± 1.41
    """
    rows: list[tuple[str, ...]] = [("seed", *metrics)]
    for one in outcomes:
        figures = [short(one.values.get(name, math.nan)) for name in metrics]
        rows.append((str(one.seed), *figures))
    found = [[o.values[name] for o in outcomes if name in o.values] for name in metrics]
    rows.append(
        ("", *(spread(summarise(values)) if values else "–" for values in found))
    )
    failed = [f"seed {o.seed}: {o.failure}" for o in outcomes if o.failure]
    return "\n".join([aligned(rows), *failed])
