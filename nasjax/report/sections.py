"""The sections of the report, each a function of the run."""

import json
from collections.abc import Mapping
from html import escape
from typing import Any

import numpy as np

from nasjax.genotype import Genotype, read_cell
from nasjax.report import page
from nasjax.report.analysis import analysis
from nasjax.report.drawing.cells import draw_cell
from nasjax.report.drawing.panels import edge_panels
from nasjax.report.drawing.svg import Series, heat_map, line_chart
from nasjax.report.drawing.theme import operation_colours
from nasjax.report.drawing.units import number, quantity
from nasjax.report.findings import collapse, findings
from nasjax.report.history import changes, chosen, derived, epochs_done, names_of
from nasjax.report.page import Section
from nasjax.report.study import training_seconds
from nasjax.report.workdir import Run
from nasjax.tabular import NUM_ARCHITECTURES

#: Phases told in sections of their own, not among the curves.
_FIGURES = ("budget", "result", "analysis")
_MOST_CHANGES = 12
_SKIPS = "skips"


def sections(run: Run) -> list[Section]:
    """All sections, in reading order; an empty body means nothing to show."""
    loss, accuracy, schedules, rest = _grouped(run)
    return [
        Section("found", "What this run found", _found(run)),
        Section("cells", "Cells", _cells(run)),
        Section("lookup", "NAS-Bench-201", _lookup(run)),
        Section("result", "Result", _result(run)),
        Section("alpha", "Alpha", _final_alpha(run)),
        Section("alpha-history", "Alpha over time", _alpha_history(run)),
        Section("cell-history", "Cells over time", _cell_history(run)),
        Section("analysis", "Analysis", analysis(run)),
        Section("curves", "Curves", page.charts(loss + accuracy + rest)),
        Section("schedules", "Schedules", page.charts(schedules)),
        Section("budget", "Budget", _budget(run)),
        Section("config", "Configuration", _config(run)),
        Section("environment", "Environment", _environment(run)),
    ]


def _found(run: Run) -> str:
    items = "".join(f"<li>{page.paragraph(item)}</li>" for item in findings(run))
    warned = [f"The search may have collapsed. {reason}" for reason in collapse(run)]
    problems = "".join(
        page.paragraph(problem, style="problem") for problem in (*warned, *run.problems)
    )
    if not items:
        return page.paragraph("Nothing has been measured yet.") + problems
    return f'<ul class="findings">{items}</ul>{problems}'


def _lookup(run: Run) -> str:
    """What the table says of the cell that was found."""
    if not run.lookups:
        return ""
    rows = [
        (
            row.dataset,
            row.split,
            str(row.epochs),
            f"{row.accuracy:.2f} %",
            f"{row.accuracy + row.regret:.2f} %",
            f"{row.regret:.2f}",
            f"{row.rank:,}",
        )
        for row in run.lookups
    ]
    rank = f"rank of {NUM_ARCHITECTURES:,}"
    head = ("data set", "split", "epochs", "accuracy", "best", "regret", rank)
    version = ", ".join(dict.fromkeys(row.version for row in run.lookups))
    note = (
        "Accuracy of this architecture when the benchmark trained it alone, the mean "
        "of its seeds; regret is what is missing to the best of the table, in per "
        f"cent points. Table: {version}."
    )
    return page.table(rows, head=head, figures=5) + page.paragraph(note, style="note")


def _result(run: Run) -> str:
    body = ""
    if run.genotype is not None:
        body += "<h3>Genotype</h3>" + _pre(run.genotype.to_text(lines=True))
        body += "<h3>genotype.json</h3>" + _pre(run.genotype.to_json(), style="wrap")
        if run.genotype.source:
            body += page.paragraph(f"Source: {run.genotype.source}", style="note")
    rows: list[tuple[str, ...]] = []
    for name, value in run.figures("result").items():
        rows.append((f"result {name}", quantity(name, value), "", ""))
    for name, (_, values) in run.curves("valid").items():
        finite = [v for v in values if np.isfinite(v)]
        low, high = (min(finite), max(finite)) if finite else (np.nan, np.nan)
        figures = (quantity(name, v) for v in (values[-1], low, high))
        rows.append((f"valid {name}", *figures))
    if rows:
        head = ("figure", "last", "lowest", "highest")
        body += "<h3>Figures</h3>" + page.table(rows, head=head, figures=3)
    return body


