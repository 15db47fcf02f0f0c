"""Many seeds of one search in one compiled program.

Each seed is a search of its own, with a workdir, checkpoints, metrics and a genotype of
its own; only their dispatches are made together. So a seed may have ended, have broken
or stand at another step than the others, and a launch of one seed alone goes on with
what it left.
"""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from nasjax.base import Array, InputError, Tree
from nasjax.bilevel import Optimizers, SearchState
from nasjax.data.augment import Augmentation
from nasjax.data.batches import DeviceData
from nasjax.genotype import Genotype
from nasjax.methods.base import Method
from nasjax.runtime import budget as budgets
from nasjax.runtime import loop
from nasjax.runtime.finite import STEPS, NotFiniteError, all_finite
from nasjax.runtime.repeat import Metrics, no_metrics, run_until
from nasjax.search import program
from nasjax.search.epoch import DataKeys, stop_at
from nasjax.search.program import Search
from nasjax.search.running import Running
from nasjax.spaces.base import SearchSpace
from nasjax.supernet import Supernet

#: How the seeds of a program may be mapped, see `is_batched`.
MAPPED = ("auto", "map", "vmap")
#: The axis of seeds that are one batch.
_AXIS = "seeds"
#: What a search asks for, and what it is answered: see `Running`.
_Asked = tuple[SearchState, int, int]
_Answer = tuple[SearchState, Metrics]


class Seeds(NamedTuple):
    """What is constant in the searches of several seeds.

    Attributes:
      numbers: the seeds.
      searches: of each.
      dispatch: answers one or more of those who ask, by their places; whoever has
        waited longest comes first.
    """

    numbers: tuple[int, ...]
    searches: tuple[Search, ...]
    dispatch: Callable[[Mapping[int, _Asked]], Mapping[int, _Answer]]


def is_batched(method: Method, space: SearchSpace, *, mapped: str) -> bool:
    """Whether seeds are one batch of a program (`jax.vmap`), or take turns with it.

    In turns a seed's bits are those of its search alone. In a batch sums are taken in
    another order, so that numbers differ by rounding; and a switch whose index differs
    within the batch would run every operation.

    Args:
      method: the search method.
      space: that it adapted.
      mapped: ``map`` for turns, ``vmap``, or ``auto``: ``vmap`` on an accelerator for a
        method that runs a mixture, else ``map``.

    Raises:
      InputError: ``vmap`` for a method that samples, or another word.
    """
    if mapped not in MAPPED:
        raise InputError(f"it is {mapped!r}; it must be one of {', '.join(MAPPED)}")
    sampled = program.is_sampled(method, space)
    if mapped == "vmap" and sampled:
        raise InputError(
            f"it is 'vmap', which is for methods that run a mixture; {method.name} "
            "samples paths, and would run every operation: map or auto"
        )
    if mapped == "auto":
        return jax.default_backend() != "cpu" and not sampled
    return mapped == "vmap"


def prepare(
    net: Supernet,
    method: Method,
    data: Sequence[DeviceData],
    *,
    seeds: Sequence[int],
    optimizers: Optimizers | None = None,
    epochs: int = 50,
    augmentation: Augmentation | None = None,
    batched: bool = False,
) -> tuple[Seeds, budgets.Budget]:
    """Compile one program for the searches of several seeds, and measure its cost.

    Args:
      net: the supernet of the space the method adapted.
      method: the search method.
      data: of each seed, as `data.shared.to_device_seeds` makes it.
      seeds: their numbers.
      optimizers: of weights and alpha.
      epochs: of each search.
      augmentation: of both halves; None for none.
      batched: of `is_batched`.

    Returns:
      The searches, and their budget: weights, alphas and MACs of one, all else of all.

    Raises:
      InputError: what does not fit into memory.
    """
    one = program.plan(
        net,
        method,
        data[0],
        optimizers=optimizers,
        epochs=epochs,
        seed=seeds[0],
        augmentation=augmentation,
        repeat=_run_beside if batched else run_until,
    )
    searches = (one, *map(one.of_seed, seeds[1:], data[1:]))
    program.check_fits(searches[0], len(searches))
    started = time.perf_counter()
    states = [search.new_state() for search in searches]
    make = _batch if batched else _turns
    found, compiled = make(Seeds(tuple(seeds), searches, lambda due: {}), states)
    compile_seconds = time.perf_counter() - started
    peak, data_bytes = _bytes(searches, compiled, batched)
    budgets.check_fits("a step", peak)
    budget = program.measure(
        searches[0], compiled, compile_seconds, _trial_seconds(found, states)
    )
    return found, budget._replace(
        peak_bytes=peak,
        data_bytes=data_bytes,
        memory_bytes=len(searches) * budget.memory_bytes,
    )


