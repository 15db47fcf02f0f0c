"""The table of a study in its forms: for a terminal, a page, a sheet, a program."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from nasjax.analysis.statistics import Summary
from nasjax.report import ranks
from nasjax.report.study import Entry, Outcome, Table, by_epoch, plain

#: Headings of `cells_of`.
HEAD = ("mean ± sd", "min", "max", "95 % of the mean", "best", "against base", "seeds")


def short(value: float) -> str:
    """A figure in four or five digits.

    >>> short(93.4137), short(0.012345), short(1234.5), short(2.0), short(-0.5)
    ('93.41', '0.01235', '1,234', '2.00', '-0.500')
    """
    if not math.isfinite(value):
        return "–"
    size = abs(value)
    if size and size < 0.001:
        return f"{value:.2e}"
    if size >= 1000:
        return f"{value:,.0f}"
    places = 2 if size >= 1 or not size else 3 if size >= 0.1 else 5
    return f"{value:.{places}f}"


def spread(summary: Summary) -> str:
    """Mean and deviation: ``93.41 ± 0.20``, or the one value.

    >>> spread(Summary(2, 93.41, 0.2, 93.2, 93.6, None))
    '93.41 ± 0.200'
    """
    if summary.size == 1:
        return f"{short(summary.mean)} (one value)"
    return f"{short(summary.mean)} ± {short(summary.sd)}"


def cells_of(entry: Entry) -> tuple[str, ...]:
    """Mean ± sd, min, max, interval, best of n, difference, every seed."""
    summary = entry.summary
    if summary is None:
        return ("–",) * 7
    best = "" if entry.best is None else f"{short(entry.best)} (best of {summary.size})"
    versus = ""
    if entry.versus is not None:
        found, around = entry.versus
        versus = f"{found:+.3g}" + (f" {_interval(around)}" if around else "")
    seeds = "  ".join(f"{seed}: {short(v)}" for seed, v in entry.by_seed.items())
    return (
        spread(summary),
        short(summary.low),
        short(summary.high),
        _interval(summary.interval) if summary.interval else _too_few(entry),
        best,
        versus,
        seeds,
    )


def overview(table: Table) -> list[tuple[str, ...]]:
    """The table in short: a head, then mean ± sd of every metric by cell."""
    names = plain(table)
    rows: list[tuple[str, ...]] = [("", "runs", *names)]
    for line in table.lines:
        summaries = [line.entries[name].summary for name in names]
        figures = (spread(one) if one else "–" for one in summaries)
        done = line.runs - len(line.failures)
        rows.append((line.label, f"{done}/{line.runs}", *figures))
    for label, known in table.references.items():
        figures = (spread(known[n]) if n in known else "" for n in names)
        rows.append((label, "", *figures))
    return rows


def epoch_rows(table: Table, epochs: Mapping[int, str]) -> list[tuple[str, ...]]:
    """Mean ± sd of a metric after some epochs, of those of `by_epoch`: head, cells."""
    rows: list[tuple[str, ...]] = [("epoch", *map(str, epochs))]
    for line in table.lines:
        summaries = [line.entries[name].summary for name in epochs.values()]
        rows.append((line.label, *(spread(one) if one else "–" for one in summaries)))
    return rows


def rank_rows(table: Table) -> list[tuple[str, ...]]:
    """Kendall's tau of the metrics against the first, over all runs and by cell."""
    labels = {line.cell: line.label for line in table.lines}
    return ranks.rows(table.ranks, next(iter(plain(table)), ""), labels)


def reference_rows(table: Table, metric: str) -> list[tuple[str, ...]]:
    """Lines of what no run found: name, how many, mean ± sd, min, max."""
    rows = []
    for label, figures in table.references.items():
        if metric in figures:
            one = figures[metric]
            extremes = short(one.low), short(one.high)
            empty = ("",) * (len(HEAD) - 3)
            rows.append((label, f"{one.size:,}", spread(one), *extremes, *empty))
    return rows


