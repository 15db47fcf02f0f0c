"""Charts as SVG text, from data alone.

Every drawing stands by itself: it carries its style, a ``<title>`` and a ``<desc>``
for screen readers, and refers to nothing outside.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from html import escape
from typing import NamedTuple

import numpy as np

from nasjax.report.drawing.axes import Frame, curve, drawable, span, ticks
from nasjax.report.drawing.theme import NUM_COLOURS, STYLE, shade
from nasjax.report.drawing.units import number

Series = Mapping[str, tuple[Sequence[float], Sequence[float]]]

STYLE_TAG = f"<style>{STYLE}</style>"
#: Room of a character, with reserve: fonts of readers differ.
CHARACTER = 6.4
_DASHES = ("", "6 3", "2 3", "8 3 2 3")


def document(
    body: str, *, width: float, height: float, title: str, description: str = ""
) -> str:
    """A complete SVG around ``body``."""
    described = f"<desc>{escape(description)}</desc>" if description else ""
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" class="nj" role="img" '
        f'aria-label="{escape(title)}" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}">{STYLE_TAG}'
        f"<title>{escape(title)}</title>{described}{body}</svg>"
    )


def without_style(svg: str) -> str:
    """The drawing for a page that already holds the style."""
    return svg.replace(STYLE_TAG, "")


def text(
    content: str, x: float, y: float, *, style: str = "", anchor: str = "start"
) -> str:
    """One line of text; ``y`` is its baseline."""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{style}">'
        f"{escape(content)}</text>"
    )


def dash(index: int) -> str:
    """The dashes of series ``index``, as an attribute; none for the first four."""
    pattern = _DASHES[(index // 4) % len(_DASHES)]
    return f' stroke-dasharray="{pattern}"' if pattern else ""


def _axes(frame: Frame, *, x_label: str, y_label: str, whole: tuple[bool, bool]) -> str:
    """Ticks and labels; ``whole`` says where across and upwards are only integers."""
    bottom, right = frame.top + frame.height, frame.left + frame.width
    parts = []
    for value in _whole_ticks(frame.y_range, whole[1]):
        y = frame.y(value)
        parts.append(f'<path class="grid" d="M{frame.left:.1f} {y:.1f}H{right:.1f}"/>')
        parts.append(
            text(number(value), frame.left - 6, y + 4, style="quiet", anchor="end")
        )
    for value in _whole_ticks(frame.x_range, whole[0]):
        x = frame.x(value)
        parts.append(f'<path class="grid" d="M{x:.1f} {bottom:.1f}v4"/>')
        parts.append(
            text(number(value), x, bottom + 16, style="quiet", anchor="middle")
        )
    parts.append(text(y_label, 8, frame.top - 9, style="quiet"))
    parts.append(text(x_label, right, bottom + 31, style="quiet", anchor="end"))
    return "".join(parts)


def _whole_ticks(limits: tuple[float, float], whole: bool) -> list[float]:
    """Ticks; where only integers occur, half an edge is nothing to read off."""
    return [v for v in ticks(*limits) if not whole or v == int(v)]


def _all_whole(values: Sequence[float]) -> bool:
    return all(not drawable(v) or v == int(v) for v in values)


def _legend(
    names: Mapping[str, str], *, left: float, right: float, top: float
) -> tuple[str, float]:
    """The legend's marks and its height; ``names`` maps a name to its last value."""
    x, y, parts = left, top, []
    for index, (name, last) in enumerate(names.items()):
        width = 24 + CHARACTER * (len(name) + len(last) + 1) + 14
        if x > left and x + width > right:
            x, y = left, y + 18
        colour = index % NUM_COLOURS
        parts.append(
            f'<path class="curve c{colour}"{dash(index)} '
            f'd="M{x:.1f} {y - 4:.1f}h18"/>'
            f'<text x="{x + 24:.1f}" y="{y:.1f}">{escape(name)} '
            f'<tspan class="quiet">{escape(last)}</tspan></text>'
        )
        x += width
    return "".join(parts), y - top + 18