def _pre(content: str, *, style: str = "") -> str:
    return f'<pre class="{style}">{escape(content)}</pre>'


def _cells(run: Run) -> str:
    """The found cells; before the end, those the last alpha stands for."""
    genotype, note = run.genotype, ""
    if genotype is None:
        history = derived(run)
        if not history:
            return ""
        genotype = history[-1]
        note = page.paragraph(
            f"As derived from alpha after {len(history) - 1} epochs, by the rule of "
            f"the space {genotype.space}; the search is not finished.",
            style="note",
        )
    body = ""
    for name in genotype.cells:
        title = "Cell" if name == "cell" else f"{name.capitalize()} cell"
        body += page.scrolling(draw_cell(read_cell(genotype, name), title=title))
    return note + body


def _final_alpha(run: Run) -> str:
    history = derived(run)
    genotype = run.genotype or (history[-1] if history else None)
    body = ""
    for name, array in run.alphas.items():
        names = names_of(run, *array.shape[1:])
        body += page.scrolling(
            heat_map(
                array[-1],
                names.edge_labels,
                names.operations,
                title=f"Alpha of {name} after {len(array) - 1} epochs",
                marked=chosen(genotype, name, names) if genotype else (),
            )
        )
    for name, array in run.edges.items():
        if name in run.alphas:
            names = names_of(run, *run.alphas[name].shape[1:])
            body += page.scrolling(
                heat_map(
                    array[-1][:, None],
                    names.edge_labels,
                    ("beta",),
                    title=f"Edges of {name} after {len(array) - 1} epochs",
                )
            )
    if not body:
        return ""
    return (
        page.paragraph(
            "One row for each edge, target←source, by the numbers of the states in the "
            "drawing of the cell: its inputs come first, the nodes after them. The "
            "largest value of a row is bold, what the cell keeps is framed.",
            style="note",
        )
        + f'<div class="grid-maps">{body}</div>'
    )


def _alpha_history(run: Run) -> str:
    body = ""
    for name, array in run.alphas.items():
        if len(array) < 2:
            continue
        names = names_of(run, *array.shape[1:])
        panels = edge_panels(
            array, edge_labels=names.edge_labels, operations=names.operations
        )
        body += f"<h3>{escape(name)}</h3>"
        body += page.key(operation_colours(names.operations))
        body += page.charts(panels, style="grid-panels")
    if not body:
        return ""
    note = (
        "Alpha of every operation over the epochs, one chart for each edge and one "
        "scale for each cell; the thick line is the strongest at the end."
    )
    return page.paragraph(note, style="note") + body


def _cell_history(run: Run) -> str:
    history = derived(run)
    body = page.charts(_skip_chart(run, history))
    if len(history) < 2:
        return body
    if run.genotype and run.genotype.cells != history[-1].cells:
        body += page.paragraph(
            "The rule of the space, applied to the last alpha, gives other cells than "
            "genotype.json holds.",
            style="problem",
        )
    found = changes(history)
    rows = [
        (str(c.epoch), c.cell_type, ", ".join(c.lost), ", ".join(c.won))
        for c in found[::-1][:_MOST_CHANGES]
    ]
    if not rows:
        return body
    some = f", the last {len(rows)} of {len(found)}" if len(found) > len(rows) else ""
    note = (
        "Cells derived from alpha after each epoch by the rule of the space "
        f"{history[-1].space}."
    )
    return (
        body
        + f"<h3>Changes{some}</h3>"
        + page.paragraph(note, style="note")
        + page.table(rows, head=("epoch", "cell", "left", "came"))
    )


