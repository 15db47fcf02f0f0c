"""The search that every method shares: the host side.

`prepare` compiles and measures, `run` goes on from wherever the workdir stands, in
the loop of `nasjax.loop`.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nasjax import budget as budgets
from nasjax import epoch as epochs_lib
from nasjax import loop
from nasjax.analysis.probes import Analysis
from nasjax.base import Array, InputError
from nasjax.bilevel import (
    Metrics,
    Optimizers,
    SearchState,
    init_state,
    make_step,
    summarise,
)
from nasjax.cell import Path
from nasjax.data.augment import Augmentation
from nasjax.data.batches import DeviceData
from nasjax.genotype import Genotype
from nasjax.loop import NotFiniteError as NotFiniteError
from nasjax.loop import fingerprint as fingerprint
from nasjax.methods.base import Alpha, Method
from nasjax.parallel import Devices
from nasjax.progress import Progress
from nasjax.selection import make_choose
from nasjax.supernet import Supernet, count, dearest_operation, every_operation
from nasjax.workdir import Workdir


class Search(NamedTuple):
    """What is constant in one search.

    Attributes:
      net: the supernet.
      method: the search method.
      data: the data set on the device.
      keys: of the data.
      dispatch: compiled `epoch.make_dispatch`.
      evaluate: compiled `epoch.make_evaluate`.
      choose: compiled `selection.make_choose`, where the method has candidates.
      new_state: makes the state before the first step.
      steps_per_epoch: steps of an epoch.
      epochs: of the search.
      devices: that run it; data and states in flight are laid out for them.
    """

    net: Supernet
    method: Method
    data: DeviceData
    keys: epochs_lib.DataKeys
    dispatch: Callable[..., tuple[SearchState, Metrics]]
    evaluate: Callable[..., Metrics]
    choose: Callable[..., Alpha] | None
    new_state: Callable[[], SearchState]
    steps_per_epoch: int
    epochs: int
    devices: Devices


def prepare(
    net: Supernet,
    method: Method,
    data: DeviceData,
    *,
    optimizers: Optimizers,
    epochs: int = 50,
    seed: int = 0,
    augmentation: Augmentation | None = None,
    num_devices: int = 1,
) -> tuple[Search, budgets.Budget]:
    """Compile a search and measure what it will cost.

    Args:
      net: the supernet of the space the method adapted; for several devices, built
        with the axis name of `parallel.Devices`.
      method: the search method.
      data: the data set, laid out for the batch size.
      optimizers: of weights and alpha; schedules count steps.
      epochs: of the search.
      seed: of the weights, the order of the examples and every draw.
      augmentation: of both halves; None for none.
      num_devices: that share a batch.

    Raises:
      InputError: more devices than there are, a batch they cannot share out, or what
        does not fit into their memory.
    """
    batch_size = data.train.weights.shape[1]
    devices = Devices(num_devices, batch_size)
    devices.check()
    axis_name = devices.axis_name
    if net.settings.context.axis_name != axis_name:
        raise ValueError(f"on {num_devices} devices a supernet has {axis_name=}")
    steps = epochs_lib.steps_per_epoch(data)
    loop.check_length(epochs, steps)
    root = jax.random.key(seed)
    step = make_step(
        net, method, optimizers=optimizers, steps_per_epoch=steps, epochs=epochs
    )
    dispatch = epochs_lib.make_dispatch(
        step, num_steps=steps, augmentation=augmentation, axis_name=axis_name
    )

    @jax.jit
    def new_state() -> SearchState:
        return init_state(
            jax.random.fold_in(root, 0),
            net,
            method,
            optimizers=optimizers,
            num_examples=data.train.weights.size,
        )

    shapes = jax.eval_shape(new_state)
    budgets.check_memory(shapes.memory)
    budgets.check_fits("the state of the search", budgets.tree_bytes(shapes))
    keys = epochs_lib.data_keys(jax.random.fold_in(root, 1))
    laid_out = devices.spread_data(data)
    started = time.perf_counter()
    state = devices.spread_state(new_state())
    compiled = (
        devices.jit(dispatch, others=2, updates=True)
        .lower(state, laid_out, keys, _stop_at(1))
        .compile()
    )
    compile_seconds = time.perf_counter() - started
    budgets.check_fits("a step", budgets.peak_bytes(compiled))
    choose = method.candidates and devices.jit(make_choose(net, method))
    search = Search(
        net,
        method,
        laid_out,
        keys,
        compiled,
        devices.jit(epochs_lib.make_evaluate(net, method)),
        choose or None,
        new_state,
        steps,
        epochs,
        devices,
    )
    return search, _measure(search, state, compiled, compile_seconds)


def _stop_at(step: int) -> Array:
    return jnp.asarray(step, jnp.int32)


def _measure(
    search: Search, state: SearchState, compiled: Any, compile_seconds: float
) -> budgets.Budget:
    """The budget; its step time is that of trial steps on a state of their own."""
    one = jax.eval_shape(search.new_state)
    architecture = jax.eval_shape(
        lambda key, alpha: search.method.relax(
            key, alpha, jnp.zeros(()), search.net.space
        ),
        one.key,
        one.alpha,
    )
    sampled = any(isinstance(cell, Path) for cell in architecture.values())
    macs = search.net.macs(dearest_operation if sampled else every_operation)
    steps = search.steps_per_epoch
    seconds = loop.trial_seconds(_task(search).dispatch, state, steps_per_epoch=steps)
    return budgets.Budget(
        weights=count(one.weights),
        alphas=count(one.alpha),
        macs=macs * (search.method.subgraphs or 1),
        peak_bytes=budgets.peak_bytes(compiled),
        data_bytes=budgets.tree_bytes(search.data),
        memory_bytes=budgets.tree_bytes(one.memory),
        compile_seconds=compile_seconds,
        step_seconds=seconds,
        seconds_per_epoch=seconds * steps,
    )


def _task(search: Search) -> loop.Task:
    """What the loop runs."""

    def dispatch(
        state: SearchState, first: int, until: int
    ) -> tuple[SearchState, Metrics]:
        del first
        return search.dispatch(state, search.data, search.keys, _stop_at(until))

    def values(metrics: Metrics, last: int) -> dict[str, float]:
        progress = jnp.float32(last / (search.steps_per_epoch * search.epochs))
        return summarise(metrics) | {
            f"schedule/{name}": float(schedule(progress))
            for name, schedule in search.method.schedules.items()
        }

    return loop.Task(
        search.new_state,
        dispatch,
        values,
        lambda state: {"weights": state.weights, "alpha": state.alpha},
        search.steps_per_epoch,
        search.epochs,
        2 * search.devices.batch_size,  # of both halves
        search.devices,
    )


def run(
    search: Search,
    workdir: Workdir,
    *,
    progress: Progress,
    steps_per_dispatch: int = 20,
    evaluate_every: int = 1,
    analyses: Sequence[Analysis] = (),
    source: str = "",
    checkpoint_minutes: float = 10.0,
    stop: Callable[[], bool] = lambda: False,
) -> Genotype | None:
    """Search, from wherever the workdir stands, to a genotype.

    Args:
      search: of `prepare`.
      workdir: opened; what it holds of this search is continued.
      progress: told of every dispatch and epoch.
      steps_per_dispatch: steps between two looks at ``stop``.
      evaluate_every: epochs between evaluations; the last epoch always has one.
      analyses: measures taken after epochs, see `nasjax.analysis.probes`.
      source: where the genotype comes from, for its readers.
      checkpoint_minutes: after which a save need not wait for the epoch's end.
      stop: asked between dispatches.

    Returns:
      The genotype, or None when stopped before the end, after a checkpoint.

    Raises:
      NotFiniteError: a loss, a weight or alpha is NaN or infinite.
      RunError: a file cannot be written.
      InputError: what the workdir holds is of another run, or damaged.
    """
    run_ = loop.Run(_task(search), workdir, progress)
    if run_.epoch and not run_.history:
        raise InputError(
            f"{workdir.folder / 'alphas.npz'} is not there, and the run cannot go on "
            f"without; remove {workdir.folder} to start again"
        )
    if not run_.history:
        run_.history = [jax.device_get(search.devices.gather_state(run_.state).alpha)]
        workdir.write_alphas(run_.history)
    with run_:
        for done in run_.epochs(
            steps_per_dispatch, stop=stop, checkpoint_minutes=checkpoint_minutes
        ):
            is_last = done == search.epochs
            if is_last and search.choose is not None:
                _choose(search, run_)
            due = [one for one in analyses if is_last or done % one.every == 0]
            _analyse(search, run_, due)
            _end_epoch(search, run_, is_last or done % evaluate_every == 0)
    return None if run_.stopped else _conclude(search, run_, source)


def _choose(search: Search, run_: loop.Run) -> None:
    """Put the best of the method's candidates into alpha."""
    assert search.choose is not None
    state = search.devices.gather_state(run_.state)
    alpha = search.choose(run_.state, search.data, search.keys)
    run_.state = search.devices.spread_state(state._replace(alpha=alpha))


