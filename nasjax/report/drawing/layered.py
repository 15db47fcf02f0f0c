"""Where the boxes of a drawn cell go: a layered layout, without Graphviz.

States stand in columns by their longest path from an input. An edge that passes a
column gets a lane of its own there, so no edge ever runs through a box; columns are
ordered until edges cross little (Sugiyama, Tagawa and Toda 1981), then every box is
put as near to its neighbours as the order allows.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

_GAP = 18.0
_LANE = 6.0
_SWEEPS = 12
#: Lanes pull harder than boxes: a long edge should be straight.
_LANE_PULL = 6.0


class Layout(NamedTuple):
    """Places of states and of the lanes between them.

    Attributes:
      column: column of each state.
      y: centre of each state.
      lanes: for each link, the heights it passes the columns between its ends at.
      height: of the whole.
    """

    column: tuple[int, ...]
    y: tuple[float, ...]
    lanes: tuple[tuple[float, ...], ...]
    height: float


class _Graph(NamedTuple):
    columns: list[list[int]]  # items of each column, top to bottom
    segments: list[list[tuple[int, int]]]  # between column l and l + 1
    heights: list[float]  # of each item; states first, then lanes
    num_states: int


def layout(heights: Sequence[float], links: Sequence[tuple[int, int]]) -> Layout:
    """Place states of the given heights, joined by links.

    Args:
      heights: of each state.
      links: ``(source, target)``, source < target.
    """
    column = _columns(len(heights), links)
    graph, paths = _with_lanes(heights, links, column)
    graph = _ordered(graph)
    y = _placed(graph)
    shift = min(c - h / 2 for c, h in zip(y, graph.heights, strict=True))
    y = [value - shift for value in y]
    return Layout(
        tuple(column),
        tuple(y[: len(heights)]),
        tuple(tuple(y[item] for item in path) for path in paths),
        max(c + h / 2 for c, h in zip(y, graph.heights, strict=True)),
    )


def _columns(num_states: int, links: Sequence[tuple[int, int]]) -> list[int]:
    column = [0] * num_states
    for source, target in sorted(links, key=lambda link: link[1]):
        column[target] = max(column[target], column[source] + 1)
    return column


def _with_lanes(
    heights: Sequence[float], links: Sequence[tuple[int, int]], column: Sequence[int]
) -> tuple[_Graph, list[list[int]]]:
    """The graph with one item more for each column that a link passes."""
    items = list(heights)
    columns: list[list[int]] = [[] for _ in range(max(column) + 1)]
    for state, place in enumerate(column):
        columns[place].append(state)
    segments: list[list[tuple[int, int]]] = [[] for _ in columns]
    paths = []
    for source, target in links:
        path, before = [], source
        for place in range(column[source] + 1, column[target]):
            path.append(len(items))
            columns[place].append(len(items))
            segments[place - 1].append((before, len(items)))
            before = len(items)
            items.append(_LANE)
        segments[column[target] - 1].append((before, target))
        paths.append(path)
    return _Graph(columns, segments, items, len(heights)), paths


def _crossings(graph: _Graph, columns: Sequence[Sequence[int]]) -> int:
    rank = {item: i for column in columns for i, item in enumerate(column)}
    total = 0
    for pairs in graph.segments:
        for i, (a, b) in enumerate(pairs):
            for c, d in pairs[:i]:
                total += (rank[a] - rank[c]) * (rank[b] - rank[d]) < 0
    return total


def _neighbours(graph: _Graph) -> dict[int, tuple[list[int], list[int]]]:
    """Items before and after each item."""
    found: dict[int, tuple[list[int], list[int]]] = {
        item: ([], []) for item in range(len(graph.heights))
    }
    for pairs in graph.segments:
        for before, after in pairs:
            found[before][1].append(after)
            found[after][0].append(before)
    return found


def _ordered(graph: _Graph) -> _Graph:
    """Columns reordered for few crossings, by barycentres, forwards and backwards."""
    beside = _neighbours(graph)
    columns = [list(column) for column in graph.columns]
    best, fewest = columns, _crossings(graph, columns)
    for sweep in range(_SWEEPS):
        forwards = sweep % 2 == 0
        columns = [list(column) for column in columns]
        for place in range(len(columns))[:: 1 if forwards else -1]:
            rank = {item: i for column in columns for i, item in enumerate(column)}
            centre = {}
            for item in columns[place]:
                near = [rank[i] for i in beside[item][0 if forwards else 1]]
                centre[item] = sum(near) / len(near) if near else rank[item]
            columns[place].sort(key=centre.__getitem__)
        count = _crossings(graph, columns)
        if count < fewest:
            best, fewest = columns, count
    return graph._replace(columns=best)


def _placed(graph: _Graph) -> list[float]:
    """Heights of all items: near their neighbours, in order, apart."""
    beside = _neighbours(graph)
    y = [0.0] * len(graph.heights)
    for sweep in range(2 * _SWEEPS):
        order = graph.columns if sweep % 2 == 0 else graph.columns[::-1]
        for column in order:
            wanted, pull = [], []
            for item in column:
                near = beside[item][0] + beside[item][1]
                wanted.append(sum(y[i] for i in near) / len(near) if near else y[item])
                pull.append(1.0 if item < graph.num_states else _LANE_PULL)
            sizes = [graph.heights[item] for item in column]
            for item, value in zip(
                column, spread(wanted, sizes, pull=pull), strict=True
            ):
                y[item] = value
    return y


def spread(
    wanted: Sequence[float], sizes: Sequence[float], *, pull: Sequence[float]
) -> list[float]:
    """Places nearest to ``wanted`` that keep the order and a gap between neighbours.

    The least squares solution, by pooling adjacent violators.

    >>> spread([0.0, 0.0], [10.0, 10.0], pull=[1.0, 1.0])
    [-14.0, 14.0]
    """
    steps = [0.0] + [(a + b) / 2 + _GAP for a, b in pairwise(sizes)]
    offset = np.cumsum(steps)
    blocks: list[list[float]] = []  # place, pull, members
    for value, weight in zip(np.asarray(wanted) - offset, pull, strict=True):
        blocks.append([float(value), weight, 1])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            late, early = blocks.pop(), blocks.pop()
            total = late[1] + early[1]
            mean = (late[0] * late[1] + early[0] * early[1]) / total
            blocks.append([mean, total, late[2] + early[2]])
    flat = [place for place, _, members in blocks for _ in range(int(members))]
    return [float(a + b) for a, b in zip(flat, offset, strict=True)]