def _skip_chart(run: Run, history: list[Genotype]) -> list[str]:
    """Skip connections over the epochs, as logged or else as derived."""
    counts: dict[str, tuple[list[float], list[float]]] = {}
    for phase in run.phases:
        for name, (_, values) in run.curves(phase).items():
            prefix, _, cell_type = name.partition("/")
            if prefix == _SKIPS and phase not in _FIGURES:
                epochs = [float(epoch) for epoch in run.epochs(phase, name)]
                counts[cell_type] = (epochs, values)
    if not counts and len(history) > 1:
        epochs = [float(epoch) for epoch in range(len(history))]
        for cell_type in history[-1].cells:
            skips = [float(g.skip_connects[cell_type]) for g in history]
            counts[cell_type] = (epochs, skips)
    title = "Skip connections of the derived cells"
    if not counts:
        return []
    return [line_chart(counts, title=title, x_label="epoch", y_label="edges")]


def _grouped(run: Run) -> tuple[list[str], list[str], list[str], list[str]]:
    """Charts of the losses, the accuracies, the schedules and all the rest.

    Losses share a chart, accuracies too, and names with the same prefix; every other
    name has its own unit, so its own chart.
    """
    groups: dict[tuple[str, str], dict[str, tuple[list[float], list[float]]]] = {}
    for phase in run.phases:
        if phase in _FIGURES:
            continue
        for name, points in run.curves(phase).items():
            group, series = _group(name)
            if group == ("rest", _SKIPS):  # told with the cells
                continue
            label = series if group[0] == "schedule" else f"{phase} {series}"
            groups.setdefault(group, {})[label] = points
    charts: dict[str, list[str]] = {}
    for (kind, title), drawn in groups.items():
        charts.setdefault(kind, []).append(_chart(drawn, title))
    return tuple(  # type: ignore[return-value]
        charts.get(group, []) for group in ("loss", "accuracy", "schedule", "rest")
    )


def _group(name: str) -> tuple[tuple[str, str], str]:
    """Group and chart of a curve, and its name there.

    >>> _group("schedule/temperature"), _group("arch_loss"), _group("skips/normal")
    ((('schedule', 'temperature'), 'temperature'), (('loss', 'Loss'), 'arch_loss'), \
(('rest', 'skips'), 'normal'))
    """
    prefix, _, last = name.rpartition("/")
    if prefix == "schedule" or name == "learning_rate":
        return ("schedule", last), last
    if "loss" in name:
        return ("loss", "Loss"), name
    if "accuracy" in name:
        return ("accuracy", "Accuracy"), name
    return ("rest", prefix or name), last


def _chart(series: Series, title: str) -> str:
    return line_chart(series, title=title.replace("_", " "), x_label="step", y_label="")


def _budget(run: Run) -> str:
    """What was measured before the run; of its time, what it has shown since."""
    figures = run.figures("budget")
    step, seconds = figures.get("step_seconds"), training_seconds(run)
    if step and seconds and epochs_done(run) and "seconds_per_epoch" in figures:
        steps_per_epoch = figures.pop("seconds_per_epoch") / step
        steps_done = max(row.step for row in run.rows if row.phase == "train")
        measured = seconds / steps_done * steps_per_epoch
        figures["seconds_per_epoch_measured"] = measured
    rows = [
        (name.replace("_", " "), quantity(name, value), number(value))
        for name, value in figures.items()
    ]
    if not rows:
        return ""
    return page.table(rows, head=("figure", "", "exactly"), figures=2)


def _config(run: Run) -> str:
    tables = []
    plain = {}
    for name, value in run.config.items():
        if isinstance(value, Mapping):
            rows = _flat(value)
            heading = f"<h3>{escape(name)}</h3>"
            tables.append(f"<div>{heading}{page.table(rows)}</div>" if rows else "")
        else:
            plain[name] = value
    if plain:
        tables.insert(0, f"<div><h3>run</h3>{page.table(_flat(plain))}</div>")
    return f'<div class="grid-tables">{"".join(tables)}</div>' if tables else ""


def _flat(block: Mapping[str, Any], *, prefix: str = "") -> list[tuple[str, str]]:
    """Fields of a nested block as ("outer.inner", value)."""
    rows = []
    for name, value in block.items():
        if isinstance(value, Mapping):
            rows += _flat(value, prefix=f"{prefix}{name}.")
        else:
            shown = value if isinstance(value, str) else json.dumps(value)
            rows.append((f"{prefix}{name}", shown))
    return rows


def _environment(run: Run) -> str:
    return page.table(_flat(run.environment)) if run.environment else ""
