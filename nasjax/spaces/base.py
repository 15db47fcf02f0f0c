"""What a search space is."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from nasjax.genotype import DiscreteCell, Genotype
from nasjax.operations import Operation
from nasjax.spaces.plan import Plan, Sizes


class SearchSpace(NamedTuple):
    """A cell's graph, what may run on its edges, and the network around it.

    Attributes:
      name: for files and messages.
      operations: candidates of every edge, in alpha's order.
      edges: ``(source, target)`` states, target-major.
      num_inputs: states that are inputs of the cell; the rest are nodes.
      cell_types: names of the cells searched, alpha's keys.
      output: which states the cell returns, concatenated along channels.
      edges_per_node: incoming edges a node keeps when derived; None keeps all.
      derive: ``(space, {cell type: [E, O]}) -> Genotype``.
      read: ``(genotype, cell type) -> DiscreteCell``, the inverse; raises InputError
        where the genotype has no such cell.
      plan: ``(sizes, joined) -> Plan`` of the network, where ``joined(cell type)`` says
        how many states a cell concatenates.
      num_cells: default L of a supernet; of a space of stages the cells per stage, N.
      stems: of `plan.STEMS`, those it has.
      channel_divisor: operations run on the first 1/n of the channels, the others
        pass by (partial channels, PC-DARTS); 1 runs them on all.
    """

    name: str
    operations: tuple[Operation, ...]
    edges: tuple[tuple[int, int], ...]
    num_inputs: int
    cell_types: tuple[str, ...]
    output: tuple[int, ...]
    edges_per_node: int | None
    derive: Callable[["SearchSpace", Mapping[str, Any]], Genotype]
    read: Callable[[Genotype, str], DiscreteCell]
    plan: Callable[[Sizes, Callable[[str], int]], Plan]
    num_cells: int
    stems: tuple[str, ...] = ("cifar",)
    channel_divisor: int = 1

    @property
    def primitives(self) -> tuple[str, ...]:
        """Names of the operations, in alpha's order."""
        return tuple(operation.name for operation in self.operations)

    @property
    def num_edges(self) -> int:
        """E."""
        return len(self.edges)

    @property
    def num_ops(self) -> int:
        """O."""
        return len(self.operations)

    @property
    def num_states(self) -> int:
        """Inputs and nodes of a cell together."""
        return 1 + max(target for _, target in self.edges)

    def without(self, *names: str) -> "SearchSpace":
        """The same space with fewer candidates.

        Raises:
          ValueError: a name that is not a candidate, or no candidate left.
        """
        unknown = sorted(set(names) - set(self.primitives))
        if unknown:
            raise ValueError(f"{unknown[0]!r} is not one of {self.primitives}")
        kept = tuple(op for op in self.operations if op.name not in names)
        if not kept:
            raise ValueError(f"no candidate left without {names}")
        return self._replace(operations=kept)


def check_space(space: SearchSpace) -> None:
    """Refuse a space whose fields do not go together.

    Raises:
      ValueError: with what is wrong.
    """
    if problem := _problem(space):
        raise ValueError(f"space {space.name!r}: {problem}")


def _problem(space: SearchSpace) -> str:
    """What is wrong with a space; an empty text for nothing."""
    edges, names = list(space.edges), space.primitives
    if not names or len(set(names)) < len(names):
        return f"its operations are {names}; they have a name each, and there is one"
    if not space.cell_types or len(set(space.cell_types)) < len(space.cell_types):
        return f"its cell_types are {space.cell_types}; they have a name each"
    if not edges or any(not 0 <= a < b or b < space.num_inputs for a, b in edges):
        return f"its edges are {edges}; each goes from a state to a later node"
    if edges != sorted(edges, key=lambda edge: edge[::-1]):
        return f"its edges are {edges}; they are ordered by target, then by source"
    into = dict.fromkeys(range(space.num_inputs, space.num_states), 0)
    for _, target in edges:
        into[target] += 1
    least = space.edges_per_node or 1
    for state, number in into.items():
        if number < least:
            return f"{number} edges enter node {state}; there are at least {least}"
    if not space.output or not set(space.output) <= set(range(space.num_states)):
        return f"its output is {space.output}; its states go to {space.num_states - 1}"
    return ""
