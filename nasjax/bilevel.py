"""The bilevel step that all methods share (DARTS, Algorithm 1).

    1. alpha:   its gradient of the validation loss, one step of its optimizer,
                the method's projection                            (`make_arch_step`)
    2. weights: their gradient of the training loss, one step of their optimizer,
                what the method remembers                        (`make_weight_step`)

Both losses are in `nasjax.objective`: cross-entropy of the relaxed supernet plus what
the method adds. The code of NAS-Bench-201, GDAS's too, trains the weights first in a
step, but for DARTS of second order (a deviation there).
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from nasjax.arch_gradients import implicit_arch_gradient as implicit_arch_gradient
from nasjax.arch_gradients import (
    sharpness_aware_arch_gradient as sharpness_aware_arch_gradient,
)
from nasjax.arch_gradients import unrolled_arch_gradient as unrolled_arch_gradient
from nasjax.base import Array, Key, Tree
from nasjax.data.batches import Batch
from nasjax.methods.base import Alpha, Method, keep_snapshots
from nasjax.objective import (
    METRICS,
    LossAux,
    LossFn,
    Metrics,
    StepContext,
    training_loss,
    validation_loss,
)
from nasjax.optimizers import over
from nasjax.supernet import Supernet


class SearchState(NamedTuple):
    """Everything that a search carries from step to step.

    Attributes:
      step: int32, steps done.
      weights: of the supernet.
      alpha: architecture parameters.
      weight_optimizer: optax state of the weights.
      arch_optimizer: optax state of alpha.
      memory: of the method, of each example; devices have the rows of their own.
      key: base key; each step folds its number into it.
      snapshots: of the method, of supernets; the same on all devices.
    """

    step: Array
    weights: Tree
    alpha: Alpha
    weight_optimizer: optax.OptState
    arch_optimizer: optax.OptState
    memory: Tree
    key: Key
    snapshots: Tree = ()


class Optimizers(NamedTuple):
    """The two optimizers of a search, separate optax transformations.

    Their learning rates may follow progress, see `nasjax.optimizers`.
    """

    weights: optax.GradientTransformation
    alpha: optax.GradientTransformation

    def over(self, *, steps_per_epoch: int, epochs: int) -> "Optimizers":
        """The same for a search of so many steps."""
        length = {"steps_per_epoch": steps_per_epoch, "epochs": epochs}
        return Optimizers(over(self.weights, **length), over(self.alpha, **length))


def init_state(
    key: Key,
    net: Supernet,
    method: Method,
    *,
    optimizers: Optimizers,
    num_examples: int = 0,
) -> SearchState:
    """The state before the first step. Consumes the key.

    Args:
      key: PRNG key.
      net: the supernet.
      method: the search method.
      optimizers: of weights and alpha.
      num_examples: M, rows of the method's memory.
    """
    weights_key, alpha_key, steps_key = jax.random.split(key, 3)
    weights = net.init(weights_key)
    alpha = method.init(alpha_key, net.space)
    return SearchState(
        step=jnp.zeros((), jnp.int32),
        weights=weights,
        alpha=alpha,
        weight_optimizer=optimizers.weights.init(weights),
        arch_optimizer=optimizers.alpha.init(alpha),
        memory=method.init_memory(num_examples, net.settings.num_classes),
        key=steps_key,
        snapshots=method.init_snapshots(weights, alpha),
    )


# --- the step -------------------------------------------------------------------

_Carry = tuple[SearchState, Metrics]
_Pass = Callable[[_Carry], _Carry]


def make_step(
    net: Supernet,
    method: Method,
    *,
    optimizers: Optimizers,
    steps_per_epoch: int,
    epochs: int,
) -> Callable[[SearchState, Batch, Batch], tuple[SearchState, Metrics]]:
    """The bilevel step of a search, to be jitted by the caller.

    Where the supernet was built with an ``axis_name`` the step runs under a mapping
    over devices of that name: every loss is the mean over the batch of all devices,
    gradients are averaged, and all devices do the same update. The memory of the
    method is each device's own.

    Args:
      net: the supernet of the space the method adapted.
      method: the search method.
      optimizers: of weights and alpha.
      steps_per_epoch: steps per epoch.
      epochs: of the whole search; with the former it defines progress.

    Returns:
      ``(state, train batch, valid batch) -> (state, metrics)``; the metrics are sums
      over examples, with their counts, under ``weight_`` and ``arch_`` names. A loss
      is the mean over sub-graphs. Where alpha was not trained its sums are 0.
    """
    optimizers = optimizers.over(steps_per_epoch=steps_per_epoch, epochs=epochs)
    arch_step = make_arch_step(net, method, optimizers=optimizers)
    weight_step = make_weight_step(net, method, optimizer=optimizers.weights)

    def step(
        state: SearchState, train: Batch, valid: Batch
    ) -> tuple[SearchState, Metrics]:
        epoch = state.step // steps_per_epoch
        progress = state.step.astype(jnp.float32) / (steps_per_epoch * epochs)
        context = StepContext(state.memory, state.snapshots, progress, epoch)
        step_key = jax.random.fold_in(state.key, state.step)
        arch_key, inner_key, weight_key = jax.random.split(step_key, 3)

        def train_alpha(carry: _Carry) -> _Carry:
            keys = arch_key, inner_key
            state, found = arch_step(carry[0], valid, train, keys, context)
            return state, carry[1] | _named("arch", found)

        def train_weights(carry: _Carry) -> _Carry:
            state, found = weight_step(carry[0], train, weight_key, context)
            return state, carry[1] | _named("weight", found)

        passes = train_alpha, train_weights
        state, metrics = _in_turn(net, method, *passes, (state, _no_metrics()), epoch)
        state = state._replace(step=state.step + 1)
        ends = state.step % steps_per_epoch == 0
        return _with_snapshot(method, state, ends, epoch), metrics

    return step


def _in_turn(
    net: Supernet,
    method: Method,
    first: _Pass,
    then: _Pass,
    carry: _Carry,
    epoch: Array,
) -> _Carry:
    """One pass after the other, the first in the epochs in which alpha is trained."""
    if method.order == 0:
        return then(carry)
    if net.settings.engine == "batched" and method.arch_start == 0:
        # Alpha always trains: an accelerator's host would wait to be told so.
        return then(first(carry))
    # Branches of one switch: the compiler then keeps memory for the larger pass only,
    # and never starts the second while the first is running.
    branches = first, then, lambda carry: carry

    def one(carry: _Carry, number: Array) -> tuple[_Carry, None]:
        return lax.switch(number, branches, carry), None

    trains = epoch >= method.arch_start
    numbers = jnp.stack([jnp.where(trains, 0, 2), jnp.ones((), int)])
    return lax.scan(one, carry, numbers)[0]


def _no_metrics() -> Metrics:
    names = (f"{group}_{name}" for group in ("arch", "weight") for name in METRICS)
    return dict.fromkeys(names, jnp.zeros(()))


def _named(group: str, metrics: Metrics) -> Metrics:
    return {f"{group}_{name}": value for name, value in metrics.items()}


def _with_snapshot(
    method: Method, state: SearchState, ends: Array, epoch: Array
) -> SearchState:
    """The state with a snapshot of itself, where its epoch ends."""
    if method.take_snapshot is keep_snapshots:  # and nothing to compile
        return state
    snapshots = lax.cond(
        ends,
        lambda: method.take_snapshot(
            state.snapshots, state.weights, state.alpha, epoch
        ),
        lambda: state.snapshots,
    )
    return state._replace(snapshots=snapshots)


def make_arch_step(
    net: Supernet, method: Method, *, optimizers: Optimizers
) -> Callable[..., tuple[SearchState, Metrics]]:
    """Alpha's half of the step.

    Returns:
      ``(state, valid, train, keys, context) -> (state, metrics)``; consumes the keys,
      one for the validation loss and one for the training loss of second order.
    """
    valid_loss = validation_loss(net, method)
    train_loss = training_loss(net, method)
    average = partial(_average, net)

    def arch_step(
        state: SearchState,
        valid: Batch,
        train: Batch,
        keys: tuple[Key, Key],
        context: StepContext,
    ) -> tuple[SearchState, Metrics]:
        gradient, aux = _arch_gradient(
            method,
            state,
            partial(valid_loss, batch=valid, key=keys[0], context=context),
            partial(train_loss, batch=train, key=keys[1], context=context),
            inner_step=_inner_step(method, optimizers.weights, state, average),
            average=average,
        )
        updates, optimizer = optimizers.alpha.update(
            average(gradient), state.arch_optimizer, state.alpha
        )
        alpha = optax.apply_updates(state.alpha, updates)
        for k in range(method.subgraphs or 1):
            one = jax.tree.map(lambda leaf: leaf[k], aux.architecture)  # noqa: B023
            alpha = method.project(alpha, one, context.progress, net.space)
        return state._replace(alpha=alpha, arch_optimizer=optimizer), aux.metrics

    return arch_step


def _arch_gradient(
    method: Method,
    state: SearchState,
    valid_loss: LossFn,
    train_loss: LossFn,
    *,
    inner_step: Callable[[Tree, Tree], Tree],
    average: Callable[[Tree], Tree],
) -> tuple[Alpha, LossAux]:
    """Alpha's gradient, and what was run at the weights as they are."""
    if method.order == 1 and method.arch_gradient is None:  # xi = 0 in DARTS Eq. 7
        grad = jax.grad(valid_loss, 1, has_aux=True)
        found: tuple[Alpha, LossAux] = grad(state.weights, state.alpha)
        return found
    find = unrolled_arch_gradient
    if method.arch_gradient is not None:
        find = partial(method.arch_gradient, average=average)
    _, gradient = find(
        lambda weights, alpha: train_loss(weights, alpha)[0],
        lambda weights, alpha: valid_loss(weights, alpha)[0],
        state.weights,
        state.alpha,
        inner_step=inner_step,
    )
    # No gradient goes through this one: of its forward pass the compiler keeps only
    # what the metrics need.
    _, aux = valid_loss(state.weights, state.alpha)
    return gradient, aux


