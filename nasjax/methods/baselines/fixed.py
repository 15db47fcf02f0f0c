"""A cell that is given, not searched: a method from a method."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nasjax.architecture import Path
from nasjax.base import Array, Key, Tree
from nasjax.genotype import Cell, Genotype
from nasjax.methods.base import Alpha, Method, Terms
from nasjax.spaces.base import SearchSpace
from nasjax.supernet import Architecture, derived_architecture


def with_fixed_cell(method: Method, cell_type: str, cell: Cell) -> Method:
    """The method, with one cell type of the DARTS space that is given, not searched.

    The method itself sees a space without it. Alpha holds ones at the given edges, and
    no update changes them; the genotype has the given cell. Source: GDAS (FRC), Dong
    and Yang, arXiv 1910.04465.

    Args:
      method: that searches the other cell type.
      cell_type: the given one, ``normal`` or ``reduce``.
      cell: its edges, ``(operation, source)``, two a node; ``none`` is an edge less.

    Raises:
      ValueError: when it adapts a space: one without this cell type, or without an
        edge or an operation of the cell.
    """
    given = _Given(method, cell_type, cell)
    return method._replace(
        init=given.init,
        relax=given.relax,
        strengths=given.strengths,
        settle=given.settle,
        adapt=given.adapt,
        weight_loss=given.loss(method.weight_loss),
        arch_loss=given.loss(method.arch_loss),
        teach=given.teach,
        lead=None if method.lead is None else given.loss(method.lead),
        project=given.project,
    )


class _Given(NamedTuple):
    """Functions of a method around those of the one that it is made of."""

    method: Method
    cell_type: str
    cell: Cell

    def path(self, space: SearchSpace) -> Path:
        """What the given cell runs."""
        alone = space._replace(cell_types=(self.cell_type,))
        fields: dict[str, Any] = {self.cell_type: self.cell}
        runs = derived_architecture(alone, Genotype(space.name, **fields))
        path = runs[self.cell_type]
        assert isinstance(path, Path)
        return path

    def others(self, space: SearchSpace) -> SearchSpace:
        """The space as the method sees it."""
        kept = (name for name in space.cell_types if name != self.cell_type)
        return space._replace(cell_types=tuple(kept))

    def ones(self, space: SearchSpace) -> dict[str, Array]:
        """The given cell's part of alpha."""
        path = self.path(space)
        chosen = jax.nn.one_hot(path.operation, space.num_ops)
        return {self.cell_type: jnp.where(path.active[:, None], chosen, 0)}

    def adapt(self, space: SearchSpace) -> SearchSpace:
        adapted = self.method.adapt(space)
        if self.cell_type not in adapted.cell_types or len(adapted.cell_types) < 2:
            raise ValueError(
                f"{self.cell_type!r} cannot be given in {space.name}, whose cells are "
                f"{', '.join(space.cell_types)}: it is one of two in the space darts"
            )
        self.path(adapted)  # raises what it cannot be

        def derive(space: SearchSpace, alpha: Mapping[str, Any]) -> Genotype:
            fields: dict[str, Any] = {self.cell_type: self.cell}
            return adapted.derive(space, alpha)._replace(**fields)

        return adapted._replace(derive=derive)

    def init(self, key: Key, space: SearchSpace) -> Alpha:
        alpha = self.method.init(key, self.others(space))
        return {**alpha, **self.ones(space)}

    def relax(
        self, key: Key, alpha: Alpha, progress: Array, space: SearchSpace
    ) -> Architecture:
        runs = self.method.relax(key, alpha, progress, self.others(space))
        path, k = self.path(space), self.method.subgraphs
        if k is not None:
            path = jax.tree.map(lambda a: jnp.broadcast_to(a, (k, *a.shape)), path)
        return {**runs, self.cell_type: path}

    def strengths(self, alpha: Alpha, space: SearchSpace) -> dict[str, Array]:
        own = self.method.strengths(alpha, self.others(space))
        return {**own, **self.ones(space)}

    def settle(self, alpha: Alpha, space: SearchSpace) -> Architecture:
        runs = self.method.settled(alpha, self.others(space))
        return {**runs, self.cell_type: self.path(space)}

    def loss(self, own: Callable[[Terms], Array]) -> Callable[[Terms], Array]:
        """A loss of the method's, which reads of a step what it knows of."""

        def of(terms: Terms) -> Array:
            forward = self._completed(terms.forward, terms.space)
            space = self.others(terms.space)
            return own(terms._replace(space=space, forward=forward))

        return of

    def teach(
        self,
        forward: Callable[[Architecture], Array],
        alpha: Alpha,
        space: SearchSpace,
    ) -> Mapping[str, Tree]:
        completed = self._completed(forward, space)
        return self.method.teach(completed, alpha, self.others(space))

    def project(
        self,
        alpha: Alpha,
        architecture: Architecture,
        progress: Array,
        space: SearchSpace,
    ) -> Alpha:
        others = self.others(space)
        projected = self.method.project(alpha, architecture, progress, others)
        return {**projected, **self.ones(space)}

    def _completed(
        self, forward: Callable[[Architecture], Array], space: SearchSpace
    ) -> Callable[[Architecture], Array]:
        given = {self.cell_type: self.path(space)}
        return lambda architecture: forward({**architecture, **given})
