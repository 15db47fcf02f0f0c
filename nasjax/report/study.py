"""What the runs of a study found: one table, failures included."""

import csv
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nasjax.analysis.statistics import Summary, difference, summarise
from nasjax.base import InputError
from nasjax.report.workdir import Run, read_run
from nasjax.tabular import headline


class Outcome(NamedTuple):
    """One run of a study.

    Attributes:
      cell: short name of what was run.
      label: what the table calls it.
      seed: of the run.
      folder: its workdir.
      values: its figures by metric; a figure it does not have is absent.
      failure: why it has no result, in one line; "" if it has.
    """

    cell: str
    label: str
    seed: int
    folder: str
    values: Mapping[str, float]
    failure: str = ""


class Entry(NamedTuple):
    """A cell's figures of one metric.

    Attributes:
      by_seed: value by seed.
      summary: of them; None without any.
      best: the largest or smallest, whichever is better; None where neither is.
      versus: mean minus that of the baseline, and its interval; None without one.
    """

    by_seed: Mapping[int, float]
    summary: Summary | None
    best: float | None
    versus: tuple[float, tuple[float, float] | None] | None


class Line(NamedTuple):
    """A cell's line of the table."""

    cell: str
    label: str
    runs: int
    failures: Mapping[int, str]
    entries: Mapping[str, Entry]


class Table(NamedTuple):
    """The table of a study.

    Attributes:
      title: of the study.
      about: what its figures are worth.
      metrics: "max", "min" or "" by name.
      baseline: the cell the others are compared with, or "".
      lines: of the cells.
      references: what no run of the study found, such as random architectures, by
        label: figures by metric.
    """

    title: str
    about: str
    metrics: Mapping[str, str]
    baseline: str
    lines: tuple[Line, ...]
    references: Mapping[str, Mapping[str, Summary]] = {}


def figure(run: Run, metric: str) -> float | None:
    """A figure of a run by its name; None where the run does not have it.

    The names are those of ``experiments.configs.papers.base.study``.
    """
    first, _, rest = metric.partition("/")
    if metric == "seconds":
        return training_seconds(run)
    if first in ("lookup", "regret"):
        found = {row.dataset: row for row in headline(run.lookups)}.get(rest)
        field = "accuracy" if first == "lookup" else "regret"
        return None if found is None else float(getattr(found, field))
    if first == "skips":
        skips = run.genotype.skip_connects if run.genotype else {}
        return float(skips[rest]) if rest in skips else None
    value = run.figures(first).get(rest, math.nan)
    return value if math.isfinite(value) else None


def training_seconds(run: Run) -> float | None:
    """Time that the steps took, from the throughput logged with them."""
    batch = run.config.get("search", {}).get("batch_size")
    steps, values = run.curves("train").get("images_per_second", ([], []))
    if not steps or not isinstance(batch, int):
        return None
    taken = [last - first for first, last in zip([0, *steps], steps, strict=False)]
    # Both halves pass through the network in a step.
    return sum(2 * batch * n / v for n, v in zip(taken, values, strict=True) if v)


def outcome(
    folder: str | Path,
    *,
    cell: str,
    label: str,
    seed: int,
    metrics: Sequence[str],
    failure: str = "",
) -> Outcome:
    """What a workdir holds of a run.

    Args:
      folder: of the run.
      cell: its short name.
      label: what the table calls it.
      seed: of the run.
      metrics: figures wanted.
      failure: why the run ended early, where that is known.
    """
    values: dict[str, float] = {}
    try:
        run = read_run(folder)
    except InputError:
        return Outcome(cell, label, seed, str(folder), {}, failure or "not run yet")
    if run.genotype is None:
        failure = failure or "not finished"
    elif not failure:
        found = {name: figure(run, name) for name in metrics}
        found |= _retrained(Path(folder) / "retrain" / "result.json", metrics)
        values = {name: value for name, value in found.items() if value is not None}
    return Outcome(cell, label, seed, str(folder), values, failure)


def _retrained(path: Path, metrics: Sequence[str]) -> dict[str, float]:
    """Figures ``retrain/NAME``, of the training of what a search found."""
    try:
        result = json.loads(path.read_text())
        return {
            name: float(result[name.removeprefix("retrain/")])
            for name in metrics
            if name.startswith("retrain/") and name.removeprefix("retrain/") in result
        }
    except (OSError, ValueError, TypeError):
        return {}


