"""Which kernels a state's edges have, put side by side for the batched engine."""

from collections.abc import Sequence
from functools import partial, reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from nasjax.architecture import Mixture, Path
from nasjax.base import Array, Tree
from nasjax.engine.scan.edges import edge_groups
from nasjax.spaces.base import SearchSpace


class Leaving(NamedTuple):
    """The edges that leave one state.

    Attributes:
      source: the state.
      edges: positions in the space's edges.
      targets: states.
      group: of the cell's weights.
      rows: the edges' in the group.
      stride: 1 or 2.
    """

    source: int
    edges: tuple[int, ...]
    targets: tuple[int, ...]
    group: int
    rows: tuple[int, ...]
    stride: int


def leaving(space: SearchSpace, *, reduction: bool) -> tuple[Leaving, ...]:
    """Of each state that edges leave, in order."""
    found: dict[int, Leaving] = {}
    for number, group in enumerate(edge_groups(space, reduction=reduction)):
        columns = zip(group.edges, group.sources, group.targets, strict=True)
        for row, (edge, source, target) in enumerate(columns):
            one = found.get(source, Leaving(source, (), (), number, (), group.stride))
            found[source] = one._replace(
                edges=(*one.edges, edge),
                targets=(*one.targets, target),
                rows=(*one.rows, row),
            )
    return tuple(found[source] for source in sorted(found))


class Runs(NamedTuple):
    """What the edges of a cell run.

    Attributes:
      factor: ``[E, O]`` of each operation's output.
      choice: ``[E, O]`` one-hot, which of them a path runs; None of a mixture.
      offset: ``[E]`` that each adds to its target; None for none.
      drop: noise; None for none.
    """

    factor: Array
    choice: Array | None
    offset: Array | None
    drop: Any

    def of(self, edges: Sequence[int]) -> "Runs":
        """Of some edges."""
        return jax.tree.map(lambda leaf: leaf[np.array(edges)], self)

    def pick(self, operations: Sequence[int], kernels: Sequence[Array]) -> Array:
        """Kernels ``[N, E, ...]`` of operations side by side, ``[N, E, O, ...]``.

        Of a path each edge has that of its own operation, and O is 1.
        """
        if self.choice is None:
            return jnp.stack(kernels, axis=2)
        axes = (0, *range(2, kernels[0].ndim))
        chosen = (
            kernel * jnp.expand_dims(self.choice[:, number], axes)
            for number, kernel in zip(operations, kernels, strict=True)
        )
        return reduce(jnp.add, chosen)[:, :, None]

    def factors(self, operations: Sequence[int]) -> Array:
        """``[E, O]``, of what `pick` put side by side."""
        columns = [self.factor[:, number] for number in operations]
        if self.choice is None:
            return jnp.stack(columns, axis=1)
        return reduce(jnp.add, columns)[:, None]


def runs_of(architecture: Mixture | Path, space: SearchSpace) -> Runs:
    """What the edges of a cell run; of an inactive edge nothing."""
    if isinstance(architecture, Mixture):
        return Runs(architecture.weights, None, None, architecture.drop)
    active, offset = architecture.active, architecture.offset
    choice = jax.nn.one_hot(architecture.operation, space.num_ops)
    choice = jnp.where(active[:, None], choice, 0)
    weight = jnp.where(active, architecture.weight, 0)  # of nothing it may be infinite
    if offset is not None:
        offset = jnp.where(active, offset, 0)
    return Runs(choice * weight[:, None], choice, offset, architecture.drop)


class Kinds(NamedTuple):
    """Numbers of a space's operations by how they are run."""

    identity: list[int]
    halves: list[int]
    pools: list[int]
    dense: list[int]
    separable: dict[tuple[bool, int], list[int]]  # (only once, dilation)
    as_given: list[int]

    @property
    def separables(self) -> list[int]:
        """In the order of their depthwise convolutions, those of two rounds first."""
        return [number for alike in self.separable.values() for number in alike]

    @property
    def twice(self) -> list[int]:
        """Separable ones of two rounds."""
        both = ((once, alike) for (once, _), alike in self.separable.items())
        return [number for once, alike in both if not once for number in alike]


def kinds_of(space: SearchSpace, stride: int, channels: int, *, drops: bool) -> Kinds:
    """How the edges of a stride run each operation of a space."""
    found = Kinds([], [], [], [], {}, [])
    separable = []
    for number, operation in enumerate(space.operations):
        form = operation.form
        if operation.is_zero:
            continue
        if form is None or (form.dropped and drops and stride == 1):
            found.as_given.append(number)
        elif form.kind == "separable":
            once = "depthwise2" not in operation.shapes(channels, stride)
            separable.append(((once, form.dilation), number))
        elif form.kind == "identity":
            (found.identity if stride == 1 else found.halves).append(number)
        else:
            (found.dense if form.kind == "dense" else found.pools).append(number)
    for key, number in sorted(separable):
        found.separable.setdefault(key, []).append(number)
    return found


