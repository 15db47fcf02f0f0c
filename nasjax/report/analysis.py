"""The section of what was measured of alpha in the course of a search."""

from nasjax.analysis.probes import PROBES
from nasjax.report import page
from nasjax.report.drawing.svg import line_chart, without_style
from nasjax.report.drawing.units import number
from nasjax.report.workdir import Run

#: Names that share a chart begin with this; its title, and what it is.
_CHARTS = {start: told for one in PROBES for start, told in one.charts.items()}
_RESIDUAL = "eigenvalue_residual"


def analysis(run: Run) -> str:
    """Charts over the epochs; a measure taken once is told as a figure."""
    curves = run.curves("analysis")
    body, rows = "", []
    for prefix, (title, note) in _CHARTS.items():
        series = {}
        for name, (_, values) in curves.items():
            if name.startswith(prefix) and name != _RESIDUAL:
                epochs = [float(epoch) for epoch in run.epochs("analysis", name)]
                series[name.removeprefix(prefix) or name] = (epochs, values)
        if not series:
            continue
        if max(len(values) for _, values in series.values()) > 1:
            chart = line_chart(series, title=title, x_label="epoch", y_label="")
            noted = page.paragraph(note, style="note")
            body += f"<div>{without_style(chart)}{noted}</div>"
        else:
            rows += [(f"{title}: {n}", number(v[-1])) for n, (_, v) in series.items()]
    if _RESIDUAL in curves:
        worst = max(curves[_RESIDUAL][1])
        rows.append(("Largest residual of the eigenvalue, |Hv - λv|", number(worst)))
    others = [n for n in curves if not n.startswith(tuple(_CHARTS))]
    rows += [(name, number(curves[name][1][-1])) for name in others]
    body = f'<div class="grid-charts">{body}</div>' if body else ""
    return body + (page.table(rows, figures=1) if rows else "")
