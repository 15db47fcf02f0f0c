"""A cell as a drawing: states as boxes, operations as labelled arrows."""

from collections.abc import Sequence
from typing import NamedTuple

from nasjax.genotype import DiscreteCell
from nasjax.report.drawing.layered import Layout, layout
from nasjax.report.drawing.svg import document, text
from nasjax.report.drawing.theme import kind

_COLOUR = {"conv": 0, "pool": 1, "skip": 2, "none": 6, "other": 3}
_LABEL_HEIGHT = 24.0
_LABEL_STEP = 34.0  # from one label of a state to the next
_LINE_STEP = 16.0  # from one joining line to the next
_STATE_WIDTH = 46.0
_STATE_HEIGHT = 44.0  # at least
_ARROW = 26.0  # from a label to its state
_TOP = 40.0
_SIDE = 14.0
#: Room of a character of the labels' monospaced font.
_MONO = 6.9


class _Link(NamedTuple):
    """An edge of the cell, or (without an operation) of its output's concat."""

    source: int
    target: int
    operation: str | None


class _Columns(NamedTuple):
    """Left ends, for each column, of its labels and of its boxes."""

    labels: list[float]
    states: list[float]
    label_width: float


def draw_cell(cell: DiscreteCell, *, title: str) -> str:
    """Draw a cell from left to right; nothing overlaps.

    Args:
      cell: of a genotype (`genotype.read_cell`). An output of several states is a box
        of its own, that joins them.
      title: heading of the drawing.

    Raises:
      ValueError: no edge, or one from a state that is not earlier.
    """
    links, names = _links(cell)
    num_states = len(names)
    incoming: list[list[int]] = [[] for _ in range(num_states)]
    for index, link in enumerate(links):
        incoming[link.target].append(index)
    # A line that joins the output needs less room than a label does.
    step = [
        _LABEL_STEP if any(links[i].operation for i in into) else _LINE_STEP
        for into in incoming
    ]
    heights = [
        max(_STATE_HEIGHT, len(into) * s)
        for into, s in zip(incoming, step, strict=True)
    ]
    placed = layout(heights, [(link.source, link.target) for link in links])
    columns = _widths(links, placed)
    ends = _ends(links, incoming, placed, step)
    body = _arrows(links, placed, columns, heights=heights, ends=ends)
    for state, height in enumerate(heights):
        body += _box(
            names[state],
            x=columns.states[placed.column[state]],
            y=_TOP + placed.y[state] - height / 2,
            height=height,
        )
    return document(
        text(title, _SIDE, 20, style="head") + body,
        width=columns.states[-1] + _STATE_WIDTH + _SIDE,
        height=_TOP + placed.height + _SIDE,
        title=title,
        description=_description(links),
    )


def _links(cell: DiscreteCell) -> tuple[list[_Link], list[tuple[str, str]]]:
    """All links, and of every state its number and its role, written below it."""
    if not cell.edges:
        raise ValueError("a cell has at least one edge")
    for index, (_, source, target) in enumerate(cell.edges):
        if not 0 <= source < target:
            raise ValueError(f"edge {index} leaves state {source}, enters {target}")
    links = [_Link(source, target, name) for name, source, target in cell.edges]
    num_inputs, last = cell.edges[0][2], cell.edges[-1][2]
    if cell.output == (last,):
        roles = dict.fromkeys(range(num_inputs), "input") | {last: "output"}
        return links, [(str(state), roles.get(state, "")) for state in range(last + 1)]
    links += [_Link(source, last + 1, None) for source in cell.output]
    roles = {state: f"c k−{num_inputs - state}" for state in range(num_inputs)}
    names = [(str(state), roles.get(state, "")) for state in range(last + 1)]
    # What the cell joins its nodes to is no state that an edge enters.
    return links, [*names, ("c", "k")]


def _widths(links: Sequence[_Link], placed: Layout) -> _Columns:
    longest = max(len(link.operation or "") for link in links)
    label_width = _MONO * longest + 18
    has_labels = {placed.column[link.target] for link in links if link.operation}
    # A steep curve needs more way across; so does a crowd.
    bend = min(64.0 + 0.12 * placed.height, 110.0)
    labels, states, x = [0.0], [_SIDE], _SIDE + _STATE_WIDTH
    for column in range(1, max(placed.column) + 1):
        labels.append(x + bend)
        room = label_width + _ARROW if column in has_labels else 0.0
        states.append(x + bend + room)
        x = states[-1] + _STATE_WIDTH
    return _Columns(labels, states, label_width)