def prepare(
    weights: tuple[dict[str, Tree], ...],
    architecture: Mixture | Path,
    *,
    space: SearchSpace,
    reduction: bool,
) -> list[list[dict[str, Tree]]]:
    """The kernels of a stage's cells, of each cell those of every state's edges.

    At once for the stage: what is small is then few launches.

    Args:
      weights: of `scan.cell_template`, stacked over N cells.
      architecture: what each edge runs.
      space: the search space.
      reduction: whether edges that leave an input have stride 2.
    """
    runs, states = runs_of(architecture, space), leaving(space, reduction=reduction)
    length = len(jax.tree.leaves(weights)[0]) if jax.tree.leaves(weights) else 1
    cells: list[list[dict[str, Tree]]] = [[{} for _ in states] for _ in range(length)]
    for number, group in enumerate(weights):
        own = [at for at, one in enumerate(states) if one.group == number]
        rows = [row for at in own for row in states[at].rows]
        edges = [edge for at in own for edge in states[at].edges]
        stride = states[own[0]].stride
        kinds = kinds_of(space, stride, 2, drops=runs.drop is not None)
        ordered = jax.tree.map(lambda leaf: _reordered(leaf, tuple(rows)), group)  # noqa: B023
        picked = _picked(ordered, runs.of(edges), kinds, space)
        sizes = [len(states[at].rows) for at in own]
        for name, tree in picked.items():
            parts = jax.tree.map(lambda leaf: _parts(leaf, sizes), tree)  # noqa: B023
            for cell in range(length):
                for place, at in enumerate(own):
                    cells[cell][at][name] = jax.tree.map(
                        lambda part: part[cell][place],  # noqa: B023
                        parts,
                        is_leaf=lambda part: isinstance(part, list),
                    )
    return cells


def _picked(
    weights: dict[str, Tree], runs: Runs, kinds: Kinds, space: SearchSpace
) -> dict[str, Tree]:
    names = space.primitives

    def of(numbers: list[int], name: str) -> Array:
        kernels = [weights[names[number]][name] for number in numbers]
        if not name.startswith("pointwise"):  # [N, E, ..., k, k], or of size 1
            plain = 4 if name == "kernel" else 0
            kernels = [k if k.ndim != plain else k[..., None, None] for k in kernels]
            size = max(kernel.shape[-1] for kernel in kernels)
            kernels = [_in_the_middle(kernel, size) for kernel in kernels]
        return runs.pick(numbers, kernels)

    found: dict[str, Tree] = {}
    for (once, dilation), numbers in kinds.separable.items():
        found[f"depthwise1 {once} {dilation}"] = of(numbers, "depthwise1")
    if kinds.separables:
        found["pointwise1"] = of(kinds.separables, "pointwise1")
    if kinds.twice:
        found["depthwise2"] = of(kinds.twice, "depthwise2")
        found["pointwise2"] = of(kinds.twice, "pointwise2")
    if kinds.dense:
        found["dense"] = jnp.moveaxis(of(kinds.dense, "kernel"), 4, -1)
    for number in (*kinds.halves, *kinds.as_given):
        found[names[number]] = weights.get(names[number], {})
    return found


def _in_the_middle(kernel: Array, size: int) -> Array:
    """A kernel ``[..., k, k]`` with zeros around it."""
    around = (size - kernel.shape[-1]) // 2
    return jnp.pad(kernel, [(0, 0)] * (kernel.ndim - 2) + [(around, around)] * 2)


def _parts(leaf: Array, sizes: list[int]) -> list[list[Array]]:
    """``[N, E, ...]`` by cell and by sizes of E; the gradient is put together once."""
    cells = lax.split(leaf, [1] * len(leaf), axis=0)
    return [list(lax.split(cell[0], sizes, axis=0)) for cell in cells]


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def _reordered(leaf: Array, rows: tuple[int, ...]) -> Array:
    """The second axis in the order of ``rows``, each of which is there once."""
    return leaf[:, np.array(rows)]


def _reordered_forward(leaf: Array, rows: tuple[int, ...]) -> tuple[Array, None]:
    return _reordered(leaf, rows), None


def _reordered_backward(rows: tuple[int, ...], _: None, bar: Array) -> tuple[Array]:
    return (_reordered(bar, tuple(int(at) for at in np.argsort(rows))),)


_reordered.defvjp(_reordered_forward, _reordered_backward)
