"""Variables of a discrete network by the names of PyTorch's DARTS checkpoints.

The names and shapes are those of the network classes that the DARTS authors
published, and most codes built on them use (P-DARTS, PC-DARTS, …); for NAS-Bench-201
those of the benchmark's own network. They follow from a space's plan and from its
operations. Kernels are OIHW, linear layers ``[out, in]``.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Unpack

import jax
import jax.numpy as jnp
import numpy as np

from nasjax import layers
from nasjax.base import InputError, Tree
from nasjax.genotype import Genotype
from nasjax.layers import Unit
from nasjax.network import functions
from nasjax.network.body import INPUTS, Skeleton, runs_of
from nasjax.network.cell import Graph
from nasjax.network.settings import NetworkSizes, Settings
from nasjax.spaces import CellPlan

#: What PyTorch counts beside the running averages; nothing here needs it.
_IGNORED = "num_batches_tracked"
#: Names within a batch normalisation: ours and PyTorch's.
_NORM = {
    "params": {"scale": "weight", "offset": "bias"},
    "batch_stats": {"mean": "running_mean", "var": "running_var"},
}


class Entry(NamedTuple):
    """Where one array of a checkpoint lives in the variables.

    Attributes:
      name: in the checkpoint.
      path: keys of the leaf in the variables.
      at: the array's place in the stacked leaf.
    """

    name: str
    path: tuple[str | int, ...]
    at: tuple[int, ...]


def from_state_dict(
    state_dict: Mapping[str, Any],
    genotype: Genotype,
    *,
    auxiliary: bool = False,
    **sizes: Unpack[NetworkSizes],
) -> dict[str, Tree]:
    """Variables of `network.apply` from a checkpoint's arrays.

    Args:
      state_dict: ``{name: array}``, arrays of NumPy or PyTorch;
        ``num_batches_tracked`` is ignored.
      genotype: of a space of `spaces.SPACES`.
      auxiliary: whether the checkpoint has an auxiliary head.
      **sizes: as for `network.init`.

    Raises:
      InputError: an entry that is missing, not known, of another shape or no array
        of numbers; a genotype, data set or size that makes no network.
    """
    given = {k: v for k, v in state_dict.items() if not k.endswith(_IGNORED)}
    stem = "stem0.0.weight" if sizes["dataset"] == "imagenet" else "stem.0.weight"
    shape = np.shape(given.get(stem, ()))
    image_channels = shape[1] if len(shape) == 4 else 3
    settings = Settings(
        genotype, **sizes, auxiliary=auxiliary, image_channels=image_channels
    )
    variables = _empty(settings)
    known = {entry.name: entry for entry in entries(settings)}
    for name in given:
        if name not in known:
            raise InputError(f"the checkpoint has {name!r}, this network has it not")
    for name, entry in known.items():
        if name not in given:
            raise InputError(f"the checkpoint has no {name!r}, this network needs it")
        place = _leaf(variables, entry.path)[entry.at]
        array = _numbers(name, given[name])
        wanted = _torch_shape(entry, place.shape)
        if array.shape != wanted:
            raise InputError(
                f"{name!r} of the checkpoint is {list(array.shape)}, this network "
                f"needs {list(wanted)}"
            )
        place[...] = array.reshape(place.shape)
    return jax.tree.map(jnp.asarray, variables)


def to_state_dict(
    variables: Tree,
    genotype: Genotype,
    *,
    auxiliary: bool = False,
    **sizes: Unpack[NetworkSizes],
) -> dict[str, np.ndarray]:
    """A checkpoint's arrays from variables; the inverse of `from_state_dict`.

    Args:
      variables: of `network.init`.
      genotype: as for `from_state_dict`.
      auxiliary: whether the variables have an auxiliary head.
      **sizes: as for `from_state_dict`.

    Returns:
      ``{name: float32 array}``, as PyTorch's ``load_state_dict`` takes them.

    Raises:
      InputError: variables of another network.
    """
    settings = functions.settings_of(variables, genotype, **sizes)
    if settings.auxiliary != auxiliary:
        has = "have an" if settings.auxiliary else "have no"
        raise InputError(f"variables {has} auxiliary head; auxiliary is {auxiliary}")
    host = jax.tree.map(np.asarray, variables)
    state_dict = {}
    for entry in entries(settings):
        own = _leaf(host, entry.path)[entry.at]
        state_dict[entry.name] = own.reshape(_torch_shape(entry, own.shape)).copy()
    return state_dict


def entries(settings: Settings) -> Iterator[Entry]:
    """Every array of the checkpoint of a network."""
    built = functions.skeleton(settings)
    for place, names in enumerate(built.plan.stem.modules):
        yield from _unit_entries(layers.CONV_3X3, names, ("stem", place))
    yield from _body_entries(built)
    if built.plan.last_norm:
        yield from _norm_entries("lastact.0", ("last",))
    if settings.auxiliary:
        yield from _auxiliary_entries(imagenet=settings.stem == "imagenet")
    yield from _head_entries("classifier", ("params", "head"))


# --- the names ------------------------------------------------------------------


def _head_entries(name: str, path: tuple[str | int, ...]) -> Iterator[Entry]:
    for own, theirs in (("kernel", "weight"), ("bias", "bias")):
        yield Entry(f"{name}.{theirs}", (*path, own), ())


def _norm_entries(
    name: str, path: tuple[str | int, ...], at: tuple[int, ...] = ()
) -> Iterator[Entry]:
    for collection, names in _NORM.items():
        for own, theirs in names.items():
            yield Entry(f"{name}.{theirs}", (collection, *path, own), at)


def _unit_entries(
    unit: Unit,
    names: Sequence[str],
    path: tuple[str | int, ...],
    at: tuple[int, ...] = (),
) -> Iterator[Entry]:
    """Kernels and normalisation of a unit; ``names``: of its layers but the ReLU."""
    *kernels, last = names
    for kernel, name in zip(unit.shapes(2, 2), kernels, strict=True):
        yield Entry(f"{name}.weight", ("params", *path, kernel), at)
    yield from _norm_entries(last, path, at)


def _unit_names(unit: Unit, prefix: str, *, first: int = 0) -> list[str]:
    """Names of a unit's layers: its own, or by their place after the ReLU."""
    count = len(unit.shapes(2, 2)) + 1
    places = [str(first + 1 + layer) for layer in range(count)]
    return [f"{prefix}.{name}" for name in unit.modules or places]


