"""The search loop that every method shares: the host side.

`prepare` compiles and measures, `run` goes on from wherever the workdir stands.
Between two dispatches the host only asks whether to stop; the metrics of a dispatch
are read while the next one runs.
"""

import hashlib
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nasjax import budget as budgets
from nasjax import epoch as epochs_lib
from nasjax.base import Array, Tree
from nasjax.bilevel import (
    Metrics,
    Optimizers,
    SearchState,
    init_state,
    make_step,
    summarise,
)
from nasjax.cell import Path
from nasjax.checkpoint import Checkpoints
from nasjax.data.augment import Augmentation
from nasjax.data.batches import DeviceData
from nasjax.genotype import Genotype
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


class NotFiniteError(ArithmeticError):
    """A loss or alpha stopped being a number; the last checkpoint is still good."""


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
      InputError: more devices than there are, a batch they cannot share out, or a
        memory of the method that does not fit.
    """
    batch_size = data.train.weights.shape[1]
    devices = Devices(num_devices, batch_size)
    devices.check()
    axis_name = devices.axis_name
    if net.settings.context.axis_name != axis_name:
        raise ValueError(f"on {num_devices} devices a supernet has {axis_name=}")
    steps = epochs_lib.steps_per_epoch(data)
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

    budgets.check_memory(jax.eval_shape(new_state).memory)
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
    seconds = 0.0
    # The second trial leaves out what only a first run pays; where a step takes
    # long it would cost more than it tells.
    for trial in (1, 2):
        started = time.perf_counter()
        state, _ = search.dispatch(state, search.data, search.keys, _stop_at(trial))
        jax.block_until_ready(state)
        seconds = time.perf_counter() - started
        if seconds > 1.0 or search.steps_per_epoch < 2:
            break
    return budgets.Budget(
        weights=count(one.weights),
        alphas=count(one.alpha),
        macs=macs * (search.method.subgraphs or 1),
        peak_bytes=budgets.peak_bytes(compiled),
        data_bytes=budgets.tree_bytes(search.data),
        memory_bytes=budgets.tree_bytes(one.memory),
        compile_seconds=compile_seconds,
        step_seconds=seconds,
        seconds_per_epoch=seconds * search.steps_per_epoch,
    )


class _Run:
    """The mutable side of one run: where it stands and what it has written."""

    def __init__(self, search: Search, workdir: Workdir, progress: Progress):
        self.search = search
        self.workdir = workdir
        self.progress = progress
        self.checkpoints = Checkpoints(workdir.checkpoints)
        state = search.new_state()
        restored = self.checkpoints.restore(state)
        if restored is not None:
            state = restored
        self.step = int(state.step)
        self.state = search.devices.spread_state(state)
        self.history = workdir.rewind(self.step, self.step // search.steps_per_epoch)
        if not self.history:
            self.history = [jax.device_get(state.alpha)]
            workdir.write_alphas(self.history)
        self.last_valid: dict[str, float] = {}

    @property
    def epoch(self) -> int:
        return self.step // self.search.steps_per_epoch

    def train(self, steps_per_dispatch: int, stop: Callable[[], bool]) -> bool:
        """The rest of the current epoch; whether it was finished."""
        search = self.search
        end = (self.epoch + 1) * search.steps_per_epoch
        epoch, pending = self.epoch, None
        started = time.perf_counter()
        while self.step < end and not stop():
            until = min(self.step + steps_per_dispatch, end)
            self.state, metrics = search.dispatch(
                self.state, search.data, search.keys, _stop_at(until)
            )
            if pending is not None:
                started = self._log_train(epoch, *pending, started)
            pending = (self.step, until, metrics)
            self.step = until
        if pending is not None:
            self._log_train(epoch, *pending, started)
        return self.step == end

    def _log_train(
        self, epoch: int, first: int, last: int, metrics: Metrics, started: float
    ) -> float:
        """Log the steps ``first`` to ``last`` of an epoch; returns the time."""
        search = self.search
        values = summarise(jax.device_get(metrics))
        now = time.perf_counter()
        for name, value in values.items():
            if not np.isfinite(value):
                raise NotFiniteError(f"{name} is {value} at step {last}")
        # Both halves pass through the network in a step.
        images = 2 * (last - first) * search.devices.batch_size
        values["images_per_second"] = images / max(now - started, 1e-9)
        at = last / (search.steps_per_epoch * search.epochs)
        for name, schedule in search.method.schedules.items():
            values[f"schedule/{name}"] = float(schedule(jnp.float32(at)))
        self.workdir.log("train", step=last, epoch=epoch, values=values)
        self.progress.advance(last - first, values | self.last_valid)
        return now

    def _sound_state(self) -> SearchState:
        """The state of one device; refuses one that is not all numbers."""
        state = self.search.devices.gather_state(self.state)
        parts = {"weights": state.weights, "alpha": state.alpha}
        for path, finite in jax.tree.leaves_with_path(_finite(parts)):
            if not finite:
                name = jax.tree_util.keystr(path, simple=True, separator="/")
                raise NotFiniteError(f"{name} is not finite at step {self.step}")
        return state

    def save(self) -> None:
        """Save the state, if it is sound."""
        self.checkpoints.save(self.step, self._sound_state())

    def _choose(self) -> None:
        """Put the best of the method's candidates into alpha."""
        search = self.search
        assert search.choose is not None
        state = search.devices.gather_state(self.state)
        alpha = search.choose(self.state, search.data, search.keys)
        self.state = search.devices.spread_state(state._replace(alpha=alpha))

    def finish_epoch(self, evaluate: bool) -> None:
        """Evaluate, record alpha, save."""
        search = self.search
        if search.choose is not None and self.epoch == search.epochs:
            self._choose()
        state = self._sound_state()  # before anything of this epoch is written
        alpha = jax.device_get(state.alpha)
        self.history.append(alpha)
        values: dict[str, float] = {}
        if evaluate:
            sums = search.evaluate(self.state, search.data, search.keys)
            means = summarise(jax.device_get(sums))
            values = {name.removeprefix("valid_"): v for name, v in means.items()}
            self.last_valid = means
        skips = search.method.derive(search.net.space, alpha).skip_connects
        values |= {f"skips/{name}": float(n) for name, n in skips.items()}
        self.workdir.log("valid", step=self.step, epoch=self.epoch - 1, values=values)
        self.workdir.write_alphas(self.history)
        self.checkpoints.save(self.step, state)
        self.progress.epoch_done(self.epoch, self.last_valid)


