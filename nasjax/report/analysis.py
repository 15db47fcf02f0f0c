"""The section of what was measured of alpha in the course of a search."""

from nasjax.report import page
from nasjax.report.svg import line_chart, without_style
from nasjax.report.units import number
from nasjax.report.workdir import Run

#: Names that share a chart begin with this; its title, and what it is.
_CHARTS = {
    "eigenvalue": (
        "Dominant eigenvalue of the Hessian in alpha",
        "Of the validation loss. A fast rise goes before a collapse, and before a "
        "large loss on discretization.",
    ),
    "sharpness/": (
        "Sharpness in a ball",
        "Rise of the validation loss that ascent finds around alpha, and around the "
        "weights.",
    ),
    "loss_drop/": (
        "Drop of the loss in a step",
        "Of gradient descent on the validation loss, in alpha or in the weights.",
    ),
    "discretization/": (
        "Supernet accuracy before and after derivation",
        "With the same weights, nothing trained in between.",
    ),
    "entropy/": (
        "Entropy of the operations' weights",
        "Nats, mean over edges: 0 where every edge has decided.",
    ),
    "margin/": (
        "First minus second weight",
        "Mean over edges: how surely the kept operation is kept.",
    ),
    "teachers/": (
        "Voting teachers",
        "Shares of the training half: covered by a vote, all teachers of one mind, "
        "vote right; and their divergence from the vote in nats.",
    ),
    "ranking/": (
        "Kendall's tau",
        "Between the supernet's accuracy of random architectures and the benchmark's.",
    ),
}
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