def _analyse(search: Search, run_: loop.Run, due: Sequence[Analysis]) -> None:
    """Log the measures that are due, before the checkpoint that they belong to."""
    if due:
        run_.sound_state()
    values: dict[str, float] = {}
    for one in due:
        values |= one.measure(search, run_.state)
    if values:
        epoch = run_.epoch - 1
        run_.workdir.log("analysis", step=run_.step, epoch=epoch, values=values)


def _end_epoch(search: Search, run_: loop.Run, evaluate: bool) -> None:
    """Evaluate, record alpha, save."""
    state = run_.sound_state()  # before anything of this epoch is written
    alpha = jax.device_get(state.alpha)
    run_.history.append(alpha)
    values: dict[str, float] = {}
    if evaluate:
        sums = search.evaluate(run_.state, search.data, search.keys)
        run_.last_valid = summarise(jax.device_get(sums))
        values = {
            name.removeprefix("valid_"): value
            for name, value in run_.last_valid.items()
        }
    skips = search.method.derive(search.net.space, alpha).skip_connects
    values |= {f"skips/{name}": float(n) for name, n in skips.items()}
    run_.workdir.write_alphas(run_.history)
    run_.end_epoch(state, values)


def _conclude(search: Search, run_: loop.Run, source: str) -> Genotype:
    """Derive, and write the result."""
    alpha = search.devices.gather_state(run_.state).alpha
    genotype = search.method.derive(search.net.space, jax.device_get(alpha))
    genotype = genotype._replace(source=source)
    sums = search.evaluate(run_.state, search.data, search.keys)
    values: Mapping[str, float] = summarise(jax.device_get(sums))
    run_.workdir.log("result", step=run_.step, epoch=search.epochs - 1, values=values)
    run_.workdir.write_genotype(genotype)
    return genotype
