"""What alpha and the genotypes derived from it did in the course of a search."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from nasjax.analysis.discretization import kept_edges
from nasjax.genotype import Genotype
from nasjax.methods.baselines.pc_darts import edge_name
from nasjax.methods.baselines.pc_darts import strengths as with_edges
from nasjax.report.workdir import Run
from nasjax.spaces import SPACES, derive
from nasjax.spaces.base import SearchSpace


class Names(NamedTuple):
    """What the axes of alpha are called.

    Attributes:
      edges: ``(source, target)``, or empty where unknown.
      edge_labels: "2←0", or "edge 3".
      operations: names, or "op 3".
      space: the search space, where alpha has its shape.
    """

    edges: tuple[tuple[int, int], ...]
    edge_labels: tuple[str, ...]
    operations: tuple[str, ...]
    space: SearchSpace | None


def find(tree: Any, names: tuple[str, ...]) -> Any:
    """The first entry of a nested dict under one of the names, outermost first."""
    level = [tree]
    while level:
        for node in level:
            for name in names:
                if isinstance(node, Mapping) and node.get(name) not in (None, ""):
                    return node[name]
        level = [
            child
            for node in level
            if isinstance(node, Mapping)
            for child in node.values()
        ]
    return None


def space_name(run: Run) -> str:
    """Name of the run's search space, or an empty text."""
    named = find(run.config, ("space", "search_space"))
    if isinstance(named, Mapping):
        named = named.get("name")
    if isinstance(named, str):
        return named
    return run.genotype.space if run.genotype else ""


def names_of(run: Run, num_edges: int, num_ops: int) -> Names:
    """Names for an alpha of ``[num_edges, num_ops]``.

    Names of operations stated by the run come first. Otherwise the space has them,
    and an alpha with one column less is taken to be without `none`.
    """
    space = SPACES[space_name(run)]() if space_name(run) in SPACES else None
    if space and "none" in space.primitives and num_ops == space.num_ops - 1:
        space = space.without("none")
    both = {"config": run.config, "environment": run.environment}
    stated = find(both, ("primitives", "operations"))
    operations = tuple(f"op {i}" for i in range(num_ops))
    if isinstance(stated, list) and len(stated) == num_ops:
        operations = tuple(map(str, stated))
    elif space and space.num_ops == num_ops:
        operations = space.primitives
    edges = space.edges if space and space.num_edges == num_edges else ()
    labels = tuple(f"{target}←{source}" for source, target in edges)
    fits = space and operations == space.primitives and bool(edges)
    return Names(
        edges,
        labels or tuple(f"edge {i}" for i in range(num_edges)),
        operations,
        space if fits else None,
    )


def chosen(genotype: Genotype, cell_type: str, names: Names) -> list[tuple[int, int]]:
    """Places in alpha, (edge, operation), of a genotype's cell."""
    found = []
    for operation, edge in kept_edges(genotype, cell_type):
        if edge in names.edges and operation in names.operations:
            found.append((names.edges.index(edge), names.operations.index(operation)))
    return found


def _strengths(run: Run, space: SearchSpace, t: int) -> Mapping[str, np.ndarray]:
    """By which cells are derived at a time: alpha, and the edges' part in it."""
    alpha = {name: run.alphas[name][t] for name in space.cell_types}
    if set(run.edges) != set(alpha):
        return alpha
    edges = {edge_name(name): jnp.asarray(run.edges[name][t]) for name in alpha}
    arrays = {name: jnp.asarray(values) for name, values in alpha.items()}
    found = with_edges({**arrays, **edges}, space)
    return {name: np.asarray(values) for name, values in found.items()}


def deciding_edges(run: Run, cell_type: str) -> list[int] | None:
    """Edges whose choice matters: with the first two of alpha swapped, others are kept.

    None where the space is unknown.
    """
    if not (history := derived(run)):
        return None
    num_edges, num_ops = run.alphas[cell_type].shape[1:]
    space = names_of(run, num_edges, num_ops).space
    assert space is not None  # as cells were derived
    found = []
    for edge, row in enumerate(run.alphas[cell_type][-1]):
        second, first = np.argsort(row, kind="stable")[-2:]
        swapped = run.alphas[cell_type].copy()
        swapped[-1, edge, [second, first]] = row[[first, second]]
        other = run._replace(alphas={**run.alphas, cell_type: swapped})
        if derive(space, _strengths(other, space, -1)).cells != history[-1].cells:
            found.append(edge)
    return found


def derived(run: Run) -> list[Genotype]:
    """The genotype of the space's own rule at the start and after each epoch.

    Empty where the space is unknown or an alpha is missing or not finite.
    """
    if not run.alphas:
        return []
    shapes = {array.shape for array in run.alphas.values()}
    if len(shapes) != 1:
        return []
    ((count, num_edges, num_ops),) = shapes
    space = names_of(run, num_edges, num_ops).space
    if space is None or set(space.cell_types) != set(run.alphas):
        return []
    if not all(np.isfinite(array).all() for array in run.alphas.values()):
        return []
    return [derive(space, _strengths(run, space, t)) for t in range(count)]


class Change(NamedTuple):
    """What an epoch changed in the derived cells."""

    epoch: int
    cell_type: str
    lost: tuple[str, ...]
    won: tuple[str, ...]


def changes(genotypes: list[Genotype]) -> list[Change]:
    """Every difference between neighbours in a history of genotypes."""
    found = []
    for epoch in range(1, len(genotypes)):
        before, after = genotypes[epoch - 1], genotypes[epoch]
        for cell_type in after.cells:
            old, new = (
                list(kept_edges(before, cell_type)),
                list(kept_edges(after, cell_type)),
            )
            if old != new:
                found.append(
                    Change(
                        epoch,
                        cell_type,
                        tuple(_spoken(e) for e in old if e not in new),
                        tuple(_spoken(e) for e in new if e not in old),
                    )
                )
    return found


def _spoken(edge: tuple[str, tuple[int, int]]) -> str:
    operation, (source, target) = edge
    return f"{target}←{source} {operation}"


def epochs_done(run: Run) -> int:
    """Epochs that are through, by alpha's history and the validations.

    A training that holds nothing out tells of the epochs before its last one.
    """
    if run.is_training and "valid" not in run.phases:
        begun = {row.epoch for row in run.rows if row.phase == "train"}
        return len(begun) - (bool(begun) and not run.finished)
    validated = len({row.epoch for row in run.rows if row.phase == "valid"})
    recorded = max((len(array) - 1 for array in run.alphas.values()), default=0)
    return max(validated, recorded)


def epochs_planned(run: Run) -> int | None:
    """Epochs the config asks for, if it says so."""
    planned = find(run.config.get("search", run.config), ("epochs", "num_epochs"))
    return planned if isinstance(planned, int) and planned > 0 else None
