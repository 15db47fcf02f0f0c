"""A search before it runs: what it compiles, for any seed, and what that costs."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nasjax.architecture import Path
from nasjax.base import Array, Key
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
from nasjax.runtime import epoch as epochs_lib
from nasjax.runtime import fingerprints, loop
from nasjax.runtime.identity import Identity
from nasjax.runtime.parallel import Devices
from nasjax.selection import make_choose
from nasjax.space import SearchSpace
from nasjax.supernet import (
    Architecture,
    Supernet,
    costliest_operation,
    count,
    every_operation,
)


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
      identity: what decides it.
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
    identity: Identity


class Outline(NamedTuple):
    """A search of any seed, before anything of it is compiled.

    Attributes:
      net: the supernet.
      method: the search method.
      init: ``key -> state`` before the first step.
      dispatch: of `epoch.make_dispatch`.
      evaluate: `epoch.make_evaluate`, compiled when it is first called.
      choose: `selection.make_choose`, likewise.
      steps_per_epoch: steps of an epoch.
      epochs: of the search.
      devices: that will run it.
      identity: what decides it, but for the data and the seed.
    """

    net: Supernet
    method: Method
    init: Callable[[Key], SearchState]
    dispatch: Callable[..., tuple[SearchState, Metrics]]
    evaluate: Callable[..., Metrics]
    choose: Callable[..., Alpha] | None
    steps_per_epoch: int
    epochs: int
    devices: Devices
    identity: Identity

    def search(self, data: DeviceData, seed: int) -> Search:
        """The search of a seed, its dispatch not compiled yet."""
        root = jax.random.key(seed)
        return Search(
            self.net,
            self.method,
            self.devices.spread_data(data),
            epochs_lib.data_keys(jax.random.fold_in(root, 1)),
            self.dispatch,
            self.evaluate,
            self.choose,
            partial(self.init, jax.random.fold_in(root, 0)),
            self.steps_per_epoch,
            self.epochs,
            self.devices,
            fingerprints.with_data(self.identity, data, seed),
        )


def outline(
    net: Supernet,
    method: Method,
    data: DeviceData,
    *,
    optimizers: Optimizers,
    epochs: int = 50,
    augmentation: Augmentation | None = None,
    num_devices: int = 1,
    repeat: epochs_lib.Repeat = epochs_lib.run_until,
) -> Outline:
    """What a search compiles, for any seed; the arguments are those of `prepare`.

    Args:
      net: the supernet.
      method: the search method.
      data: that of any seed; its sizes are what matters.
      optimizers: of weights and alpha.
      epochs: of the search.
      augmentation: of both halves.
      num_devices: that share a batch.
      repeat: of `epoch.make_dispatch`.

    Raises:
      InputError: see `prepare`; what does not fit is found later.
      ValueError: a part of the method gives what the step cannot take.
    """
    devices = _devices(net, Devices(num_devices, data.train.weights.shape[1]))
    steps = epochs_lib.steps_per_epoch(data)
    loop.check_length(epochs, steps)
    programs = check_method(
        method,
        net,
        batch_size=data.train.weights.shape[1],
        num_examples=data.train.weights.size,
    )
    step = make_step(
        net, method, optimizers=optimizers, steps_per_epoch=steps, epochs=epochs
    )
    num_examples = data.train.weights.size
    choose = method.candidates and devices.jit(make_choose(net, method))

    @jax.jit
    def new_state(key: Key) -> SearchState:
        return init_state(
            key, net, method, optimizers=optimizers, num_examples=num_examples
        )

    return Outline(
        net,
        method,
        new_state,
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
        fingerprints.of_search(
            method,
            net,
            programs=programs,
            optimizers=optimizers._asdict(),
            epochs=epochs,
            augmentation=augmentation,
        ),
    )


def _devices(net: Supernet, devices: Devices) -> Devices:
    """The devices, where a supernet was built for them."""
    devices.check()
    axis_name = devices.axis_name
    if net.settings.context.axis_name != axis_name:
        raise ValueError(f"on {devices.number} devices a supernet has {axis_name=}")
    return devices


def task(search: Search) -> loop.Task:
    """What the loop runs."""

    def dispatch(
        state: SearchState, first: int, until: int
    ) -> tuple[SearchState, Metrics]:
        del first
        return search.dispatch(state, search.data, search.keys, stop_at(until))

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


def stop_at(step: int) -> Array:
    """The argument of a dispatch that says where it ends."""
    return jnp.asarray(step, jnp.int32)


def compile_dispatch(search: Search, state: SearchState) -> Any:
    """The compiled dispatch of a search, for states like one of its devices."""
    return (
        search.devices.jit(search.dispatch, others=2, updates=True)
        .lower(state, search.data, search.keys, stop_at(1))
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
      search: of `prepare`.
      compiled: its dispatch.
      compile_seconds: that it took to compile.
      step_seconds: of a trial step.
    """
    one = jax.eval_shape(search.new_state)
    macs = search.net.macs(
        costliest_operation
        if is_sampled(search.method, search.net.space)
        else every_operation
    )
    return budgets.Budget(
        weights=count(one.weights),
        alphas=count(one.alpha),
        macs=macs * (search.method.subgraphs or 1),
        peak_bytes=budgets.peak_bytes(compiled),
        data_bytes=budgets.tree_bytes(search.data),
        memory_bytes=budgets.tree_bytes((one.memory, one.snapshots)),
        compile_seconds=compile_seconds,
        step_seconds=step_seconds,
        seconds_per_epoch=step_seconds * search.steps_per_epoch,
    )


def is_sampled(method: Method, space: SearchSpace) -> bool:
    """Whether a method runs sampled paths, each operation by a switch."""

    def relax() -> Architecture:
        key = jax.random.key(0)
        return method.relax(key, method.init(key, space), jnp.zeros(()), space)

    runs = jax.eval_shape(relax)
    return any(isinstance(cell, Path) for cell in runs.values())
