"""The page of a study: one table, every seed, nothing left out."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np

from nasjax.base import InputError
from nasjax.report import page
from nasjax.report.drawing.strips import Strip, strip_chart
from nasjax.report.drawing.svg import line_chart
from nasjax.report.forms import (
    HEAD,
    cells_of,
    epoch_rows,
    overview,
    rank_rows,
    reference_rows,
    short,
)
from nasjax.report.page import Section
from nasjax.report.study import Outcome, Table, by_epoch, plain
from nasjax.report.workdir import Run, read_run

#: Curves over the epochs, the mean of the seeds that got so far: phase, name, title.
_CURVES = (
    ("valid", "accuracy", "Validation accuracy of the supernet"),
    ("analysis", "eigenvalue", "Dominant eigenvalue of the Hessian in alpha"),
    ("analysis", "sharpness/alpha", "Sharpness in a ball around alpha"),
    ("analysis", "sharpness/weights", "Sharpness in a ball around the weights"),
    ("analysis", "discretization/gap", "Accuracy lost on discretization"),
    *(
        ("valid", f"skips/{cell}", f"Skip connections of the {name}")
        for cell, name in {
            "normal": "normal cell",
            "reduce": "reduction cell",
            "cell": "cell",
        }.items()
    ),
)


def render(table: Table, outcomes: Sequence[Outcome]) -> str:
    """The page as HTML; curves are read from the workdirs.

    Args:
      table: of `study.tabulate`.
      outcomes: the runs it was made of.
    """
    done = sum(not one.failure for one in outcomes)
    return page.page(
        title=f"Study: {table.title}",
        facts=f"{len(table.lines)} cells · {len(outcomes)} runs",
        status=f"{done} of {len(outcomes)} runs have a result",
        finished=done == len(outcomes),
        sections=[
            Section("about", "What this compares", _about(table)),
            Section("overview", "Mean ± deviation", _overview(table)),
            *(_epochs(table, *one) for one in by_epoch(table).items()),
            *(_metric(table, name) for name in plain(table)),
            Section("ranks", "Ranks", _ranks(table)),
            Section("curves", "Over the epochs", _curves(outcomes)),
            Section("failures", "Without a result", _failures(table)),
            Section("runs", "Every run", _runs(table, outcomes)),
        ],
    )


def _about(table: Table) -> str:
    body = page.paragraph(table.about) if table.about else ""
    note = (
        "Deviation: of the sample. The interval of a mean is a percentile bootstrap "
        "(SciPy); of few seeds it is coarse and knows nothing outside their range, and "
        "of fewer than three there is none. "
        "“Best of n” is the best of n seeds, not what one run can be expected to find."
    )
    for line in table.lines:
        if line.cell == table.baseline:
            note += f" Against base: the mean minus that of {line.label}."
    return body + page.paragraph(note, style="note")


def _overview(table: Table) -> str:
    head, *rows = overview(table)
    return page.table(rows, head=head, figures=len(head) - 1)


def _metric(table: Table, name: str) -> Section:
    rows: list[tuple[str, ...]] = []
    strips = {}
    for line in table.lines:
        entry = line.entries[name]
        done = f"{len(entry.by_seed)}/{line.runs}"
        rows.append((line.label, done, *cells_of(entry)))
        summary = entry.summary
        strips[line.label] = Strip(
            tuple(entry.by_seed.values()),
            summary.mean if summary else None,
            summary.interval if summary else None,
        )
    rows += reference_rows(table, name)
    marks = {}
    for label, figures in table.references.items():
        if name in figures:
            one = figures[name]
            marks[f"{label}, mean"] = one.mean
            better = one.high if table.metrics[name] == "max" else one.low
            marks["best there is"] = better
    body = page.charts([strip_chart(strips, title=name, marks=marks)])
    body += page.table(rows, head=("", "n", *HEAD), figures=8)
    return Section(f"metric-{_anchor(name)}", name, body)


def _anchor(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name)


def _epochs(table: Table, name: str, epochs: Mapping[int, str]) -> Section:
    """A metric after some epochs of the search, the mean of the seeds as a curve."""
    means = {
        line.label: [(at, line.entries[one].summary) for at, one in epochs.items()]
        for line in table.lines
    }
    series = {
        label: ([at for at, one in own if one], [one.mean for _, one in own if one])
        for label, own in means.items()
    }
    drawn = {label: points for label, points in series.items() if points[0]}
    chart = line_chart(drawn, title=name, x_label="epoch", y_label="") if drawn else ""
    head, *rows = epoch_rows(table, epochs)
    listed = page.table(rows, head=head, figures=len(epochs))
    return Section(
        f"epochs-{_anchor(name)}", f"{name} by epoch", page.charts([chart]) + listed
    )


def _ranks(table: Table) -> str:
    """Which figures of the search go with the first of the table."""
    if not table.ranks:
        return ""
    note = (
        "Kendall's tau: of all runs that have both figures, cells and seeds alike "
        "(where methods differ, it is mostly they that are ranked), and of the seeds "
        "of each cell that has four or more."
    )
    head, *rows = rank_rows(table)
    listed = page.table(rows, head=head, figures=len(head) - 1)
    return listed + page.paragraph(note, style="note")


def _failures(table: Table) -> str:
    rows = [
        (line.label, str(seed), reason)
        for line in table.lines
        for seed, reason in line.failures.items()
    ]
    return page.table(rows, head=("", "seed", "reason")) if rows else ""


def _runs(table: Table, outcomes: Sequence[Outcome]) -> str:
    """Each run with its figures and a link to its report."""
    head = "".join(f"<th>{escape(n)}</th>" for n in ("run", "seed", *table.metrics))
    rows = ""
    for one in outcomes:
        name = Path(one.folder).name
        linked = escape(one.label)
        if (Path(one.folder) / "report.html").exists():
            linked = f'<a href="{escape(name)}/report.html">{linked}</a>'
        figures = "".join(
            f'<td class="figure">{short(one.values[m]) if m in one.values else "–"}'
            "</td>"
            for m in table.metrics
        )
        rows += f"<tr><th>{linked}</th><td>{one.seed}</td>{figures}</tr>"
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _curves(outcomes: Sequence[Outcome]) -> str:
    runs: dict[str, list[Run]] = {}
    for one in outcomes:
        try:
            runs.setdefault(one.label, []).append(read_run(one.folder))
        except InputError:
            continue
    charts = []
    for phase, name, title in _CURVES:
        series = {label: _mean(own, phase, name) for label, own in runs.items()}
        drawn = {label: points for label, points in series.items() if points[0]}
        if drawn:
            charts.append(line_chart(drawn, title=title, x_label="epoch", y_label=""))
    return page.charts(charts)


def _mean(
    runs: Sequence[Run], phase: str, name: str
) -> tuple[Sequence[float], Sequence[float]]:
    """Mean over the runs at every epoch that one of them has."""
    found: dict[float, list[float]] = {}
    for run in runs:
        points: Mapping[float, float] = dict(
            zip(
                run.epochs(phase, name),
                run.curves(phase).get(name, ([], []))[1],
                strict=True,
            )
        )
        for epoch, value in points.items():
            found.setdefault(epoch, []).append(value)
    epochs = sorted(found)
    return epochs, [float(np.mean(found[epoch])) for epoch in epochs]
