"""Every seed as a dot: groups of few values side by side on one scale."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

from nasjax.report.drawing.axes import Frame, drawable, span, ticks
from nasjax.report.drawing.svg import CHARACTER, document, text
from nasjax.report.drawing.units import number

_ROW = 26.0
_WIDTH = 480.0


class Strip(NamedTuple):
    """A group's line.

    Attributes:
      values: a dot each.
      mean: a bar; None for none.
      interval: a line through the bar; None for none.
    """

    values: Sequence[float]
    mean: float | None = None
    interval: tuple[float, float] | None = None


def strip_chart(
    strips: Mapping[str, Strip],
    *,
    title: str,
    marks: Mapping[str, float] | None = None,
) -> str:
    """Dots of each group on a line of its own, its mean and interval with them.

    Args:
      strips: groups by name, from the top.
      title: heading.
      marks: values that a dashed line across all groups stands for, by name.
    """
    marks = {name: v for name, v in (marks or {}).items() if drawable(v)}
    every = [v for strip in strips.values() for v in strip.values if drawable(v)]
    every += [v for s in strips.values() if s.interval for v in s.interval]
    left = min(24 + CHARACTER * max(map(len, strips), default=0), _WIDTH / 2)
    top, height = 34.0, _ROW * max(len(strips), 1)
    frame = Frame(
        left,
        top,
        _WIDTH - left - 20,
        height,
        span([*every, *marks.values()], margin=0.05),
        (0.0, 1.0),
    )
    body = text(title, 8, 18, style="head") + _scale(frame)
    for index, (name, strip) in enumerate(strips.items()):
        middle = top + _ROW * (index + 0.5)
        body += text(name, left - 10, middle + 4, anchor="end") + _strip(
            strip, frame, middle
        )
    below = top + height + 34
    for name, value in marks.items():
        x = frame.x(value)
        body += (
            f'<path class="curve c1" stroke-dasharray="5 4" '
            f'd="M{x:.1f} {top:.1f}v{height:.1f}"/>'
            f'<path class="curve c1" stroke-dasharray="5 4" '
            f'd="M{left:.1f} {below - 4:.1f}h18"/>'
            f'<text x="{left + 24:.1f}" y="{below:.1f}">{escape(name)} '
            f'<tspan class="quiet">{number(value)}</tspan></text>'
        )
        below += 18
    described = "; ".join(
        f"{name}: {', '.join(map(number, strip.values)) or 'no value'}"
        for name, strip in strips.items()
    )
    return document(
        body, width=_WIDTH, height=below, title=title, description=described
    )


def _scale(frame: Frame) -> str:
    bottom = frame.top + frame.height
    parts = []
    for value in ticks(*frame.x_range):
        x = frame.x(value)
        parts.append(f'<path class="grid" d="M{x:.1f} {frame.top:.1f}V{bottom:.1f}"/>')
        parts.append(
            text(number(value), x, bottom + 15, style="quiet", anchor="middle")
        )
    return "".join(parts)


def _strip(strip: Strip, frame: Frame, y: float) -> str:
    values = [value for value in strip.values if drawable(value)]
    if not values:
        x = frame.left + frame.width / 2
        return text("no value", x, y + 4, style="quiet", anchor="middle")
    body = ""
    if strip.interval is not None:
        low, high = map(frame.x, strip.interval)
        body += f'<path class="curve c0" d="M{low:.1f} {y:.1f}H{high:.1f}"/>'
    if strip.mean is not None:
        x = frame.x(strip.mean)
        body += (
            f'<path class="curve c0" style="stroke-width:3" '
            f'd="M{x:.1f} {y - 9:.1f}v18"/>'
        )
    for value in values:
        body += (
            f'<circle class="f0" fill-opacity="0.6" cx="{frame.x(value):.1f}" '
            f'cy="{y:.1f}" r="4.5"/>'
        )
    return body
