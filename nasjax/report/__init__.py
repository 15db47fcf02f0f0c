"""The report of a search run: one self-contained HTML file, drawn from its data."""

from nasjax.report.drawing.cells import draw_cell
from nasjax.report.drawing.svg import heat_map, line_chart
from nasjax.report.findings import collapse
from nasjax.report.report import write_report
from nasjax.report.workdir import read_run

__all__ = [
    "collapse",
    "draw_cell",
    "heat_map",
    "line_chart",
    "read_run",
    "write_report",
]
