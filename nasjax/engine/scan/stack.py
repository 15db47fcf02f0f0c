"""A stack of cells, run stage by stage, and what its backward pass keeps.

A stage is a run of cells of one shape: one loop, so that it compiles as one cell. A
mixture takes plain autodiff through it. A path has a backward pass of its own: of the
whole stack only the cells' outputs are kept, each once, and their states where these do
not hold them; the rest is computed again cell after cell, and beside it a step needs
the memory of a single cell.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from nasjax.architecture import Mixture, Path
from nasjax.base import Array, Tree
from nasjax.engine.scan import ForwardResult, Saved, run_after, zero_cotangent
from nasjax.engine.scan.rows import put_row, take_row

#: The newest outputs that a cell may read, oldest first: two in DARTS, else one.
States = tuple[Array, ...]
#: The same ahead of a loop; None where no cell of it reads the state.
Start = tuple[Array | None, ...]
#: What a stage makes ahead of its loop (`Stage.begin`).
Begun = tuple[Tree, Start]


class Stage(NamedTuple):
    """A run of cells of one shape.

    Attributes:
      length: cells.
      cell_type: key of what they run in an architecture.
      shape: ``states -> shape`` of an output, given the states before the stage.
      prepare_inputs: ``(stage_params, states) -> (prepared, start)``: what is made
        once, ahead of the loop, of the states before the stage, and those of them that
        are of the stage's own shape, for its first cells to read.
      run: ``(stage_params, edges, prepared, number, states, runs, known)`` to the
        output of the cell ``number`` of the stage and what it leaves (`run_cell`). The
        last argument may be left out; with it, only the gradient is asked for, and it
        holds what an earlier pass gave.
    """

    length: int
    cell_type: str
    shape: Callable[[States], tuple[int, ...]]
    prepare_inputs: Callable[[Tree, States], Begun]
    run: Callable[..., tuple[Array, Saved]]


class StageWeights(NamedTuple):
    """Weights of a stage.

    Attributes:
      stage_params: of the whole stage, such as preprocessing.
      edges: of its cells, stacked.
    """

    stage_params: Tree
    edges: Tree


def run_stack(
    stages: tuple[Stage, ...],
    weights: tuple[StageWeights, ...],
    architecture: Mapping[str, Mixture | Path],
    states: States,
    begun: Begun,
) -> Array:
    """Output of the last cell.

    Args:
      stages: one after the other.
      weights: of each.
      architecture: what every cell type runs, all mixtures or all paths.
      states: what the first cell may read.
      begun: what the first stage begins with: no architecture is needed for it, so that
        several can share it.
    """
    used = {stage.cell_type: architecture[stage.cell_type] for stage in stages}
    paths = {name: runs for name, runs in used.items() if isinstance(runs, Path)}
    if len(paths) == len(used):
        factors = {name: _factors(path) for name, path in paths.items()}
        # An array that is read twice, such as a stem's output, is kept once.
        distinct = {id(state): state for state in states}
        places = tuple(list(distinct).index(id(state)) for state in states)
        first = tuple(distinct.values())
        stack = _Stack(stages, places)
        return _run_paths(stack, weights, factors, paths, first, begun)
    for index, (stage, own) in enumerate(zip(stages, weights, strict=True)):
        if index:
            begun = stage.prepare_inputs(own.stage_params, states)
        states = _mixed_stage(stage, own, used[stage.cell_type], states, begun)
    return states[-1]


def _mixed_stage(
    stage: Stage,
    weights: StageWeights,
    runs: Mixture | Path,
    states: States,
    begun: Begun,
) -> States:
    """The states after a stage, under plain autodiff."""
    stage_params, edges = weights
    prepared, start = begun
    if stage.length == 1:
        return (*states[1:], _only_cell(stage, weights, prepared, start, runs)[0])

    def step(reads: States, cell: tuple[Tree, Array]) -> tuple[States, None]:
        own, number = cell
        output, _ = stage.run(stage_params, own, prepared, number, reads, runs)
        return (*reads[1:], output), None

    nothing = jnp.zeros(stage.shape(states), states[-1].dtype)
    reads = tuple(nothing if state is None else state for state in start)
    ends, _ = lax.scan(step, reads, (edges, jnp.arange(stage.length)))
    return ends


def _only_cell(
    stage: Stage, weights: StageWeights, prepared: Tree, start: Start, runs: Any
) -> tuple[Array, Saved]:
    """What the cell of a stage of one gives; it needs no loop."""
    own = jax.tree.map(lambda leaf: leaf[0], weights.edges)
    first = jnp.zeros((), jnp.int32)
    return stage.run(weights.stage_params, own, prepared, first, start, runs)


# --- paths ----------------------------------------------------------------------


class _Factors(NamedTuple):
    """What of a path has a gradient; the rest is integers and keys."""

    weight: Array
    offset: Array | None


def _factors(path: Path) -> _Factors:
    return _Factors(path.weight, path.offset)


def _with_factors(path: Path, factors: _Factors) -> Path:
    return path._replace(**factors._asdict())


class _Stack(NamedTuple):
    """What is constant in a stack: its stages, and where its first states stand."""

    stages: tuple[Stage, ...]
    places: tuple[int, ...]

    def before(self, first: tuple[Array, ...]) -> States:
        """The states before the first stage."""
        return tuple(first[place] for place in self.places)


class _Outputs(NamedTuple):
    """What a stage's cells gave, and left for their gradient, stacked."""

    stacked: Array
    left: Saved

    def after(self, states: States) -> States:
        """The states after the stage, given those before it."""
        newest = self.stacked[-min(len(self.stacked), len(states)) :]
        return (*states, *newest)[-len(states) :]


