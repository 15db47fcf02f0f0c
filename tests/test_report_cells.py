"""Drawings of cells: every edge is there and nothing lies on anything else."""

import re
import xml.etree.ElementTree as ET
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasjax.genotype import DiscreteCell, Genotype, read_cell
from nasjax.report import draw_cell
from nasjax.report.drawing.layered import layout

SVG = "{http://www.w3.org/2000/svg}"
DARTS_V2 = (
    ("sep_conv_3x3", 0),
    ("sep_conv_3x3", 1),
    ("sep_conv_3x3", 0),
    ("sep_conv_3x3", 1),
    ("sep_conv_3x3", 1),
    ("skip_connect", 0),
    ("skip_connect", 0),
    ("dil_conv_3x3", 2),
)
# Two edges from one state to the same node, and nodes that the output leaves out.
AMOEBA = (
    ("avg_pool_3x3", 0),
    ("max_pool_3x3", 1),
    ("sep_conv_3x3", 0),
    ("sep_conv_5x5", 2),
    ("sep_conv_3x3", 0),
    ("avg_pool_3x3", 3),
    ("sep_conv_3x3", 1),
    ("skip_connect", 1),
    ("skip_connect", 0),
    ("avg_pool_3x3", 1),
)
NAS_BENCH = Genotype(
    arch_str=(
        "|nor_conv_3x3~0|+|nor_conv_3x3~0|none~1|"
        "+|skip_connect~0|avg_pool_3x3~1|none~2|"
    )
)
OPERATIONS = ("none", "skip_connect", "max_pool_3x3", "sep_conv_3x3", "odd_one")


def darts_cell(edges, concat=()):
    return read_cell(Genotype(normal=tuple(edges), normal_concat=concat), "normal")


NAS_CELL = read_cell(NAS_BENCH, "cell")


def _parsed(svg):
    root = ET.fromstring(svg)
    _, _, width, height = map(float, root.get("viewBox").split())
    return root, width, height


def _of_class(root, tag, name):
    return [e for e in root.iter(SVG + tag) if name in (e.get("class") or "").split()]


def _boxes(root, name):
    found = []
    for rect in _of_class(root, "rect", name):
        x, y, w, h = (float(rect.get(k)) for k in ("x", "y", "width", "height"))
        found.append((x, y, x + w, y + h))
    return found


def _overlap(a, b):
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _points(path):
    """Points along a path of M, C and H commands."""
    points, x, y = [], 0.0, 0.0
    for command, text in re.findall(r"([MCH])([-\d. ]+)", path):
        numbers = [float(n) for n in text.split()]
        if command == "M":
            x, y = numbers
            points.append((x, y))
        elif command == "H":
            points += [(x + (numbers[0] - x) * i / 20, y) for i in range(21)]
            x = numbers[0]
        else:
            ax, ay, bx, by, ex, ey = numbers
            for i in range(21):
                t = i / 20
                u = 1 - t
                w = u**3, 3 * u * u * t, 3 * u * t * t, t**3
                points.append(
                    (
                        w[0] * x + w[1] * ax + w[2] * bx + w[3] * ex,
                        w[0] * y + w[1] * ay + w[2] * by + w[3] * ey,
                    )
                )
            x, y = ex, ey
    return points


def _check(svg, num_edges, num_states):
    root, width, height = _parsed(svg)
    labels, states = _boxes(root, "label"), _boxes(root, "state")
    assert len(labels) == num_edges
    assert len(states) == num_states
    assert len(_of_class(root, "path", "edge")) == num_edges
    assert len(_of_class(root, "path", "tip")) == num_edges
    for a, b in combinations(labels + states, 2):
        assert not _overlap(a, b)
    for x0, y0, x1, y1 in labels + states:
        assert 0 <= x0 <= x1 <= width
        assert 0 <= y0 <= y1 <= height
    lines = _of_class(root, "path", "edge") + _of_class(root, "path", "concat")
    for line in lines:
        for x, y in _points(line.get("d")):
            inside = [
                box
                for box in labels + states
                if box[0] + 0.5 < x < box[2] - 0.5 and box[1] < y < box[3]
            ]
            assert not inside
            assert 0 <= y <= height
    return root


