"""The report of a search run: one self-contained HTML file, drawn from its data."""

from nasjax.report.cells import draw_cell
from nasjax.report.report import write_report
from nasjax.report.svg import heat_map, line_chart

__all__ = ["draw_cell", "heat_map", "line_chart", "write_report"]