def _bytes(searches: Sequence[Search], compiled: Any, batched: bool) -> tuple[int, int]:
    """Of all seeds at their peak, and of their data."""
    images = searches[0].data.train.images.nbytes
    peak = budgets.peak_bytes(compiled)
    if not batched:  # a program of one seed, which counts the images of either half
        peak += sum(map(_own_bytes, searches[1:])) - images
    tables = sum(budgets.tree_bytes(_tables(search.data)) for search in searches)
    return peak, images + tables


def _own_bytes(search: Search) -> int:
    """What a seed takes beside what all share."""
    state = jax.eval_shape(search.new_state)
    return budgets.tree_bytes((state, _tables(search.data)))


def _tables(data: DeviceData) -> DeviceData:
    return _with_images(data, jnp.zeros((0,), jnp.uint8))


def _with_images(data: DeviceData, images: Array) -> DeviceData:
    train, valid = (half._replace(images=images) for half in (data.train, data.valid))
    return data._replace(train=train, valid=valid)


def _trial_seconds(seeds: Seeds, states: Sequence[SearchState]) -> float:
    """Seconds of a step of all seeds."""

    def dispatch(states: Any, first: int, until: int) -> tuple[Any, Metrics]:
        due = {place: (state, first, until) for place, state in enumerate(states)}
        found: dict[int, SearchState] = {}
        while due:
            for place, answer in seeds.dispatch(due).items():
                found[place] = answer[0]
                del due[place]
        return [found[place] for place in sorted(found)], {}

    steps = seeds.searches[0].steps_per_epoch
    return loop.trial_seconds(dispatch, states, steps_per_epoch=steps)


# --- in turns --------------------------------------------------------------------


def _turns(seeds: Seeds, states: Sequence[SearchState]) -> tuple[Seeds, Any]:
    """The program of one seed, run for each.

    A loop over seeds around it (`jax.lax.map`) would be compiled otherwise than the
    program of a single search, and round otherwise.
    """
    first = seeds.searches[0]
    compiled = program.compile_dispatch(first, states[0])
    searches = tuple(one._replace(dispatch=compiled) for one in seeds.searches)
    tasks = [program.task(search) for search in searches]

    def dispatch(due: Mapping[int, _Asked]) -> dict[int, _Answer]:
        place = next(iter(due))
        return {place: tasks[place].dispatch(*due[place])}

    return Seeds(seeds.numbers, searches, dispatch), compiled


# --- as one batch ----------------------------------------------------------------


class _Data(NamedTuple):
    """The data of S seeds."""

    images: Array  # [M, H, W, Ch], of all
    tables: DeviceData  # of each, stacked; without images
    keys: DataKeys  # of each, stacked


def _batch(seeds: Seeds, states: Sequence[SearchState]) -> tuple[Seeds, Any]:
    """A program of all seeds, for those that stand at the earliest step.

    The places of the others are taken by copies of the first of them.
    """
    searches, places = seeds.searches, range(len(seeds.numbers))
    data = _Data(
        searches[0].data.train.images,
        _stacked([_tables(search.data) for search in searches]),
        _stacked([search.keys for search in searches]),
    )
    program = jax.jit(_batched(searches[0].dispatch), donate_argnums=0)
    compiled = program.lower(tuple(states), data, stop_at(1)).compile()

    def dispatch(due: Mapping[int, _Asked]) -> dict[int, _Answer]:
        span = min((first, until) for _, first, until in due.values())
        now = {place: one[0] for place, one in due.items() if one[1:] == span}
        spare = next(iter(now.values()))
        states = tuple(
            now[place] if place in now else jax.tree.map(jnp.copy, spare)
            for place in places
        )
        answers = compiled(states, data, stop_at(span[1]))
        return {place: answers[place] for place in now}

    return Seeds(seeds.numbers, searches, dispatch), compiled