def make_weight_step(
    net: Supernet, method: Method, *, optimizer: optax.GradientTransformation
) -> Callable[..., tuple[SearchState, Metrics]]:
    """The weights' half of the step.

    Returns:
      ``(state, train, key, context) -> (state, metrics)``; consumes the key.
    """
    loss = training_loss(net, method)

    def weight_step(
        state: SearchState, train: Batch, key: Key, context: StepContext
    ) -> tuple[SearchState, Metrics]:
        gradient, aux = jax.grad(loss, has_aux=True)(
            state.weights, state.alpha, batch=train, key=key, context=context
        )
        updates, optimizer_state = optimizer.update(
            _average(net, gradient), state.weight_optimizer, state.weights
        )
        memory = method.remember(state.memory, train, aux.probs, context.epoch)
        state = state._replace(
            weights=optax.apply_updates(state.weights, updates),
            weight_optimizer=optimizer_state,
            memory=memory,
        )
        return state, aux.metrics

    return weight_step


def _average(net: Supernet, gradient: Tree) -> Tree:
    axis = net.settings.context.axis_name
    return gradient if axis is None else lax.pmean(gradient, axis)


def _inner_step(
    method: Method,
    optimizer: optax.GradientTransformation,
    state: SearchState,
    average: Callable[[Tree], Tree],
) -> Callable[[Tree, Tree], Tree]:
    """The weights' own step, as `unrolled_arch_gradient` takes it."""
    update = optax.with_extra_args_support(optimizer).update

    def inner_step(weights: Tree, gradient: Tree) -> Tree:
        updates, _ = update(
            average(gradient),
            state.weight_optimizer,
            weights,
            clips=method.inner_clip,
        )
        return optax.apply_updates(weights, updates)

    return inner_step


def summarise(metrics: Metrics) -> dict[str, float]:
    """Means over examples from a step's or an epoch's sums, on the host.

    What was not counted (alpha's loss where alpha is not trained), or has no count (the
    steps of a dispatch), is left out.
    """
    means = {}
    for name, total in metrics.items():
        group = name.split("_", 1)[0]
        count = float(metrics.get(f"{group}_count", 0.0))
        if count and not name.endswith("_count"):
            means[name] = float(total) / count
    return means
