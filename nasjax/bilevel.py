"""The bilevel step: alpha on the validation half, then the weights on the train half.

One pure function for every method. Source: DARTS Algorithm 1; Eq. 6 for the second
order. The code of NAS-Bench-201, GDAS's too, trains the weights first in a step, but
for DARTS of second order (a deviation there).
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from nasjax.base import Array, Key, Tree
from nasjax.data.batches import Batch
from nasjax.methods.base import (
    Alpha,
    Method,
    keep_snapshots,
    no_teacher,
)
from nasjax.objective import Loss, LossAux, Metrics, StepContext
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
    """The two optimizers of a search, separate optax transformations."""

    weights: optax.GradientTransformation
    alpha: optax.GradientTransformation


def unrolled_arch_gradient(
    train_loss: Callable[[Tree, Tree], Array],
    valid_loss: Callable[[Tree, Tree], Array],
    weights: Tree,
    arch: Tree,
    *,
    inner_step: Callable[[Tree, Tree], Tree],
) -> tuple[Array, Tree]:
    """Value and exact gradient of ``valid_loss(w'(arch), arch)`` in ``arch``.

    ``w' = inner_step(weights, d train_loss / d weights)`` is one step of the real
    optimizer, through which the gradient is taken by reverse mode, with no finite
    differences. Source: DARTS Eq. 6, whose ``w - xi * gradient`` is the inner step
    of plain SGD. The published code has momentum and weight decay in it, but neither
    gradient clipping nor Nesterov's step; what of them is in ``inner_step`` is
    differentiated too (a deviation; `darts` has ``inner_clip``).

    Args:
      train_loss: ``(weights, arch) -> scalar``.
      valid_loss: ``(weights, arch) -> scalar``.
      weights: where the inner step starts.
      arch: architecture parameters.
      inner_step: ``(weights, gradient) -> weights``, differentiable.

    Returns:
      The validation loss after the inner step, and its gradient, a tree like arch.

    >>> def loss(w, a):
    ...     return (w - a) ** 2
    >>> step = lambda w, g: w - 0.1 * g
    >>> value, gradient = unrolled_arch_gradient(
    ...     loss, lambda w, a: w**2, 1.0, 0.0, inner_step=step
    ... )
    >>> print(f"{value:.2f} {gradient:.2f}")  # w' = 0.8, dw'/da = 0.2
    0.64 0.32
    """

    def unrolled(arch: Tree) -> Array:
        gradient = jax.grad(train_loss)(weights, arch)
        return valid_loss(inner_step(weights, gradient), arch)

    return jax.value_and_grad(unrolled)(arch)


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
      steps_per_epoch: steps of an epoch.
      epochs: of the whole search; with the former it defines progress.

    Returns:
      ``(state, train batch, valid batch) -> (state, metrics)``; the metrics are sums
      over examples, with their counts, under ``weight_`` and ``arch_`` names. A loss
      is the mean over sub-graphs. Where alpha was not trained its sums are 0.
    """

    def step(
        state: SearchState, train: Batch, valid: Batch
    ) -> tuple[SearchState, Metrics]:
        progress = state.step.astype(jnp.float32) / (steps_per_epoch * epochs)
        moment = StepContext(
            state.memory, state.snapshots, progress, state.step // steps_per_epoch
        )
        step_key = jax.random.fold_in(state.key, state.step)
        arch_key, inner_key, weight_key = jax.random.split(step_key, 3)
        of_alpha = Loss(net, method, method.arch_loss, no_teacher).value
        of_weights = Loss(
            net, method, method.weight_loss, method.teach, method.lead, method.recall
        ).value
        train_loss = partial(of_weights, batch=train, moment=moment)
        passes = _Passes(
            valid_loss=partial(of_alpha, batch=valid, key=arch_key, moment=moment),
            inner_loss=partial(train_loss, key=inner_key),
            train_loss=partial(train_loss, key=weight_key),
            batch=train,
            moment=moment,
            net=net,
            method=method,
            optimizers=optimizers,
        )
        trains_alpha = moment.epoch >= method.arch_start
        state, metrics = passes.run(state, trains_alpha)
        ended = state.step % steps_per_epoch == 0
        return _with_snapshot(method, state, ended, moment.epoch), metrics

    return step


def _with_snapshot(
    method: Method, state: SearchState, ended: Array, epoch: Array
) -> SearchState:
    """The state with a snapshot of itself, where its epoch has ended."""
    if method.take_snapshot is keep_snapshots:  # and nothing to compile
        return state
    snapshots = jax.lax.cond(
        ended,
        lambda: method.take_snapshot(
            state.snapshots, state.weights, state.alpha, epoch
        ),
        lambda: state.snapshots,
    )
    return state._replace(snapshots=snapshots)


_LossFn = Callable[..., tuple[Array, LossAux]]
_METRICS = ("loss", "accuracy", "added_loss", "count")
_Carry = tuple[SearchState, Metrics]


class _Passes(NamedTuple):
    """The two passes of one step over the network."""

    valid_loss: _LossFn
    inner_loss: _LossFn
    train_loss: _LossFn
    batch: Batch
    moment: StepContext
    net: Supernet
    method: Method
    optimizers: Optimizers

    def run(self, state: SearchState, trains_alpha: Array) -> _Carry:
        """Alpha's pass, where there is one, then that of the weights."""
        names = [f"{group}_{name}" for group in ("arch", "weight") for name in _METRICS]
        carry = state, dict.fromkeys(names, jnp.zeros(()))
        if self.method.order == 0:
            return self.update_weights(carry)
        # Branches of one switch: the compiler then keeps memory for the larger pass
        # only, and never starts the second while the first is running.
        branches = self.update_alpha, self.update_weights, lambda carry: carry

        def one(carry: _Carry, number: Array) -> tuple[_Carry, None]:
            return jax.lax.switch(number, branches, carry), None

        numbers = jnp.stack([jnp.where(trains_alpha, 0, 2), jnp.ones((), int)])
        return jax.lax.scan(one, carry, numbers)[0]

    def update_alpha(self, carry: _Carry) -> _Carry:
        """One optimizer step of alpha on the validation batch."""
        state, metrics = carry
        gradient, seen = self._arch_gradient(state)
        updates, arch_state = self.optimizers.alpha.update(
            self._average(gradient), state.arch_optimizer, state.alpha
        )
        alpha = optax.apply_updates(state.alpha, updates)
        progress = self.moment.progress
        for k in range(self.method.subgraphs or 1):
            one = jax.tree.map(lambda leaf: leaf[k], seen.architecture)  # noqa: B023
            alpha = self.method.project(alpha, one, progress, self.net.space)
        state = state._replace(alpha=alpha, arch_optimizer=arch_state)
        return state, metrics | _named("arch", seen.metrics)

    def update_weights(self, carry: _Carry) -> _Carry:
        """One optimizer step of the weights on the train batch; ends the step."""
        state, metrics = carry
        gradient, seen = jax.grad(self.train_loss, has_aux=True)(
            state.weights, state.alpha
        )
        updates, weight_state = self.optimizers.weights.update(
            self._average(gradient), state.weight_optimizer, state.weights
        )
        moment = self.moment
        memory = self.method.remember(
            state.memory, self.batch, seen.probs, moment.epoch
        )
        state = state._replace(
            step=state.step + 1,
            weights=optax.apply_updates(state.weights, updates),
            weight_optimizer=weight_state,
            memory=memory,
        )
        return state, metrics | _named("weight", seen.metrics)

    def _average(self, gradient: Tree) -> Tree:
        axis = self.net.settings.context.axis_name
        return gradient if axis is None else jax.lax.pmean(gradient, axis)

    def _arch_gradient(self, state: SearchState) -> tuple[Alpha, LossAux]:
        """Gradient of the validation loss in alpha, of the method's order."""
        if self.method.order == 1:  # at the weights as they are, xi = 0 of DARTS Eq. 7
            gradient = jax.grad(self.valid_loss, argnums=1, has_aux=True)
            return gradient(state.weights, state.alpha)

        optimizer = optax.with_extra_args_support(self.optimizers.weights)

        def inner_step(weights: Tree, gradient: Tree) -> Tree:
            updates, _ = optimizer.update(
                self._average(gradient),
                state.weight_optimizer,
                weights,
                clips=self.method.inner_clip,
            )
            return optax.apply_updates(weights, updates)

        def scalar(loss: _LossFn) -> Callable[[Tree, Tree], Array]:
            return lambda weights, alpha: loss(weights, alpha)[0]

        _, gradient = unrolled_arch_gradient(
            scalar(self.inner_loss),
            scalar(self.valid_loss),
            state.weights,
            state.alpha,
            inner_step=inner_step,
        )
        # What was run and how well, at the weights as they are: no gradient, and of
        # the forward pass the compiler keeps only what the metrics need.
        _, seen = self.valid_loss(state.weights, state.alpha)
        return gradient, seen


def _named(group: str, metrics: Metrics) -> Metrics:
    return {f"{group}_{name}": value for name, value in metrics.items()}


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