def _stacked(trees: Sequence[Tree]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def _batched(
    dispatch: Callable[..., _Answer],
) -> Callable[..., tuple[_Answer, ...]]:
    """``(states, data, stop) -> answers`` of S seeds, from that of one.

    The step is one for all, so that a switch that follows it stays a switch.
    """
    make: Any = SearchState
    axes = make(**dict.fromkeys(SearchState._fields, 0) | {"step": None})

    def dispatch_all(
        states: tuple[SearchState, ...], data: _Data, stop: Array
    ) -> tuple[_Answer, ...]:
        def one(state: SearchState, tables: DeviceData, keys: DataKeys) -> _Answer:
            return dispatch(state, _with_images(tables, data.images), keys, stop)

        stacked = _stacked(states)._replace(step=states[0].step)
        state, metrics = jax.vmap(
            one, in_axes=(axes, 0, 0), out_axes=(axes, 0), axis_name=_AXIS
        )(stacked, data.tables, data.keys)
        steps = jnp.broadcast_to(state.step, len(states))
        found = state._replace(step=steps), metrics
        return tuple(
            jax.tree.map(lambda leaf: leaf[place], found)  # noqa: B023
            for place in range(len(states))
        )

    return dispatch_all


def _run_beside(
    stop: Array | int,
    one: Callable[[Any], tuple[Any, Metrics]],
    state: Any,
    *,
    sound: Callable[[Any], Tree],
) -> tuple[Any, Metrics]:
    """`epoch.run_until` in a batch of seeds, whose step is one.

    A seed that stops being all numbers keeps the state of that very step, and counts no
    more steps, while the others go on.
    """

    def is_sound(state: Any, metrics: Metrics) -> Array:
        return all_finite((sound(state), metrics))

    def goes_on(carry: tuple[Any, Metrics, Array]) -> Array:
        state, metrics, _ = carry
        some = lax.pmax(is_sound(state, metrics).astype(jnp.int32), _AXIS)
        return (state.step < stop) & (some > 0)

    def body(carry: tuple[Any, Metrics, Array]) -> tuple[Any, Metrics, Array]:
        state, metrics, done = carry
        goes = is_sound(state, metrics)
        keep = partial(jax.tree.map, lambda new, old: jnp.where(goes, new, old))
        new, found = one(state)
        added = keep(jax.tree.map(jnp.add, metrics, found), metrics)
        kept = keep(new._replace(step=()), state._replace(step=()))
        return kept._replace(step=new.step), added, done + goes.astype(jnp.int32)

    start = state, no_metrics(one, state), jnp.zeros((), jnp.int32)
    state, metrics, done = lax.while_loop(goes_on, body, start)
    return state, metrics | {STEPS: done}


# --- all of them -----------------------------------------------------------------


def run(
    seeds: Seeds,
    runs: Sequence[Running],
    *,
    broken: Callable[[int, NotFiniteError], None],
) -> list[Genotype | None]:
    """Run the searches of several seeds to their ends.

    A seed whose numbers stop being numbers ends there, and the others go on.

    Args:
      seeds: of `prepare`.
      runs: each of its searches in its folder.
      broken: told of a seed that has ended so.

    Returns:
      Of each its genotype, or None where it was stopped or broke.

    Raises:
      RunError: a file cannot be written.
      InputError: what a workdir holds is of another run, or damaged.
    """
    waits = jax.default_backend() == "cpu"  # which has nothing to do meanwhile
    due: dict[int, _Asked] = {}
    answers: dict[int, _Answer | None] = dict.fromkeys(range(len(runs)))
    with contextlib.ExitStack() as all_runs:
        open_runs = [contextlib.ExitStack() for _ in runs]
        for one, opened in zip(runs, open_runs, strict=True):
            all_runs.enter_context(opened).enter_context(one)
        while answers:
            for place, answer in answers.items():
                due.pop(place, None)
                try:
                    asked = _go_on(runs[place], answer)
                except NotFiniteError as error:
                    broken(seeds.numbers[place], error)
                    asked = None
                if asked is None:
                    open_runs[place].close()
                else:
                    due[place] = asked
            answers = dict(seeds.dispatch(due)) if due else {}
            if waits:  # or the times that searches log would be those of others
                jax.block_until_ready(answers)
    return [one.genotype for one in runs]


def _go_on(running: Running, answer: _Answer | None) -> _Asked | None:
    if answer is not None:
        running.take(*answer)
    return running.due()