@pytest.mark.parametrize(
    ("cell", "num_states"),
    [(darts_cell(DARTS_V2), 7), (darts_cell(AMOEBA), 8), (NAS_CELL, 4)],
)
def test_nothing_overlaps_and_every_edge_is_drawn(cell, num_states):
    root = _check(draw_cell(cell, title="a cell"), len(cell.edges), num_states)
    words = [element.text for element in root.iter(SVG + "text")]
    for operation in {operation for operation, *_ in cell.edges}:
        expected = sum(name == operation for name, *_ in cell.edges)
        assert words.count(operation) == expected


@st.composite
def _two_input_cells(draw):
    num_nodes = draw(st.integers(1, 6))
    return tuple(
        (draw(st.sampled_from(OPERATIONS)), draw(st.integers(0, node - 1)))
        for node in range(2, 2 + num_nodes)
        for _ in range(2)
    )


@settings(max_examples=60, deadline=None)
@given(_two_input_cells())
def test_no_cell_of_the_darts_family_overlaps(edges):
    svg = draw_cell(darts_cell(edges), title="t")
    nodes = len(edges) // 2
    # An output of one node is that node, with nothing to join.
    _check(svg, len(edges), 2 + nodes + (nodes > 1))


def test_arrows_join_the_states_they_name():
    root = _check(draw_cell(NAS_CELL, title="t"), 6, 4)
    states = _boxes(root, "state")
    described = root.find(SVG + "desc").text.split("; ")
    assert described[0] == "0 to 1: nor_conv_3x3"
    assert described[3] == "0 to 3: skip_connect"
    for path, words in zip(_of_class(root, "path", "edge"), described, strict=True):
        source, target = (int(n) for n in re.findall(r"\d+", words)[:2])
        points = _points(path.get("d"))
        for (x, y), box, side in (
            (points[0], states[source], 2),
            (points[-1], states[target], 0),
        ):
            assert abs(x - box[side]) < 8
            assert box[1] <= y <= box[3]


def test_none_is_dashed_and_kinds_have_their_colours():
    root, *_ = _parsed(draw_cell(NAS_CELL, title="t"))
    dashed = [e for e in _of_class(root, "path", "edge") if e.get("stroke-dasharray")]
    assert len(dashed) == 2
    colours = {e.get("class") for e in _of_class(root, "path", "edge")}
    assert len(colours) == 4  # conv, pool, skip, none


def test_the_output_joins_what_concat_says():
    all_nodes, *_ = _parsed(draw_cell(darts_cell(AMOEBA), title="t"))
    assert len(_of_class(all_nodes, "path", "concat")) == 5
    some, *_ = _parsed(draw_cell(darts_cell(AMOEBA, (4, 5, 6)), title="t"))
    assert len(_of_class(some, "path", "concat")) == 3


def test_long_and_hostile_names_stay_inside_and_escaped():
    name = '<script>&"attention_with_a_long_name'
    svg = draw_cell(darts_cell(((name, 0), ("a", 1))), title="<b>")
    assert "<script" not in svg
    root = _check(svg, 2, 3)
    assert name in [element.text for element in root.iter(SVG + "text")]
    widths = [x1 - x0 for x0, _, x1, _ in _boxes(root, "label")]
    assert min(widths) > 6.6 * len(name)


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        ((), "at least one edge"),
        ((("none", 2, 2), ("none", 0, 2)), "edge 0 leaves state 2"),
        ((("none", 0, 1), ("none", 1, 1)), "edge 1 leaves state 1"),
    ],
)
def test_impossible_cells_are_refused(edges, message):
    with pytest.raises(ValueError, match=message):
        draw_cell(DiscreteCell(edges, (2,)), title="t")


def test_layout_untangles_a_crossing():
    # 0 -> 3 and 1 -> 2 cross if columns keep their numbers' order.
    placed = layout([40.0] * 4, [(0, 3), (1, 2)])
    assert placed.column == (0, 0, 1, 1)
    assert (placed.y[0] < placed.y[1]) == (placed.y[3] < placed.y[2])


def test_a_long_edge_gets_a_lane_in_every_column_it_passes():
    placed = layout([40.0] * 4, [(0, 1), (1, 2), (2, 3), (0, 3)])
    assert placed.column == (0, 1, 2, 3)
    assert [len(lanes) for lanes in placed.lanes] == [0, 0, 0, 2]