class _Ran(NamedTuple):
    """What the backward pass keeps of a stage.

    Attributes:
      begun: what it began with.
      pull_begin: from a cotangent of that to those of what it was made of; None of the
        first stage, which is given it.
      outputs: of its cells.
    """

    begun: Begun
    pull_begin: Any
    outputs: _Outputs


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _run_paths(
    stack: _Stack,
    weights: tuple[StageWeights, ...],
    factors: dict[str, _Factors],
    paths: dict[str, Path],
    first: tuple[Array, ...],
    begun: Begun,
) -> Array:
    return _paths_forward(stack, weights, factors, paths, first, begun)[0]


def _paths_forward(
    stack: _Stack,
    weights: tuple[StageWeights, ...],
    factors: dict[str, _Factors],
    paths: dict[str, Path],
    first: tuple[Array, ...],
    begun: Begun,
) -> tuple[Array, tuple[Any, ...]]:
    states, pull_begin = stack.before(first), None
    ran: list[_Ran] = []
    for index, (stage, own) in enumerate(zip(stack.stages, weights, strict=True)):
        if index:
            begun, pull_begin = jax.vjp(stage.prepare_inputs, own.stage_params, states)
        path = _with_factors(paths[stage.cell_type], factors[stage.cell_type])
        outputs = _run_stage(stage, own, path, states, begun)
        ran.append(_Ran(begun, pull_begin, outputs))
        states = outputs.after(states)
    return states[-1], (weights, factors, paths, first, tuple(ran))


def _run_stage(
    stage: Stage, weights: StageWeights, path: Path, states: States, begun: Begun
) -> _Outputs:
    """Outputs of all cells of a stage, whose loop has no other buffer."""
    stage_params, edges = weights
    prepared, start = begun
    if stage.length == 1:
        only, left = _only_cell(stage, weights, prepared, start, path)
        stacked = jax.tree.map(lambda leaf: leaf[None], left)
        return _Outputs(only[None], stacked)

    def step(outputs: Array, cell: tuple[Tree, Array]) -> tuple[Array, Saved]:
        own, number = cell
        reads = _reads(start, outputs, number)
        output, left = stage.run(stage_params, own, prepared, number, reads, path)
        return put_row(outputs, output, number), left

    empty = jnp.zeros((stage.length, *stage.shape(states)), states[-1].dtype)
    outputs, left = lax.scan(step, empty, (edges, jnp.arange(stage.length)))
    return _Outputs(outputs, left)


def _reads(start: Start, outputs: Array, number: Array) -> States:
    """The states that cell ``number`` reads, from where they are."""
    return tuple(_state(start, outputs, number, k) for k in range(len(start)))


def _state(start: Start, outputs: Array, number: Array, k: int) -> Array:
    """The k-th state that cell ``number`` reads, of ``start`` or of the outputs."""
    # Positions count the states from the first of ``start``.
    arity, length, at = len(start), len(outputs), number + k
    last = k + length - 1
    state = None
    if last >= arity:
        state = take_row(outputs, jnp.maximum(at - arity, 0))
    for position in range(k, min(arity, last + 1)):
        one = start[position]
        if one is not None:
            state = one if state is None else lax.select(at == position, one, state)
    return take_row(outputs, jnp.zeros_like(number)) if state is None else state


