"""The bilevel step: alpha on the validation half, then the weights on the train half.

One pure function for every method. Source: DARTS Algorithm 1; Eq. 6 for the second
order.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from nasjax import losses
from nasjax.base import Array, Key, Tree
from nasjax.data.batches import Batch
from nasjax.methods.base import Alpha, Method, Terms
from nasjax.supernet import Architecture, Supernet


class SearchState(NamedTuple):
    """Everything that a search carries from step to step.

    Attributes:
      step: int32, steps done.
      weights: of the supernet.
      alpha: architecture parameters.
      weight_optimizer: optax state of the weights.
      arch_optimizer: optax state of alpha.
      memory: of the method.
      key: base key; each step folds its number into it.
    """

    step: Array
    weights: Tree
    alpha: Alpha
    weight_optimizer: optax.OptState
    arch_optimizer: optax.OptState
    memory: Tree
    key: Key


class Optimizers(NamedTuple):
    """The two optimizers of a search, separate optax transformations."""

    weights: optax.GradientTransformation
    alpha: optax.GradientTransformation


#: Per-example sums of a step, to be divided by their counts.
Metrics = dict[str, Array]


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
    of plain SGD.

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
      num_examples: M, what the method's memory is for.
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
    )


class _Moment(NamedTuple):
    """What both losses of one step share."""

    memory: Tree
    progress: Array
    epoch: Array


def _loss(
    weights: Tree,
    alpha: Alpha,
    batch: Batch,
    key: Key,
    *,
    net: Supernet,
    method: Method,
    added: Callable[[Terms], Array],
    moment: _Moment,
) -> tuple[Array, tuple[Terms, Metrics]]:
    """Cross-entropy of the relaxed supernet plus what the method adds.

    Consumes the key.
    """
    architecture = method.relax(key, alpha, moment.progress, net.space)

    def forward(architecture: Architecture) -> Array:
        return net.apply(weights, architecture, batch.images)

    logits = forward(architecture)
    terms = Terms(
        space=net.space,
        alpha=alpha,
        architecture=architecture,
        logits=logits,
        batch=batch,
        memory=moment.memory,
        progress=moment.progress,
        epoch=moment.epoch,
        forward=forward,
    )
    plain = losses.cross_entropy(logits, batch.labels, batch.weights)
    hits = losses.accuracy_hits(logits, batch.labels)
    extra = added(terms)
    count = batch.weights.sum()
    metrics = {
        "loss": plain * count,
        "accuracy": jnp.vdot(hits, batch.weights),
        "added_loss": extra * count,
        "count": count,
    }
    # Only arrays can leave the gradient; `make_step` puts the space back.
    return plain + extra, (terms._replace(space=None, forward=None), metrics)


def make_step(
    net: Supernet,
    method: Method,
    *,
    optimizers: Optimizers,
    steps_per_epoch: int,
    epochs: int,
) -> Callable[[SearchState, Batch, Batch], tuple[SearchState, Metrics]]:
    """The bilevel step of a search, to be jitted by the caller.

    Args:
      net: the supernet of the space the method adapted.
      method: the search method.
      optimizers: of weights and alpha.
      steps_per_epoch: steps of an epoch.
      epochs: of the whole search; with the former it defines progress.

    Returns:
      ``(state, train batch, valid batch) -> (state, metrics)``; the metrics are sums
      over examples, with their counts, under ``weight_`` and ``arch_`` names.
    """
    loss = partial(_loss, net=net, method=method)
    arch_gradient = _second_order if method.order == 2 else _first_order

    def step(
        state: SearchState, train: Batch, valid: Batch
    ) -> tuple[SearchState, Metrics]:
        progress = state.step.astype(jnp.float32) / (steps_per_epoch * epochs)
        moment = _Moment(state.memory, progress, state.step // steps_per_epoch)
        step_key = jax.random.fold_in(state.key, state.step)
        arch_key, inner_key, weight_key = jax.random.split(step_key, 3)
        valid_loss = partial(
            loss, batch=valid, key=arch_key, added=method.arch_loss, moment=moment
        )
        train_loss = partial(loss, batch=train, added=method.weight_loss, moment=moment)

        gradient, (terms, arch_metrics) = arch_gradient(
            partial(train_loss, key=inner_key), valid_loss, state, optimizers
        )
        updates, arch_state = optimizers.alpha.update(
            gradient, state.arch_optimizer, state.alpha
        )
        alpha = optax.apply_updates(state.alpha, updates)
        alpha = method.project(alpha, terms.architecture)

        gradient, (terms, weight_metrics) = jax.grad(train_loss, has_aux=True)(
            state.weights, alpha, key=weight_key
        )
        updates, weight_state = optimizers.weights.update(
            gradient, state.weight_optimizer, state.weights
        )
        state = state._replace(
            step=state.step + 1,
            weights=optax.apply_updates(state.weights, updates),
            alpha=alpha,
            weight_optimizer=weight_state,
            arch_optimizer=arch_state,
            memory=method.remember(terms._replace(space=net.space)),
        )
        metrics = {f"weight_{k}": v for k, v in weight_metrics.items()}
        return state, metrics | {f"arch_{k}": v for k, v in arch_metrics.items()}

    return step


_LossFn = Callable[..., tuple[Array, tuple[Terms, Metrics]]]


def _first_order(
    train_loss: _LossFn, valid_loss: _LossFn, state: SearchState, optimizers: Optimizers
) -> tuple[Alpha, Any]:
    """Gradient of L_val(w, alpha) in alpha (xi = 0 of DARTS Eq. 7)."""
    del train_loss, optimizers
    return jax.grad(valid_loss, argnums=1, has_aux=True)(state.weights, state.alpha)


def _second_order(
    train_loss: _LossFn, valid_loss: _LossFn, state: SearchState, optimizers: Optimizers
) -> tuple[Alpha, Any]:
    """Gradient of L_val(w'(alpha), alpha) in alpha, w' after the real optimizer."""

    def inner_step(weights: Tree, gradient: Tree) -> Tree:
        updates, _ = optimizers.weights.update(
            gradient, state.weight_optimizer, weights
        )
        return optax.apply_updates(weights, updates)

    def scalar(loss: _LossFn) -> Callable[[Tree, Tree], Array]:
        return lambda weights, alpha: loss(weights, alpha)[0]

    _, gradient = unrolled_arch_gradient(
        scalar(train_loss),
        scalar(valid_loss),
        state.weights,
        state.alpha,
        inner_step=inner_step,
    )
    # What was run and how well, at the weights as they are: no gradient, and of the
    # forward pass the compiler keeps only what the metrics need.
    _, aux = valid_loss(state.weights, state.alpha)
    return gradient, aux


def summarise(metrics: Metrics) -> dict[str, float]:
    """Means over examples from a step's or an epoch's sums, on the host."""
    means = {}
    for name, total in metrics.items():
        group = name.split("_", 1)[0]
        count = float(metrics[f"{group}_count"])
        if not name.endswith("_count"):
            means[name] = float(total) / max(count, 1.0)
    return means
