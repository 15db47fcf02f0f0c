"""Genotypes: the discrete cells a search ends with.

A genotype is plain data with a JSON form, the only hand-over between search,
retraining, look-up and report. A space derives it (`spaces.derivation`).
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from nasjax import genotype_text as texts
from nasjax.base import InputError

#: A cell of the DARTS family: (operation, source state) of each incoming edge, two
#: per node, nodes in order; states count from the cell's first input.
Cell = tuple[tuple[str, int], ...]
_NASBENCH201 = "nasbench201"


class DiscreteCell(NamedTuple):
    """A cell as a genotype has it.

    Attributes:
      edges: ``(operation, source, target)``, the targets in order.
      output: states that it concatenates.
    """

    edges: tuple[tuple[str, int, int], ...]
    output: tuple[int, ...]


class Genotype(NamedTuple):
    """A derived architecture, in the form of the DARTS family or of NAS-Bench-201.

    Attributes:
      space: name of the search space.
      normal: edges of the normal cell, two per node.
      normal_concat: states the normal cell's output concatenates.
      reduce: edges of the reduction cell.
      reduce_concat: states the reduction cell's output concatenates.
      arch_str: NAS-Bench-201's string; empty in the DARTS family.
      source: where it comes from (a paper, a run), for the reader.
    """

    space: str = "darts"
    normal: Cell = ()
    normal_concat: tuple[int, ...] = ()
    reduce: Cell = ()
    reduce_concat: tuple[int, ...] = ()
    arch_str: str = ""
    source: str = ""

    def to_json(self) -> str:
        """The genotype as one JSON object.

        >>> Genotype("nasbench201", arch_str="|none~0|").to_json()
        '{"space": "nasbench201", "arch_str": "|none~0|"}'
        """
        filled = {k: v for k, v in self._asdict().items() if v or k == "space"}
        return json.dumps(filled)

    @staticmethod
    def from_json(text: str) -> "Genotype":
        """Read `to_json`'s form.

        Raises:
          InputError: not JSON, an unknown field, a field of the wrong form or one that
            stands twice, or cells beside an ``arch_str``.
        """
        try:
            data = texts.read_json(text)
        except (ValueError, RecursionError) as error:
            raise InputError(f"a genotype is one JSON object: {error}") from None
        return _checked(data)

    def to_text(self, *, lines: bool = False) -> str:
        """The genotype as the DARTS code prints it; NAS-Bench-201's is its string.

        Args:
          lines: a line for each node, as papers print it.

        >>> cell = (("skip_connect", 0), ("max_pool_3x3", 1))
        >>> print(Genotype("darts", cell, (2,), cell, (2,)).to_text())
        Genotype(normal=[('skip_connect', 0), ('max_pool_3x3', 1)], normal_concat=[2],
        reduce=[('skip_connect', 0), ('max_pool_3x3', 1)], reduce_concat=[2])
        """
        if self.arch_str:
            return self.arch_str
        fields = {name: list(getattr(self, name)) for name in texts.FIELDS}
        if not lines:
            return f"Genotype({', '.join(f'{k}={v}' for k, v in fields.items())})"
        rows = []
        for name, cell in self.cells.items():
            nodes = zip(cell[::2], cell[1::2], strict=True)
            edges = [f"        {one!r}, {other!r}," for one, other in nodes]
            concat = f"    ],\n    {name}_concat={fields[f'{name}_concat']!r},"
            rows += [f"    {name}=[", *edges, concat]
        return "\n".join(["Genotype(", *rows, ")"])

    @staticmethod
    def from_text(text: str, *, name: str | None = None) -> "Genotype":
        """Read `to_text`'s form, a name assigned to it or not; nothing is run.

        Args:
          text: of one genotype; or of several that are assigned to names, as files of
            the DARTS code are (`genotype_text.read_python`).
          name: of these, which.

        Raises:
          InputError: another form, a field of the wrong form or one that stands twice,
            several genotypes and no name, or none of that name.
        """
        return _parsed(text, name)

    @property
    def cells(self) -> dict[str, Cell]:
        """Edges of each cell type, as (operation, source state), for drawing."""
        if self.arch_str:
            return {"cell": parse_arch_str(self.arch_str)}
        return {"normal": self.normal, "reduce": self.reduce}

    @property
    def skip_connects(self) -> dict[str, int]:
        """How many edges of each cell are skip connections."""
        return {
            name: sum(operation == "skip_connect" for operation, _ in cell)
            for name, cell in self.cells.items()
        }


def _checked(data: Any) -> Genotype:
    """A genotype from parsed JSON, every field checked."""
    if not isinstance(data, dict):
        raise InputError(f"a genotype is a JSON object, not {type(data).__name__}")
    unknown = sorted(set(data) - set(Genotype._fields))
    if unknown:
        raise InputError(
            f"genotype field {unknown[0]!r} is not one of {', '.join(Genotype._fields)}"
        )
    fields: dict[str, Any] = {}
    for name, value in data.items():
        if name in ("normal", "reduce"):
            fields[name] = _checked_cell(name, value)
        elif name.endswith("_concat"):
            if not isinstance(value, list) or not all(map(_is_index, value)):
                raise InputError(f"genotype field {name} lists states, not {value!r}")
            fields[name] = tuple(value)
        elif not isinstance(value, str):
            raise InputError(f"genotype field {name} is a text, not {value!r}")
        else:
            fields[name] = value
    if fields.get("arch_str") and fields.get("space", "darts") == "darts":
        fields["space"] = _NASBENCH201  # "darts" is but the default, which has none
    genotype = Genotype(**fields)
    if genotype.arch_str:
        _check_alone(genotype)
    elif not (genotype.normal and genotype.reduce):
        raise InputError("a genotype has normal and reduce, or an arch_str")
    return genotype


def _check_alone(genotype: Genotype) -> None:
    """Refuse a string beside cells: which of the two is meant?"""
    parse_arch_str(genotype.arch_str)
    cells = [name for name in texts.FIELDS if getattr(genotype, name)]
    if cells:
        raise InputError(
            f"a genotype has cells ({', '.join(cells)}) or an arch_str, not both: "
            "which is meant?"
        )


def _parsed(text: str, name: str | None) -> Genotype:
    """`Genotype.from_text`: read as data."""
    text = texts.clean(text)
    if text.startswith("|") and name is None:
        found: Mapping[str, Any] | str = text
    else:
        found = texts.read_python(text, name=name)
    if isinstance(found, str):
        parse_arch_str(found)
        return Genotype(_NASBENCH201, arch_str=found)
    return _checked(found)


def _is_index(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _checked_cell(name: str, value: Any) -> Cell:
    """Edges of a cell, two per node, each from an earlier state."""
    if not isinstance(value, list) or len(value) % 2:
        raise InputError(f"genotype field {name} lists two edges per node: {value!r}")
    edges = []
    for position, edge in enumerate(value):
        if not (
            isinstance(edge, list)
            and len(edge) == 2
            and isinstance(edge[0], str)
            and _is_index(edge[1])
            and edge[1] < position // 2 + 2
        ):
            raise InputError(
                f"edge {position} of genotype field {name} is [operation, earlier "
                f"state], not {edge!r}"
            )
        edges.append((edge[0], edge[1]))
    return tuple(edges)


def parse_arch_str(arch_str: str) -> Cell:
    """Operations of a NAS-Bench-201 string, (operation, source), target-major.

    >>> parse_arch_str("|none~0|+|skip_connect~0|none~1|")
    (('none', 0), ('skip_connect', 0), ('none', 1))

    Raises:
      InputError: a string of another form.
    """
    edges: list[tuple[str, int]] = []
    for target, node in enumerate(arch_str.split("+"), start=1):
        found = re.fullmatch(r"\|((?:[a-z0-9_]+~[0-9]\|)+)", node)
        items = found.group(1).rstrip("|").split("|") if found else []
        sources = [int(item.split("~")[1]) for item in items]
        if sources != list(range(target)):
            raise InputError(
                f"{arch_str!r} is not a NAS-Bench-201 string of the form "
                "|op~0|+|op~0|op~1|+|op~0|op~1|op~2|"
            )
        edges += [(item.split("~")[0], int(item.split("~")[1])) for item in items]
    return tuple(edges)


def format_arch_str(edges: Cell) -> str:
    """The NAS-Bench-201 string of target-major edges; inverse of `parse_arch_str`."""
    nodes: list[str] = []
    for operation, source in edges:
        if source == 0:
            nodes.append("|")
        nodes[-1] += f"{operation}~{source}|"
    return "+".join(nodes)


def kept_edges(
    genotype: Genotype, cell_type: str
) -> Iterator[tuple[str, tuple[int, int]]]:
    """Operation and (source, target) of each edge that a cell keeps.

    >>> list(kept_edges(Genotype("nasbench201", arch_str="|none~0|"), "cell"))
    [('none', (0, 1))]
    """
    target = 0
    for index, (operation, source) in enumerate(genotype.cells.get(cell_type, ())):
        if genotype.arch_str:
            target += source == 0
        else:
            target = index // 2 + 2
        yield operation, (source, target)


def read_cell(genotype: Genotype, cell_type: str) -> DiscreteCell:
    """A cell of a genotype, unchecked; of states to concatenate, those that it has.

    >>> read_cell(Genotype("nasbench201", arch_str="|none~0|"), "cell")
    DiscreteCell(edges=(('none', 0, 1),), output=(1,))
    """
    edges = tuple((name, *edge) for name, edge in kept_edges(genotype, cell_type))
    last = max((target for _, _, target in edges), default=0)
    if genotype.arch_str:
        return DiscreteCell(edges, (last,))
    stated = getattr(genotype, f"{cell_type}_concat", ())
    nodes = range(2, last + 1)
    kept = tuple(state for state in stated if 0 <= state <= last)
    return DiscreteCell(edges, kept or tuple(nodes))