def _paths_backward(
    stack: _Stack, residuals: tuple[Any, ...], cotangent: Array
) -> tuple[Any, ...]:
    weights, factors, paths, first, ran = residuals
    states = stack.before(first)
    for stage_ran in ran:
        states = stage_ran.outputs.after(states)
    bars = (*map(jnp.zeros_like, states[:-1]), cotangent)
    factor_bars = jax.tree.map(jnp.zeros_like, factors)
    weight_bars: list[StageWeights] = []
    for index, stage in reversed(list(enumerate(stack.stages))):
        kind = stage.cell_type
        pull = partial(
            _pull_stage,
            stage,
            _with_factors(paths[kind], factors[kind]),
            weights[index],
            ran[index],
            bars,
        )
        own, factor_bar, begun_bar, bars = run_after(bars[-1], pull)
        factor_bars[kind] = jax.tree.map(jnp.add, factor_bars[kind], factor_bar)
        weight_bars.append(own)
    first_bars = list(map(jnp.zeros_like, first))
    for place, bar in zip(stack.places, bars, strict=True):
        if bar is not None:
            first_bars[place] += bar
    path_bars = jax.tree.map(zero_cotangent, paths)  # theirs came as factors
    weight_bars.reverse()
    return tuple(weight_bars), factor_bars, path_bars, tuple(first_bars), begun_bar


_run_paths.defvjp(_paths_forward, _paths_backward)


def _pull_stage(
    stage: Stage, path: Path, weights: StageWeights, ran: _Ran, bars: States
) -> tuple[StageWeights, _Factors, Begun, Start]:
    """Cotangents of a stage's weights, its path's factors and what it begins with.

    And of the states before it, None where only what the first stage begins with, which
    is given to it, has read them.

    Args:
      stage: the stage.
      path: what its cells run.
      weights: of the stage.
      ran: what was kept of it.
      bars: cotangents of the states after the stage.
    """
    stage_params, edges = weights
    (prepared, start), pull_begin, outputs = ran

    def run(
        shared: Tree, own: Tree, reads: Start, *, number: Array, known: ForwardResult
    ) -> Array:
        stage_params, factors, prepared = shared
        runs = _with_factors(path, factors)
        return stage.run(stage_params, own, prepared, number, reads, runs, known)[0]

    shared = stage_params, _factors(path), prepared
    inside = bars[-min(stage.length, len(bars)) :]
    if stage.length == 1:
        pulled = _pull_only(run, shared, edges, start, outputs, inside)
    else:
        pulled = _pull_loop(run, shared, edges, start, outputs, inside)
    (stage_bar, factor_bar, prepared_bar), edges_bar, start_bar = pulled
    begun_bar = prepared_bar, start_bar
    # States after the stage that are from before it pass their cotangents on.
    through = bars[: len(bars) - len(inside)]
    if pull_begin is None:
        before = (*(None for _ in inside), *through)
    else:
        begin_bar, states_bar = pull_begin(begun_bar)
        stage_bar = jax.tree.map(jnp.add, stage_bar, begin_bar)
        older, newer = states_bar[: len(inside)], states_bar[len(inside) :]
        before = (*older, *map(jnp.add, newer, through))
    return StageWeights(stage_bar, edges_bar), factor_bar, begun_bar, before


def _pull_only(
    run: Callable[..., Array],
    shared: Tree,
    edges: Tree,
    start: Start,
    outputs: _Outputs,
    bars: States,
) -> tuple[Tree, Tree, Start]:
    """Cotangents of a stage of one cell."""
    own = jax.tree.map(lambda leaf: leaf[0], edges)
    left = jax.tree.map(lambda leaf: leaf[0], outputs.left)
    known = ForwardResult(outputs.stacked[0], left)
    only = partial(run, number=jnp.zeros((), jnp.int32), known=known)
    shared_bar, own_bar, start_bar = jax.vjp(only, shared, own, start)[1](bars[-1])
    return shared_bar, jax.tree.map(lambda leaf: leaf[None], own_bar), start_bar


def _pull_loop(
    run: Callable[..., Array],
    shared: Tree,
    edges: Tree,
    start: Start,
    outputs: _Outputs,
    bars: States,
) -> tuple[Tree, Tree, Start]:
    """Cotangents of a stage's loop, cell after cell from the last."""

    def step(
        carry: tuple[States, Tree], cell: tuple[Tree, Array, Saved]
    ) -> tuple[Any, Tree]:
        bars, totals = carry
        own, number, left = cell
        reads = _reads(start, outputs.stacked, number)
        output = take_row(outputs.stacked, number)
        again = partial(run, number=number, known=ForwardResult(output, left))
        _, pull = jax.vjp(again, shared, own, reads)
        shared_bar, own_bar, reads_bar = pull(bars[-1])
        totals = jax.tree.map(jnp.add, totals, shared_bar)
        older = map(jnp.add, bars[:-1], reads_bar[1:])
        return ((reads_bar[0], *older), totals), own_bar

    zeros = jax.tree.map(jnp.zeros_like, shared)
    (start_bar, totals), edges_bar = lax.scan(
        step,
        (bars, zeros),
        (edges, jnp.arange(len(outputs.stacked)), outputs.left),
        reverse=True,
    )
    read = (
        None if state is None else bar
        for state, bar in zip(start, start_bar, strict=True)
    )
    return totals, edges_bar, tuple(read)
