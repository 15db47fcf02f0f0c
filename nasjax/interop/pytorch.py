"""Variables of a discrete network by the names of PyTorch's DARTS checkpoints.

The names and shapes are those of the network classes that the DARTS authors
published, and most codes built on them use (P-DARTS, PC-DARTS, …); for NAS-Bench-201
those of the benchmark's own network. Kernels are OIHW, linear layers ``[out, in]``.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nasjax.base import InputError, Tree
from nasjax.genotype import Genotype
from nasjax.network import darts, functions, nasbench201, operations, units
from nasjax.network.cell import Graph
from nasjax.network.skeleton import DATASETS, Settings
from nasjax.network.units import Unit

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
    dataset: str,
    channels: int,
    num_cells: int,
    num_classes: int,
    auxiliary: bool = False,
) -> dict[str, Tree]:
    """Variables of `network.apply` from a checkpoint's arrays.

    Args:
      state_dict: ``{name: array}``, arrays of NumPy or PyTorch;
        ``num_batches_tracked`` is ignored.
      genotype: of the DARTS family or of NAS-Bench-201.
      dataset: as for `network.init`, and so are the rest.
      channels: C of the first cells.
      num_cells: L; for NAS-Bench-201 the cells a stage, N.
      num_classes: Y.
      auxiliary: whether the checkpoint has an auxiliary head.

    Raises:
      InputError: an entry that is missing, not known, of another shape or no array
        of numbers; a genotype, data set or size that makes no network.
    """
    given = {k: v for k, v in state_dict.items() if not k.endswith(_IGNORED)}
    stem = "stem0.0.weight" if dataset == "imagenet" else "stem.0.weight"
    shape = np.shape(given.get(stem, ()))
    settings = Settings(
        genotype,
        dataset,
        channels,
        num_cells,
        num_classes,
        auxiliary,
        shape[1] if len(shape) == 4 else 3,
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
    dataset: str,
    channels: int,
    num_cells: int,
    num_classes: int,
    auxiliary: bool = False,
) -> dict[str, np.ndarray]:
    """A checkpoint's arrays from variables; the inverse of `from_state_dict`.

    Args:
      variables: of `network.init`.
      genotype: as for `from_state_dict`, and so are the rest.
      dataset: likewise.
      channels: likewise.
      num_cells: likewise.
      num_classes: likewise.
      auxiliary: likewise.

    Returns:
      ``{name: float32 array}``, as PyTorch's ``load_state_dict`` takes them.

    Raises:
      InputError: variables of another network.
    """
    settings = functions.settings_of(
        variables,
        genotype,
        dataset=dataset,
        channels=channels,
        num_cells=num_cells,
        num_classes=num_classes,
    )
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
    if settings.genotype.arch_str:
        yield from _nasbench201_entries(settings)
    else:
        yield from _darts_entries(settings)
    for own, theirs in (("kernel", "weight"), ("bias", "bias")):
        yield Entry(f"classifier.{theirs}", ("params", "head", own), ())


# --- the names ------------------------------------------------------------------


def _norm_entries(
    name: str, path: tuple[str | int, ...], at: tuple[int, ...] = ()
) -> Iterator[Entry]:
    for collection, names in _NORM.items():
        for own, theirs in names.items():
            yield Entry(f"{name}.{theirs}", (collection, *path, own), at)


def _unit_entries(
    unit: Unit,
    names: list[str],
    path: tuple[str | int, ...],
    at: tuple[int, ...] = (),
) -> Iterator[Entry]:
    """Kernels and normalisation of a unit; ``names``: of its layers but the ReLU."""
    *layers, last = names
    for kernel, name in zip(unit.shapes(2, 2), layers, strict=True):
        yield Entry(f"{name}.weight", ("params", *path, kernel), at)
    yield from _norm_entries(last, path, at)


def _unit_names(unit: Unit, prefix: str, *, first: int = 0) -> list[str]:
    """Names of a unit's layers: by their place, or those of a factorized reduce."""
    if unit is units.FACTORIZED_REDUCE:
        return [f"{prefix}.{name}" for name in ("conv_1", "conv_2", "bn")]
    count = len(unit.shapes(2, 2)) + 1
    return [f"{prefix}.{first + 1 + layer}" for layer in range(count)]


