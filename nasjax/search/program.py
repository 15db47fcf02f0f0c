"""A search before it runs: what it compiles, and what that costs."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nasjax import architecture, optimizers, schedules
from nasjax import supernet as supernets
from nasjax.base import Key
from nasjax.bilevel import (
    Metrics,
    Optimizers,
    SearchState,
    init_state,
    make_step,
    summarise,
)
from nasjax.data.augment import Augmentation
from nasjax.data.batches import DeviceData
from nasjax.methods.base import Alpha, Method
from nasjax.methods.check import check_method
from nasjax.runtime import budget as budgets
from nasjax.runtime import loop
from nasjax.runtime.identity import Identity
from nasjax.runtime.loop import NotFiniteError as NotFiniteError
from nasjax.runtime.loop import fingerprint as fingerprint
from nasjax.runtime.parallel import Devices
from nasjax.runtime.repeat import Repeat, run_until
from nasjax.search import epoch as epochs_lib
from nasjax.search import identity as identities
from nasjax.spaces.base import SearchSpace
from nasjax.supernet import Supernet


class Search(NamedTuple):
    """What is constant in one search.

    Attributes:
      net: the supernet.
      method: the search method.
      data: the data set, laid out for the devices.
      seed: of the weights, the order of the examples and every draw.
      init: ``key -> state`` before the first step.
      dispatch: `epoch.make_dispatch`, compiled by `prepare`.
      evaluate: `epoch.make_evaluate`, compiled when it is first called.
      choose: `epoch.make_choose`, likewise; None without candidates.
      steps_per_epoch: steps per epoch.
      epochs: of the search.
      devices: that run it; data and states in flight are laid out for them.
      identity: what decides it.
    """

    net: Supernet
    method: Method
    data: DeviceData
    seed: int
    init: Callable[[Key], SearchState]
    dispatch: Callable[..., tuple[SearchState, Metrics]]
    evaluate: Callable[..., Metrics]
    choose: Callable[..., Alpha] | None
    steps_per_epoch: int
    epochs: int
    devices: Devices
    identity: Identity

    def new_state(self) -> SearchState:
        """The state before the first step, on one device."""
        return self.init(jax.random.fold_in(jax.random.key(self.seed), 0))

    @property
    def keys(self) -> epochs_lib.DataKeys:
        """Keys of the data."""
        return epochs_lib.data_keys(jax.random.fold_in(jax.random.key(self.seed), 1))

    def of_seed(self, seed: int, data: DeviceData) -> "Search":
        """The search of another seed, with its data: the same program."""
        identity = identities.with_data(self.identity, data, seed)
        data = self.devices.spread_data(data)
        return self._replace(seed=seed, data=data, identity=identity)


def paper_optimizers() -> Optimizers:
    """Those of DARTS: SGD from 0.025 to 0.001 along a cosine, and Adam at 3e-4."""
    rate = schedules.cosine(0.025, 0.001)
    return Optimizers(optimizers.weight_optimizer(rate), optimizers.arch_optimizer())


def plan(
    net: Supernet,
    method: Method,
    data: DeviceData,
    *,
    optimizers: Optimizers | None = None,
    epochs: int = 50,
    seed: int = 0,
    augmentation: Augmentation | None = None,
    num_devices: int = 1,
    repeat: Repeat = run_until,
) -> Search:
    """What a search is, before anything of it is compiled.

    Args:
      net: as of `prepare`, like all else.
      method: the search method.
      data: the data set.
      optimizers: of weights and alpha.
      epochs: of the search.
      seed: of every draw.
      augmentation: of both halves.
      num_devices: that share a batch.
      repeat: of `epoch.make_dispatch`.

    Raises:
      InputError: see `prepare`; what does not fit is found later.
      ValueError: a part of the method gives what the step cannot take.
    """
    batch_size = data.train.weights.shape[1]
    devices = _devices(net, Devices(num_devices, batch_size))
    steps = epochs_lib.steps_per_epoch(data)
    loop.check_length(epochs, steps)
    num_examples = data.train.weights.size
    programs = check_method(
        method, net, batch_size=batch_size, num_examples=num_examples
    )
    both = (optimizers or paper_optimizers()).over(steps_per_epoch=steps, epochs=epochs)
    step = make_step(net, method, optimizers=both, steps_per_epoch=steps, epochs=epochs)

    @jax.jit
    def init(key: Key) -> SearchState:
        return init_state(key, net, method, optimizers=both, num_examples=num_examples)

    choose = method.candidates and devices.jit(epochs_lib.make_choose(net, method))
    planned = Search(
        net,
        method,
        data,
        seed,
        init,
        epochs_lib.make_dispatch(
            step,
            num_steps=steps,
            augmentation=augmentation,
            axis_name=devices.axis_name,
            repeat=repeat,
        ),
        devices.jit(epochs_lib.make_evaluate(net, method)),
        choose or None,
        steps,
        epochs,
        devices,
        identities.of_search(
            method,
            net,
            programs=programs,
            optimizers=both._asdict(),
            epochs=epochs,
            augmentation=augmentation,
        ),
    )
    return planned.of_seed(seed, data)


def _devices(net: Supernet, devices: Devices) -> Devices:
    """The devices, where a supernet was built for them."""
    devices.check()
    axis_name = devices.axis_name
    if net.settings.context.axis_name != axis_name:
        raise ValueError(f"on {devices.number} devices a supernet has {axis_name=}")
    return devices


def prepare(
    net: Supernet,
    method: Method,
    data: DeviceData,
    *,
    optimizers: Optimizers | None = None,
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
      optimizers: of weights and alpha; `paper_optimizers` by default.
      epochs: of the search.
      seed: of the weights, the order of the examples and every draw.
      augmentation: of both halves; None for none.
      num_devices: that share a batch.

    Raises:
      InputError: more devices than there are, a batch they cannot share out, or what
        does not fit into their memory.
    """
    return compile_search(
        plan(
            net,
            method,
            data,
            optimizers=optimizers,
            epochs=epochs,
            seed=seed,
            augmentation=augmentation,
            num_devices=num_devices,
        )
    )


