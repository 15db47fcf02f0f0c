"""How alpha moved: one small chart for each edge, all on one scale."""

from collections.abc import Sequence
from html import escape

import numpy as np

from nasjax.report.drawing.axes import Frame, curve, span
from nasjax.report.drawing.svg import document, text
from nasjax.report.drawing.theme import kind, operation_colours
from nasjax.report.drawing.units import number

_WIDTH, _HEIGHT = 200.0, 118.0


def edge_panels(
    alphas: np.ndarray, *, edge_labels: Sequence[str], operations: Sequence[str]
) -> list[str]:
    """A chart of every operation's alpha over the epochs, for each edge.

    The operation that is strongest at the end is drawn thick and named.

    Args:
      alphas: ``[T + 1, E, O]``.
      edge_labels: E names.
      operations: O names.

    Raises:
      ValueError: names that do not match alpha.
    """
    if alphas.ndim != 3 or alphas.shape[1:] != (len(edge_labels), len(operations)):
        raise ValueError(
            f"alphas are {alphas.shape}, names are for "
            f"[T + 1, {len(edge_labels)}, {len(operations)}]"
        )
    y_range = span(alphas.ravel().tolist())
    last = max(len(alphas) - 1, 1)
    frame = Frame(34, 26, _WIDTH - 42, _HEIGHT - 46, (0.0, float(last)), y_range)
    return [
        _panel(alphas[:, edge], frame, label=label, operations=operations)
        for edge, label in enumerate(edge_labels)
    ]


def _panel(
    history: np.ndarray, frame: Frame, *, label: str, operations: Sequence[str]
) -> str:
    colours = operation_colours(operations)
    epochs = list(range(len(history)))
    final = history[-1]
    best = int(np.nanargmax(final)) if np.isfinite(final).any() else None
    body = _axes(frame)
    winner = "no finite value" if best is None else operations[best]
    # The strongest last, above the others.
    for index in sorted(range(len(operations)), key=lambda i: i == best):
        operation = operations[index]
        extra = ' stroke-dasharray="4 3"' if kind(operation) == "none" else ""
        extra += ' style="stroke-width:3.4"' if index == best else ""
        body += curve(
            epochs,
            history[:, index].tolist(),
            frame,
            style=str(colours[operation]),
            extra=extra,
            most=160,
        )
    heading = f'<tspan class="strong">{escape(label)}</tspan>'
    body += (
        f'<text x="4" y="14">{heading}<tspan dx="7" class="mono quiet">'
        f"{escape(winner)}</tspan></text>"
    )
    return document(
        body,
        width=_WIDTH,
        height=_HEIGHT,
        title=f"alpha of edge {label}",
        description=f"strongest at the end: {winner}",
    )


def _axes(frame: Frame) -> str:
    low, high = frame.y_range
    bottom, right = frame.top + frame.height, frame.left + frame.width
    zero = ""
    if low < 0 < high:
        zero = f'<path class="grid" d="M{frame.left} {frame.y(0):.1f}H{right}"/>'
    return (
        f'<rect class="grid" x="{frame.left}" y="{frame.top}" '
        f'width="{frame.width}" height="{frame.height}"/>{zero}'
        + text(f"{high:.2g}", frame.left - 4, frame.top + 8, style="tick", anchor="end")
        + text(f"{low:.2g}", frame.left - 4, bottom, style="tick", anchor="end")
        + text("0", frame.left, bottom + 12, style="tick")
        + text(number(frame.x_range[1]), right, bottom + 12, style="tick", anchor="end")
    )
