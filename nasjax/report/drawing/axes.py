"""From numbers to places: ranges, ticks, and curves inside a frame."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


def ticks(low: float, high: float, *, count: int = 5) -> list[float]:
    """Round numbers inside ``[low, high]``, about ``count``.

    >>> ticks(0.0, 1.0), ticks(3.0, 48.0)
    ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [10.0, 20.0, 30.0, 40.0])
    """
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = min((1, 2, 5, 10), key=lambda m: abs(math.log(m * power / rough))) * power
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [float(f"{i * step:.12g}") for i in range(first, last + 1)]


class Frame(NamedTuple):
    """A plotting area and what its sides stand for."""

    left: float
    top: float
    width: float
    height: float
    x_range: tuple[float, float]
    y_range: tuple[float, float]

    def x(self, value: float) -> float:
        """Where ``value`` lies across."""
        low, high = self.x_range
        return self.left + self.width * (value - low) / (high - low)

    def y(self, value: float) -> float:
        """Where ``value`` lies, upwards."""
        low, high = self.y_range
        return self.top + self.height * (high - value) / (high - low)


def drawable(value: float) -> bool:
    """Whether a number is finite, and small enough to do sums with."""
    return abs(value) < 1e150


def span(values: Sequence[float], *, margin: float = 0.0) -> tuple[float, float]:
    """Smallest and largest finite value, never equal; ``margin`` of it around.

    >>> span([1.0, float("nan"), 3.0]), span([]), span([2.0])
    ((1.0, 3.0), (0.0, 1.0), (1.0, 3.0))
    """
    finite = list(filter(drawable, values))
    if not finite:
        return 0.0, 1.0
    low, high = min(finite), max(finite)
    if high - low <= max(1e-9 * max(abs(low), abs(high)), 1e-150):
        around = abs(low) / 2 if abs(low) > 1e-150 else 1.0
        return low - around, high + around
    return low - margin * (high - low), high + margin * (high - low)


def thin(
    xs: Sequence[float], ys: Sequence[float], *, most: int
) -> tuple[Sequence[float], Sequence[float]]:
    """About ``most`` points: of each run of neighbours the lowest and the highest."""
    if len(xs) <= most:
        return xs, ys
    kept = {0, len(xs) - 1}
    for part in np.array_split(np.arange(len(xs)), most // 2):
        values = [(ys[i], i) for i in part.tolist() if math.isfinite(ys[i])]
        if len(values) < len(part):  # a gap stays a gap
            kept |= {i for i in part.tolist() if not math.isfinite(ys[i])}
        if values:
            kept |= {min(values)[1], max(values)[1]}
    order = sorted(kept)
    return [xs[i] for i in order], [ys[i] for i in order]


def curve(
    xs: Sequence[float],
    ys: Sequence[float],
    frame: Frame,
    *,
    style: str,
    extra: str,
    most: int = 500,
) -> str:
    """A line through the finite points, broken at the others; lone points as dots."""
    runs: list[list[tuple[float, float]]] = [[]]
    for x, y in zip(*thin(xs, ys, most=most), strict=True):
        if drawable(x) and drawable(y):
            runs[-1].append((frame.x(x), frame.y(y)))
        elif runs[-1]:
            runs.append([])
    parts = []
    for run in filter(None, runs):
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in run)
        if len(run) > 1:
            parts.append(f'<polyline class="curve c{style}"{extra} points="{points}"/>')
        else:
            x, y = run[0]
            parts.append(f'<circle class="f{style}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>')
    return "".join(parts)