def _ends(
    links: Sequence[_Link],
    incoming: Sequence[Sequence[int]],
    placed: Layout,
    step: Sequence[float],
) -> dict[int, float]:
    """Height at which each link enters its target, in the order they arrive."""
    ends: dict[int, float] = {}
    for state, into in enumerate(incoming):

        def came_from(i: int) -> float:
            return (placed.lanes[i] or (placed.y[links[i].source],))[-1]

        first = placed.y[state] - step[state] * (len(into) - 1) / 2
        for rank, index in enumerate(sorted(into, key=came_from)):
            ends[index] = first + step[state] * rank
    return ends


def _starts(
    links: Sequence[_Link],
    placed: Layout,
    heights: Sequence[float],
    ends: dict[int, float],
) -> dict[int, float]:
    """Height at which each link leaves its source, in the order they go."""
    outgoing: dict[int, list[int]] = {}
    for index, link in enumerate(links):
        outgoing.setdefault(link.source, []).append(index)
    starts: dict[int, float] = {}
    for state, out in outgoing.items():
        out.sort(key=lambda i: (placed.lanes[i] or (ends[i],))[0])
        step = min(11.0, (heights[state] - 14) / len(out))
        first = placed.y[state] - step * (len(out) - 1) / 2
        starts |= {index: first + step * rank for rank, index in enumerate(out)}
    return starts


def _arrows(
    links: Sequence[_Link],
    placed: Layout,
    columns: _Columns,
    *,
    heights: Sequence[float],
    ends: dict[int, float],
) -> str:
    """All links; those of the output first, so that the others cross over them."""
    starts = _starts(links, placed, heights, ends)
    order = sorted(range(len(links)), key=lambda i: links[i].operation is not None)
    return "".join(
        _arrow(
            links[i],
            placed.lanes[i],
            columns,
            place=placed.column[links[i].source],
            start=starts[i],
            end=ends[i],
        )
        for i in order
    )


def _bend(x: float, y: float, to_x: float, to_y: float) -> str:
    half = (to_x - x) / 2
    return f"C{x + half:.1f} {y:.1f} {x + half:.1f} {to_y:.1f} {to_x:.1f} {to_y:.1f}"


def _arrow(
    link: _Link,
    lanes: Sequence[float],
    columns: _Columns,
    *,
    place: int,
    start: float,
    end: float,
) -> str:
    """The path of a link from column ``place``, its label, its arrow head."""
    x, y = columns.states[place] + _STATE_WIDTH, _TOP + start
    path = f"M{x:.1f} {y:.1f}"
    for column, lane in enumerate(lanes, start=place + 1):
        path += _bend(x, y, columns.labels[column], _TOP + lane)
        x, y = columns.states[column] + _STATE_WIDTH, _TOP + lane
        path += f"H{x:.1f}"
    column = place + len(lanes) + 1
    tip, y_end = columns.states[column], _TOP + end
    if link.operation is None:
        path += _bend(x, y, tip, y_end)
        return f'<path class="concat" d="{path}"/>'
    label = columns.labels[column]
    path += _bend(x, y, label, y_end)
    path += f"M{label + columns.label_width:.1f} {y_end:.1f}H{tip - 7:.1f}"
    colour = _COLOUR[kind(link.operation)]
    dashes = ' stroke-dasharray="5 4"' if colour == _COLOUR["none"] else ""
    return (
        f'<path class="edge c{colour}"{dashes} d="{path}"/>'
        f'<path class="tip f{colour}" d="M{tip:.1f} {y_end:.1f}l-9 -4.5v9z"/>'
        f'<rect class="label c{colour} f{colour}"{dashes} x="{label:.1f}" '
        f'y="{y_end - _LABEL_HEIGHT / 2:.1f}" width="{columns.label_width:.1f}" '
        f'height="{_LABEL_HEIGHT:.1f}" rx="12"/>'
        + text(
            link.operation,
            label + columns.label_width / 2,
            y_end + 4,
            style="mono",
            anchor="middle",
        )
    )


def _box(name: tuple[str, str], *, x: float, y: float, height: float) -> str:
    """A state with its name."""
    label, note = name
    middle = x + _STATE_WIDTH / 2
    base = y + height / 2 + 5
    box = (
        f'<rect class="state" x="{x:.1f}" y="{y:.1f}" width="{_STATE_WIDTH:.1f}" '
        f'height="{height:.1f}" rx="9"/>'
    )
    if label != "c":
        if not note:
            return box + text(label, middle, base, style="head", anchor="middle")
        return (
            box
            + text(label, middle, base - 6, style="head", anchor="middle")
            + text(note, middle, base + 8, style="quiet", anchor="middle")
        )
    below = f'<tspan dy="4" font-size="10">{note}</tspan>'
    return (
        f'{box}<text class="head" x="{middle:.1f}" y="{base:.1f}" '
        f'text-anchor="middle">{label}{below}</text>'
    )


def _description(links: Sequence[_Link]) -> str:
    """The cell in words."""
    return "; ".join(
        f"{link.source} to {link.target}: {link.operation}"
        for link in links
        if link.operation
    )