def tabulate(
    outcomes: Sequence[Outcome],
    *,
    title: str,
    metrics: Mapping[str, str],
    baseline: str = "",
    about: str = "",
    references: Mapping[str, Mapping[str, Summary]] | None = None,
) -> Table:
    """The table of a study's runs, cells in the order of their first run.

    A failed run counts as a failure and into no mean.
    """
    cells = dict.fromkeys(one.cell for one in outcomes)
    base = {name: _by_seed(outcomes, baseline, name) for name in metrics}
    lines = []
    for cell in cells:
        own = [one for one in outcomes if one.cell == cell]
        entries = {
            name: _entry(
                _by_seed(own, cell, name),
                better,
                base[name] if cell != baseline else {},
            )
            for name, better in metrics.items()
        }
        failures = {one.seed: one.failure for one in own if one.failure}
        lines.append(Line(cell, own[0].label, len(own), failures, entries))
    return Table(title, about, metrics, baseline, tuple(lines), references or {})


def _by_seed(outcomes: Sequence[Outcome], cell: str, metric: str) -> dict[int, float]:
    return {
        one.seed: one.values[metric]
        for one in outcomes
        if one.cell == cell and metric in one.values
    }


def _entry(
    by_seed: Mapping[int, float], better: str, baseline: Mapping[int, float]
) -> Entry:
    values = list(by_seed.values())
    if not values:
        return Entry(by_seed, None, None, None)
    choose: Callable[..., float] | None = {"max": max, "min": min}.get(better)
    versus = difference(values, list(baseline.values())) if baseline else None
    return Entry(by_seed, summarise(values), choose(values) if choose else None, versus)


# --- forms of the table ----------------------------------------------------------

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
        _interval(summary.interval) if summary.interval else "–",
        best,
        versus,
        seeds,
    )


def overview(table: Table) -> list[tuple[str, ...]]:
    """The table in short: a head, then mean ± sd of every metric by cell."""
    rows: list[tuple[str, ...]] = [("", "runs", *table.metrics)]
    for line in table.lines:
        summaries = [line.entries[name].summary for name in table.metrics]
        figures = (spread(one) if one else "–" for one in summaries)
        done = line.runs - len(line.failures)
        rows.append((line.label, f"{done}/{line.runs}", *figures))
    for label, known in table.references.items():
        figures = (spread(known[n]) if n in known else "" for n in table.metrics)
        rows.append((label, "", *figures))
    return rows


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


def _interval(interval: tuple[float, float]) -> str:
    low, high = interval
    return f"[{low:.4g}, {high:.4g}]"


def to_text(table: Table) -> str:
    """For a terminal: the table, a block for each metric, then the failures."""
    blocks = [table.title + (f"\n{table.about}" if table.about else "")]
    blocks.append(f"mean ± sd\n{aligned(overview(table))}")
    for name in table.metrics:
        rows: list[tuple[str, ...]] = [("", "n", *HEAD)]
        for line in table.lines:
            entry = line.entries[name]
            done = f"{len(entry.by_seed)}/{line.runs}"
            rows.append((line.label, done, *cells_of(entry)))
        rows += reference_rows(table, name)
        blocks.append(f"{name}\n{aligned(rows)}")
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
    """The table for a page of documentation: in short, every seed, the failures."""
    parts = [_markdown_rows(overview(table))]
    for name in table.metrics:
        rows: list[tuple[str, ...]] = [(name, "95 % of the mean", "against base")]
        rows[0] += ("best", "seeds")
        for line in table.lines:
            *_, interval, best, versus, seeds = cells_of(line.entries[name])
            rows.append((line.label, interval, versus, best, seeds))
        parts.append(_markdown_rows(rows))
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
            "runs": [_plain(one._asdict()) for one in outcomes],
            "table": [_plain(line) for line in table.lines],
            "references": _plain(table.references),
        },
        indent=2,
        allow_nan=False,
    )


def _plain(value: Any) -> Any:
    """Nested named tuples and mappings as JSON has them, NaN as null."""
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