def line_chart(series: Series, *, title: str, x_label: str, y_label: str) -> str:
    """Curves over one pair of axes, with the last value of each in the legend.

    Args:
      series: ``{name: (xs, ys)}``; a point that is not finite breaks its line.
      title: heading of the chart.
      x_label: what lies across.
      y_label: what goes up.

    Raises:
      ValueError: xs and ys of different lengths.
    """
    last = {}
    for name, (xs, ys) in series.items():
        if len(xs) != len(ys):
            raise ValueError(f"series {name!r} has {len(xs)} xs and {len(ys)} ys")
        last[name] = number(ys[-1]) if len(ys) else "no data"
    width, left, top, height = 480, 58, 52 if y_label else 34, 170
    every_x = [float(x) for xs, _ in series.values() for x in xs]
    every_y = [float(y) for _, ys in series.values() for y in ys]
    frame = Frame(
        left, top, width - left - 14, height, span(every_x), span(every_y, margin=0.04)
    )
    legend, legend_height = _legend(last, left=left, right=width, top=top + height + 50)
    whole = _all_whole(every_x), _all_whole(every_y)
    body = text(title, 8, 18, style="head")
    body += _axes(frame, x_label=x_label, y_label=y_label, whole=whole)
    for index, (xs, ys) in enumerate(series.values()):
        style = str(index % NUM_COLOURS)
        body += curve(xs, ys, frame, style=style, extra=dash(index))
    if not any(map(drawable, every_y)):
        middle = frame.left + frame.width / 2
        body += text(
            "no finite value", middle, top + height / 2, style="quiet", anchor="middle"
        )
    return document(
        body + legend,
        width=width,
        height=top + height + 40 + legend_height,
        title=title,
        description="; ".join(f"{name}: last {value}" for name, value in last.items()),
    )


class _Grid(NamedTuple):
    """Where the cells of a heat map lie."""

    left: float
    top: float
    wide: float
    tall: float

    def place(self, row: int, column: int, *, inset: float = 0.0) -> str:
        """The rectangle of a cell, as attributes."""
        return (
            f'x="{self.left + self.wide * column + inset:.1f}" '
            f'y="{self.top + self.tall * row + inset:.1f}" '
            f'width="{self.wide - 2 * inset:.1f}" '
            f'height="{self.tall - 2 * inset:.1f}"'
        )


def heat_map(
    matrix: Sequence[Sequence[float]] | np.ndarray,
    row_labels: Sequence[str],
    column_labels: Sequence[str],
    *,
    title: str,
    marked: Collection[tuple[int, int]] = (),
) -> str:
    """A table of coloured values; the largest of each row in bold.

    Args:
      matrix: ``[rows, columns]``; a value that is not finite stays uncoloured.
      row_labels: one for each row.
      column_labels: one for each column, written slanted.
      title: heading of the map.
      marked: ``(row, column)`` of cells to frame.

    Raises:
      ValueError: labels that do not match the matrix.
    """
    values = np.asarray(matrix, np.float64)
    if values.shape != (len(row_labels), len(column_labels)):
        raise ValueError(
            f"matrix is {values.shape}, labels are for "
            f"{(len(row_labels), len(column_labels))}"
        )
    low, high = span(values.ravel().tolist())
    decimals = min(max(2 - math.floor(math.log10(high - low)), 0), 6)
    slanted = CHARACTER * max(map(len, column_labels), default=0)
    digits = max(len(_shown(v, decimals)) for v in (low, high))
    grid = _Grid(
        left=16 + CHARACTER * max(map(len, row_labels), default=0),
        top=44 + 0.6 * slanted,
        wide=max(46.0, 14 + CHARACTER * digits),
        tall=24,
    )
    body = text(title, 8, 18, style="head")
    body += _heat_labels(grid, row_labels, column_labels)
    for row, label in enumerate(row_labels):
        tips = [f"{label} {column}" for column in column_labels]
        body += _heat_row(
            values[row], grid, row=row, tips=tips, low=low, high=high, decimals=decimals
        )
    body += "".join(_frame(grid.place(*cell, inset=1.0)) for cell in marked)
    bottom = grid.top + grid.tall * len(row_labels) + 14
    body += _scale(low, high, x=grid.left + 46, y=bottom, decimals=decimals)
    across = grid.left + grid.wide * len(column_labels) + 0.8 * slanted
    return document(
        body,
        width=max(across, grid.left + 280),
        height=bottom + 20,
        title=title,
        description=f"{len(row_labels)} rows, {len(column_labels)} columns, values "
        f"from {number(low)} to {number(high)}",
    )