def compile_search(search: Search) -> tuple[Search, budgets.Budget]:
    """Compile a search of `plan`, and measure what it will cost.

    Raises:
      InputError: what does not fit into the devices' memory.
    """
    check_fits(search)
    started = time.perf_counter()
    state = search.devices.shard_state(search.new_state())
    compiled = compile_dispatch(search, state)
    compile_seconds = time.perf_counter() - started
    budgets.check_fits("a step", budgets.peak_bytes(compiled))
    search = search._replace(dispatch=compiled)
    step_seconds = loop.trial_seconds(
        task(search).dispatch, state, steps_per_epoch=search.steps_per_epoch
    )
    return search, measure(search, compiled, compile_seconds, step_seconds)


def compile_dispatch(search: Search, state: SearchState) -> Any:
    """The compiled dispatch of a search, for states like one of its devices."""
    return (
        search.devices.jit(search.dispatch, others=2, updates=True)
        .lower(state, search.data, search.keys, epochs_lib.stop_at(1))
        .compile()
    )


def check_fits(search: Search, copies: int = 1) -> None:
    """Refuse states that cannot fit, of so many searches at once.

    Raises:
      InputError: with what is needed and what there is.
    """
    shapes = jax.eval_shape(search.new_state)
    budgets.check_memory(copies * [shapes.memory])
    needed = copies * budgets.tree_bytes(shapes)
    budgets.check_fits("the state of the search", needed)


def measure(
    search: Search, compiled: Any, compile_seconds: float, step_seconds: float
) -> budgets.Budget:
    """The budget of a search.

    Args:
      search: of `plan`.
      compiled: its dispatch.
      compile_seconds: that it took to compile.
      step_seconds: of a trial step.
    """
    one = jax.eval_shape(search.new_state)
    sampled = is_sampled(search.method, search.net.space)
    cost = supernets.costliest_operation if sampled else supernets.every_operation
    return budgets.Budget(
        weights=supernets.count(one.weights),
        alphas=supernets.count(one.alpha),
        macs=search.net.macs(cost) * (search.method.subgraphs or 1),
        peak_bytes=budgets.peak_bytes(compiled),
        data_bytes=budgets.tree_bytes(search.data),
        memory_bytes=budgets.tree_bytes((one.memory, one.snapshots)),
        compile_seconds=compile_seconds,
        step_seconds=step_seconds,
        seconds_per_epoch=step_seconds * search.steps_per_epoch,
    )


def is_sampled(method: Method, space: SearchSpace) -> bool:
    """Whether either pass of a method runs paths, one operation per edge."""

    def relax() -> list[supernets.Architecture]:
        key = jax.random.key(0)
        alpha, start = method.init(key, space), jnp.zeros(())
        passes = (method.relax, method.weight_relax or method.relax)
        return [one(key, alpha, start, space) for one in passes]

    cells = [cell for runs in jax.eval_shape(relax) for cell in runs.values()]
    return any(isinstance(cell, architecture.Path) for cell in cells)


def task(search: Search) -> loop.Task:
    """What the loop runs."""
    keys = search.keys

    def dispatch(
        state: SearchState, first: int, until: int
    ) -> tuple[SearchState, Metrics]:
        del first
        return search.dispatch(state, search.data, keys, epochs_lib.stop_at(until))

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
