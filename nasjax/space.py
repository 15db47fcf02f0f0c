"""What a search space is."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from nasjax.genotype import Genotype
from nasjax.ops import Operation

if TYPE_CHECKING:
    from nasjax.supernet import Settings, Supernet


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
      skeleton: ``(space, settings) -> Supernet``.
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
    skeleton: Callable[["SearchSpace", "Settings"], "Supernet"]
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