def _cell_entries(
    graph: Graph, prefix: str, path: tuple[str | int, ...], own: int
) -> Iterator[Entry]:
    """Operations of a cell, the ``own``-th of its run of equal cells."""
    for position, edge in enumerate(graph.edges):
        first = 0
        name = f"{prefix}.{position}"
        if edge.operation not in ("conv_7x1_1x7", "skip_connect"):
            name += ".op"
        chain = operations.chain(edge.operation, edge.stride)
        for link, unit in enumerate(chain):
            names = _unit_names(unit, name, first=first)
            first += 1 + len(names)
            yield from _unit_entries(
                unit, names, (*path, edge.operation, link), (own, edge.slot)
            )


def _darts_entries(settings: Settings) -> Iterator[Entry]:
    stems = [["stem.0", "stem.1"]]
    if DATASETS[settings.dataset].imagenet:
        stems = [["stem0.0", "stem0.1"], ["stem0.3", "stem0.4"], ["stem1.1", "stem1.2"]]
    for place, names in enumerate(stems):
        yield from _unit_entries(units.dense(3), names, ("stem", place))
    index = 0
    for place, run in enumerate(darts.runs(darts.plan(settings))):
        for own in range(run.length):
            yield from _darts_cell_entries(run.cell, index, ("cells", place), own)
            index += 1
    if settings.auxiliary:
        yield from _auxiliary_entries(imagenet=DATASETS[settings.dataset].imagenet)


def _darts_cell_entries(
    cell: darts.CellPlan, index: int, path: tuple[str | int, ...], own: int
) -> Iterator[Entry]:
    """The ``index``-th cell, the ``own``-th of its run of equal cells."""
    name = f"cells.{index}.preprocess0"
    unit = cell.before[0]
    names = _unit_names(unit, name if unit is units.FACTORIZED_REDUCE else f"{name}.op")
    yield from _unit_entries(unit, names, (*path, "before"), (own,))
    names = _unit_names(units.POINTWISE, f"cells.{index}.preprocess1.op")
    yield from _unit_entries(units.POINTWISE, names, (*path, "previous"), (own,))
    yield from _cell_entries(cell.graph, f"cells.{index}._ops", (*path, "edges"), own)


def _auxiliary_entries(*, imagenet: bool) -> Iterator[Entry]:
    name, path = "auxiliary_head.features", ("params", "auxiliary")
    yield Entry(f"{name}.2.weight", (*path, "first", "kernel"), ())
    yield from _norm_entries(f"{name}.3", ("auxiliary", "first"))
    yield Entry(f"{name}.5.weight", (*path, "second", "kernel"), ())
    if not imagenet:
        yield from _norm_entries(f"{name}.6", ("auxiliary", "second"))
    for own, theirs in (("kernel", "weight"), ("bias", "bias")):
        yield Entry(f"auxiliary_head.classifier.{theirs}", (*path, "head", own), ())


def _nasbench201_entries(settings: Settings) -> Iterator[Entry]:
    yield from _unit_entries(units.dense(3), ["stem.0", "stem.1"], ("stem", 0))
    graph = nasbench201.graph(settings.genotype.arch_str)
    place = 0
    for stage in range(nasbench201.NUM_STAGES):
        if stage:
            for own, theirs in (("first", "conv_a"), ("second", "conv_b")):
                names = _unit_names(units.POINTWISE, f"cells.{place}.{theirs}.op")
                yield from _unit_entries(
                    units.dense(3), names, ("residuals", stage - 1, own)
                )
            path = ("params", "residuals", stage - 1, "shortcut")
            yield Entry(f"cells.{place}.downsample.1.weight", path, ())
            place += 1
        for index in range(settings.num_cells):
            yield from _cell_entries(
                graph, f"cells.{place}.layers", ("cells", stage), index
            )
            place += 1
    yield from _norm_entries("lastact.0", ("last",))


# --- the arrays -----------------------------------------------------------------


def _empty(settings: Settings) -> dict[str, Tree]:
    """Variables of zeros, on the host."""
    parts = functions.skeleton(settings)
    return jax.tree.map(
        lambda leaf: np.zeros(leaf.shape, np.float32),
        {"params": parts.params, "batch_stats": parts.stats},
        is_leaf=functions.is_template,
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