def _shown(value: float, decimals: int) -> str:
    return f"{value:.{decimals}f}" if abs(value) < 1e6 else f"{value:.2e}"


def _heat_labels(
    grid: _Grid, row_labels: Sequence[str], column_labels: Sequence[str]
) -> str:
    parts = []
    for column, label in enumerate(column_labels):
        x = grid.left + grid.wide * (column + 0.5)
        parts.append(
            f'<text class="mono" transform="translate({x:.1f} {grid.top - 7:.1f}) '
            f'rotate(-36)">{escape(label)}</text>'
        )
    for row, label in enumerate(row_labels):
        y = grid.top + grid.tall * row + 16
        parts.append(text(label, grid.left - 8, y, style="mono", anchor="end"))
    return "".join(parts)


def _heat_row(
    values: np.ndarray,
    grid: _Grid,
    *,
    row: int,
    tips: Sequence[str],
    low: float,
    high: float,
    decimals: int,
) -> str:
    best = int(np.nanargmax(values)) if np.isfinite(values).any() else None
    return "".join(
        _heat_cell(
            value,
            place=grid.place(row, column),
            x=grid.left + grid.wide * (column + 0.5),
            y=grid.top + grid.tall * row + 16,
            fraction=(value - low) / (high - low),
            decimals=decimals,
            strong=column == best,
            tip=tips[column],
        )
        for column, value in enumerate(values.tolist())
    )


def _heat_cell(
    value: float,
    *,
    place: str,
    x: float,
    y: float,
    fraction: float,
    decimals: int,
    strong: bool,
    tip: str,
) -> str:
    if not drawable(value):
        blank = f'<rect {place} class="grid"/>'
        return blank + text(str(value), x, y, style="quiet mono", anchor="middle")
    back, front = shade(fraction)
    return (
        f'<g><title>{escape(tip)}: {value:.6g}</title><rect {place} fill="{back}"/>'
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="middle" '
        f'class="{"strong" if strong else ""}" style="fill:{front}">'
        f"{_shown(value, decimals)}</text></g>"
    )


def _frame(place: str) -> str:
    """A frame that shows on every colour of the scale."""
    shape = f'{place} rx="4" fill="none"'
    return (
        f'<rect class="marked" {shape} stroke="#ffffff" stroke-width="4"/>'
        f'<rect {shape} stroke="#d1006c" stroke-width="2"/>'
    )


def _scale(low: float, high: float, *, x: float, y: float, decimals: int) -> str:
    """The colour scale with its ends."""
    steps = 40
    bars = "".join(
        f'<rect x="{x + 4 * i:.1f}" y="{y:.1f}" width="4" height="9" '
        f'shape-rendering="crispEdges" fill="{shade(i / (steps - 1))[0]}"/>'
        for i in range(steps)
    )
    return (
        bars
        + text(_shown(low, decimals), x - 6, y + 9, style="quiet", anchor="end")
        + text(_shown(high, decimals), x + 4 * steps + 7, y + 9, style="quiet")
    )