def _too_few(entry: Entry) -> str:
    """The values themselves, of which no interval can be said."""
    return f"of {' and '.join(map(short, entry.by_seed.values()))} none"


def _interval(interval: tuple[float, float]) -> str:
    low, high = interval
    return f"[{low:.4g}, {high:.4g}]"


def to_text(table: Table) -> str:
    """For a terminal: the table, a block for each metric, ranks, then the failures."""
    blocks = [table.title + (f"\n{table.about}" if table.about else "")]
    blocks.append(f"mean ± sd\n{aligned(overview(table))}")
    for name, epochs in by_epoch(table).items():
        blocks.append(f"{name}, mean ± sd\n{aligned(epoch_rows(table, epochs))}")
    for name in plain(table):
        rows: list[tuple[str, ...]] = [("", "n", *HEAD)]
        for line in table.lines:
            entry = line.entries[name]
            done = f"{len(entry.by_seed)}/{line.runs}"
            rows.append((line.label, done, *cells_of(entry)))
        rows += reference_rows(table, name)
        blocks.append(f"{name}\n{aligned(rows)}")
    if table.ranks:
        blocks.append(f"Kendall's tau\n{aligned(rank_rows(table))}")
    blocks += _failures(table)
    return "\n\n".join(blocks)


def _failures(table: Table) -> list[str]:
    lines = [
        f"  {line.label}, seed {seed}: {reason}"
        for line in table.lines
        for seed, reason in line.failures.items()
    ]
    return [f"without a result ({len(lines)}):\n" + "\n".join(lines)] if lines else []


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows of a table as lines, in columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def to_markdown(table: Table) -> str:
    """For a page of documentation: in short, every seed, ranks, the failures."""
    parts = [_markdown_rows(overview(table))]
    for name, epochs in by_epoch(table).items():
        (_, *head), *rest = epoch_rows(table, epochs)
        parts.append(_markdown_rows([(f"{name}, epoch", *head), *rest]))
    for name in plain(table):
        rows: list[tuple[str, ...]] = [(name, "95 % of the mean", "against base")]
        rows[0] += ("best", "seeds")
        for line in table.lines:
            *_, interval, best, versus, seeds = cells_of(line.entries[name])
            rows.append((line.label, interval, versus, best, seeds))
        parts.append(_markdown_rows(rows))
    if table.ranks:
        (against, *head), *rest = rank_rows(table)
        parts.append(_markdown_rows([(f"Kendall's tau {against}", *head), *rest]))
    failures = [text.replace("\n  ", "\n* ") for text in _failures(table)]
    return "\n\n".join(parts + failures) + "\n"


def _markdown_rows(rows: Sequence[Sequence[str]]) -> str:
    head, *rest = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    lines = [head, ["---"] * len(head), *rest]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def to_csv(outcomes: Sequence[Outcome], metrics: Sequence[str]) -> str:
    """Every run on a line: cell, label, seed, figures, failure."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("cell", "label", "seed", *metrics, "failure", "workdir"))
    for one in outcomes:
        figures = (repr(one.values[m]) if m in one.values else "" for m in metrics)
        writer.writerow(
            (one.cell, one.label, one.seed, *figures, one.failure, one.folder)
        )
    return text.getvalue()


def to_json(table: Table, outcomes: Sequence[Outcome]) -> str:
    """Runs and table as one JSON object; what cannot be computed is null."""
    return json.dumps(
        {
            "title": table.title,
            "about": table.about,
            "metrics": dict(table.metrics),
            "baseline": table.baseline,
            "runs": [_as_json(one._asdict()) for one in outcomes],
            "table": [_as_json(line) for line in table.lines],
            "references": _as_json(table.references),
            "ranks": _as_json(table.ranks),
        },
        indent=2,
        allow_nan=False,
    )


def _as_json(value: Any) -> Any:
    """Nested named tuples and mappings as JSON has them, NaN as null."""
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, Mapping):
        return {str(name): _as_json(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return [_as_json(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
