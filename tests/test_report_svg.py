"""Charts: right places, readable numbers, well-formed whatever the data."""

import math
import xml.etree.ElementTree as ET
from itertools import pairwise

import numpy as np
import pytest

from nasjax.report import heat_map, line_chart
from nasjax.report.drawing.axes import span, thin, ticks
from nasjax.report.drawing.panels import edge_panels
from nasjax.report.drawing.theme import operation_colours, shade

SVG = "{http://www.w3.org/2000/svg}"


def _words(root):
    return ["".join(element.itertext()) for element in root.iter(SVG + "text")]


def _chart(series):
    return ET.fromstring(line_chart(series, title="T & <t>", x_label="s", y_label="l"))


def _lines(root):
    return [
        [tuple(map(float, p.split(","))) for p in line.get("points").split()]
        for line in root.iter(SVG + "polyline")
    ]


def test_a_line_goes_where_its_numbers_say():
    root = _chart({"loss": ([0, 5, 10], [3.0, 2.0, 1.0])})
    (line,) = _lines(root)
    (x0, y0), (x1, y1), (x2, y2) = line
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.11)
    assert y0 < y1 < y2  # a falling loss falls on the page
    assert y1 - y0 == pytest.approx(y2 - y1, abs=0.11)
    words = _words(root)
    assert "T & <t>" in words
    assert {"s", "l", "loss 1"} <= set(words)


def test_counts_over_epochs_have_whole_ticks():
    words = _words(_chart({"skips": ([1, 2], [0, 1])}))
    assert {"0", "1", "2"} <= set(words)
    assert not [word for word in words if "." in word]


def test_every_series_has_its_own_look():
    series = {f"s{i}": ([0, 1], [i, i + 1]) for i in range(12)}
    looks = {
        (line.get("class"), line.get("stroke-dasharray"))
        for line in _chart(series).iter(SVG + "polyline")
    }
    assert len(looks) == 12


def test_not_finite_points_break_the_line_and_lone_points_are_dots():
    nan = math.nan
    root = _chart({"a": ([0, 1, 2, 3, 4, 5], [1, 2, nan, 3, math.inf, 0.5])})
    assert [len(line) for line in _lines(root)] == [2]
    assert len(list(root.iter(SVG + "circle"))) == 2


@pytest.mark.parametrize(
    "series",
    [{}, {"a": ([], [])}, {"a": ([0], [math.nan])}, {"a": ([1, 2], [math.inf] * 2)}],
)
def test_a_chart_without_a_number_says_so(series):
    assert "no finite value" in _words(_chart(series))


@pytest.mark.parametrize("value", [0.0, -1e-30, 1e149, 5e-324, 5.0])
def test_a_constant_curve_is_drawn_inside(value):
    root = _chart({"a": ([3, 4], [value, value])})
    ((_, y0), (_, y1)) = _lines(root)[0]
    assert y0 == y1
    assert 40 < y0 < 230


def test_lengths_have_to_match():
    with pytest.raises(ValueError, match="series 'a' has 2 xs and 1 ys"):
        _chart({"a": ([1, 2], [1])})


def test_thinning_keeps_ends_and_extremes_and_gaps():
    ys = [0.0] * 10_000
    ys[1234], ys[8765], ys[5000] = 9.0, -9.0, math.nan
    xs, kept = thin(range(10_000), ys, most=200)
    assert len(xs) <= 260
    assert (xs[0], xs[-1]) == (0, 9999)
    assert {9.0, -9.0} <= set(kept)
    assert sum(map(math.isnan, kept)) == 1


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (-3e-7, 2e-7), (1e6, 1.5e6), (0.1, 0.35)]
)
def test_ticks_are_few_round_and_inside(low, high):
    found = ticks(low, high)
    assert 3 <= len(found) <= 9
    assert all(low - 1e-9 * abs(low) <= t <= high * (1 + 1e-9) for t in found)
    steps = [b - a for a, b in pairwise(found)]
    assert max(steps) == pytest.approx(min(steps))
    assert f"{steps[0]:.3e}"[:5] in ("1.000", "2.000", "5.000")


def test_span_is_never_empty():
    for values in ([], [2.0], [0.0, 5e-324], [math.nan], [-1e12] * 2, [1e308, -1e308]):
        low, high = span(values)
        assert low < high


def test_heat_map_shows_every_value_and_marks():
    matrix = np.array([[0.1, 0.25, -0.3], [0.125, math.nan, 0.0]])
    svg = heat_map(
        matrix, ["2←0", "2←1"], ["a", "b", "<c>"], title="m", marked=[(0, 1)]
    )
    root = ET.fromstring(svg)
    words = _words(root)
    for expected in ("0.100", "0.250", "-0.300", "0.125", "nan", "0.000"):
        assert expected in words
    assert {"2←0", "2←1", "a", "b", "<c>"} <= set(words)
    strong = [e.text for e in root.iter(SVG + "text") if e.get("class") == "strong"]
    assert strong == ["0.250", "0.125"]
    marked = [e for e in root.iter(SVG + "rect") if e.get("class") == "marked"]
    assert len(marked) == 1
    tips = [e.text for e in root.iter(SVG + "title")]
    assert "2←0 b: 0.25" in tips


def test_heat_map_survives_degenerate_values():
    for matrix in (
        np.zeros((1, 1)),
        np.full((2, 2), math.nan),
        np.full((1, 2), 1e30),
        [[1e308, -1e308]],
    ):
        rows, columns = np.shape(matrix)
        ET.fromstring(heat_map(matrix, ["r"] * rows, ["c"] * columns, title="t"))


def test_heat_map_refuses_wrong_labels():
    with pytest.raises(
        ValueError, match=r"matrix is \(2, 2\), labels are for \(1, 2\)"
    ):
        heat_map(np.zeros((2, 2)), ["a"], ["b", "c"], title="t")


def _luminance(colour):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels
    ]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_the_scale_reads_without_colour_and_its_text_has_contrast():
    shades = [shade(i / 100) for i in range(101)]
    back = [_luminance(b) for b, _ in shades]
    assert all(a < b for a, b in pairwise(back))
    for (_, front), behind in zip(shades, back, strict=True):
        high, low = sorted((_luminance(front), behind), reverse=True)
        assert (high + 0.05) / (low + 0.05) >= 4.1


def test_one_panel_an_edge_and_the_strongest_is_thick():
    alphas = np.zeros((4, 2, 3))
    alphas[:, 0, 1] = [0, 1, 2, 3]
    alphas[:, 1, 2] = [0, -1, -2, math.nan]
    names = ["none", "skip_connect", "sep_conv_3x3"]
    panels = edge_panels(alphas, edge_labels=["2←0", "2←1"], operations=names)
    assert len(panels) == 2
    root = ET.fromstring(panels[0])
    assert "2←0skip_connect" in _words(root)
    thick = [e for e in root.iter(SVG + "polyline") if e.get("style")]
    assert len(thick) == 1
    assert thick[0].get("class") == f"curve c{operation_colours(names)['skip_connect']}"
    with pytest.raises(ValueError, match="names are for"):
        edge_panels(alphas, edge_labels=["2←0"], operations=names)