def _body_entries(built: Skeleton) -> Iterator[Entry]:
    """Cells and blocks, numbered as one list."""
    place, seen = 0, {"cells": 0, "residuals": 0}
    for run in runs_of(built.plan):
        name = "cells" if isinstance(run.part, CellPlan) else "residuals"
        path = name, seen[name]
        seen[name] += 1
        for own in range(run.length):
            if isinstance(run.part, CellPlan):
                yield from _cell_entries(built, run.part, f"cells.{place}", path, own)
            else:
                yield from _residual_entries(f"cells.{place}", path)
            place += 1


def _residual_entries(name: str, path: tuple[str | int, ...]) -> Iterator[Entry]:
    for own, theirs in (("first", "conv_a"), ("second", "conv_b")):
        names = _unit_names(layers.CONV_3X3, f"{name}.{theirs}.op")
        yield from _unit_entries(layers.CONV_3X3, names, (*path, own))
    yield Entry(f"{name}.downsample.1.weight", ("params", *path, "shortcut"), ())


def _cell_entries(
    built: Skeleton, cell: CellPlan, name: str, path: tuple[str | int, ...], own: int
) -> Iterator[Entry]:
    """A cell, the ``own``-th of its run of equal cells."""
    for place, (key, source) in enumerate(zip(INPUTS, cell.inputs, strict=False)):
        prefix = f"{name}.preprocess{place}" + ("" if source.unit.modules else ".op")
        names = _unit_names(source.unit, prefix)
        yield from _unit_entries(source.unit, names, (*path, key), (own,))
    edges = (*path, "edges") if cell.inputs else path
    prefix = f"{name}.{built.plan.edges_module}"
    yield from _edge_entries(built.graphs[cell.kind], prefix, edges, own)


def _edge_entries(
    graph: Graph, prefix: str, path: tuple[str | int, ...], own: int
) -> Iterator[Entry]:
    """Operations of a cell, the ``own``-th of its run of equal cells."""
    for position, edge in enumerate(graph.edges):
        operation, first = edge.operation, 0
        name = f"{prefix}.{position}"
        name += f".{operation.module}" if operation.module else ""
        for link, unit in enumerate(operation.chain(edge.stride)):
            names = _unit_names(unit, name, first=first)
            first += 1 + len(names)
            yield from _unit_entries(
                unit, names, (*path, operation.name, link), (own, edge.slot)
            )


def _auxiliary_entries(*, imagenet: bool) -> Iterator[Entry]:
    name, path = "auxiliary_head.features", ("params", "auxiliary")
    yield Entry(f"{name}.2.weight", (*path, "first", "kernel"), ())
    yield from _norm_entries(f"{name}.3", ("auxiliary", "first"))
    yield Entry(f"{name}.5.weight", (*path, "second", "kernel"), ())
    if not imagenet:
        yield from _norm_entries(f"{name}.6", ("auxiliary", "second"))
    yield from _head_entries("auxiliary_head.classifier", (*path, "head"))


# --- the arrays -----------------------------------------------------------------


def _empty(settings: Settings) -> dict[str, Tree]:
    """Variables of zeros, on the host."""
    return jax.tree.map(
        lambda leaf: np.zeros(leaf.shape, np.float32),
        functions.skeleton(settings).templates,
        is_leaf=layers.is_template,
    )


def _leaf(tree: Tree, path: tuple[str | int, ...]) -> np.ndarray:
    for key in path:
        tree = tree[key]
    return tree


def _torch_shape(entry: Entry, shape: tuple[int, ...]) -> tuple[int, ...]:
    """PyTorch's shape of an array of ours: convolutions have four axes."""
    if "head" in entry.path or len(shape) == 1:
        return shape
    if entry.path[-1] == "depthwise":
        return shape[0], 1, *shape[1:]
    return (*shape, 1, 1) if len(shape) == 2 else shape


def _numbers(name: str, value: Any) -> np.ndarray:
    """An array of NumPy's or PyTorch's as float32 on the host.

    Raises:
      InputError: it is none of numbers.
    """
    if hasattr(value, "detach"):
        # PyTorch's bfloat16 has no form in NumPy.
        value = value.detach().cpu().float().numpy()
    try:
        return np.asarray(value).astype(np.float32, casting="same_kind")
    except (TypeError, ValueError):
        raise InputError(f"{name!r} of the checkpoint is no array of numbers") from None