def run(
    search: Search,
    workdir: Workdir,
    *,
    progress: Progress,
    steps_per_dispatch: int = 20,
    evaluate_every: int = 1,
    source: str = "",
    stop: Callable[[], bool] = lambda: False,
) -> Genotype | None:
    """Search, from wherever the workdir stands, to a genotype.

    Args:
      search: of `prepare`.
      workdir: opened; what it holds of this search is continued.
      progress: told of every dispatch and epoch.
      steps_per_dispatch: steps between two looks at ``stop``.
      evaluate_every: epochs between evaluations; the last epoch always has one.
      source: where the genotype comes from, for its readers.
      stop: asked between dispatches.

    Returns:
      The genotype, or None when stopped before the end, after a checkpoint.

    Raises:
      NotFiniteError: a loss is NaN or infinite.
    """
    run_ = _Run(search, workdir, progress)
    progress.start(run_.step, search.steps_per_epoch, search.epochs)
    try:
        while run_.epoch < search.epochs:
            if not run_.train(steps_per_dispatch, stop):
                run_.save()
                return None
            done = run_.epoch
            run_.finish_epoch(done % evaluate_every == 0 or done == search.epochs)
    finally:
        run_.checkpoints.close()
        progress.close()
    return _conclude(run_, source)


@jax.jit
def _finite(tree: Tree) -> Tree:
    """Whether each array holds numbers only."""
    return jax.tree.map(lambda array: jnp.isfinite(array).all(), tree)


def _conclude(run_: _Run, source: str) -> Genotype:
    """Derive, and write the result."""
    search, state = run_.search, run_.state
    alpha = search.devices.gather_state(state).alpha
    genotype = search.method.derive(search.net.space, jax.device_get(alpha))
    genotype = genotype._replace(source=source)
    sums = search.evaluate(state, search.data, search.keys)
    values: Mapping[str, float] = summarise(jax.device_get(sums))
    run_.workdir.log("result", step=run_.step, epoch=search.epochs - 1, values=values)
    run_.workdir.write_genotype(genotype)
    return genotype


def fingerprint(state: Tree) -> str:
    """SHA-256 of every bit of a state, keys included, to compare two runs."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(state):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        digest.update(np.asarray(leaf).tobytes())
    return digest.hexdigest()
