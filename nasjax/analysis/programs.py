"""The programs that probes compile: one for a search, when it is first needed."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from nasjax import losses
from nasjax.analysis.curvature import hessian_vector_product
from nasjax.base import Array, Tree
from nasjax.bilevel import SearchState, summarise
from nasjax.data.batches import Batch, DeviceData, Split
from nasjax.search import epoch as epochs_lib
from nasjax.search.epoch import DataKeys
from nasjax.search.program import Search
from nasjax.supernet import Architecture


def kept(make: Callable[[Search], Any]) -> Callable[[Search], Any]:
    """What ``make`` makes of a search, made once for the search at hand."""
    held: list[Any] = []

    def get(search: Search) -> Any:
        if not held or held[0] is not search:
            held[:] = [search, make(search)]
        return held[1]

    return get


def make_product(
    search: Search, batches: int
) -> Callable[[SearchState, DeviceData, DataKeys, Tree], Tree]:
    """``(state, data, keys, vector) -> H vector``, batch after batch."""

    def one(state: SearchState, batch: Batch, vector: Tree) -> Tree:
        loss = _loss(search, state, batch)
        return hessian_vector_product(
            lambda alpha: loss(alpha, state.weights),
            state.alpha,
            vector,
            axis_name=search.net.settings.context.axis_name,
        )

    return _mean_over_batches(search, batches, one)


def make_gradient(
    search: Search, batches: int
) -> Callable[[SearchState, DeviceData, DataKeys], tuple[Array, dict[str, Tree]]]:
    """``(state, data, keys) -> (loss, {"alpha": gradient, "weights": gradient})``."""
    axis = search.net.settings.context.axis_name

    def one(state: SearchState, batch: Batch) -> tuple[Array, dict[str, Tree]]:
        loss = jax.value_and_grad(_loss(search, state, batch), argnums=(0, 1))
        value, (alpha, weights) = loss(state.alpha, state.weights)
        gradients = {"alpha": alpha, "weights": weights}
        return value, gradients if axis is None else jax.lax.pmean(gradients, axis)

    return _mean_over_batches(search, batches, one)


def _loss(
    search: Search, state: SearchState, batch: Batch
) -> Callable[[Tree, Tree], Array]:
    """``(alpha, weights) -> scalar`` of a batch, without the method's own terms."""
    net, method = search.net, search.method
    axis = net.settings.context.axis_name

    def loss(alpha: Tree, weights: Tree) -> Array:
        runs = epochs_lib.final_architecture(net, method, state._replace(alpha=alpha))
        logits = net.apply(weights, runs, batch.images)
        errors = losses.cross_entropy_per_example(logits, batch.labels)
        return losses.weighted_mean(errors, batch.weights, axis_name=axis)

    return loss


def _mean_over_batches(
    search: Search, batches: int, one: Callable[..., Any]
) -> Callable[..., Any]:
    """``(state, data, keys, *rest) -> mean`` of ``one(state, batch, *rest)``."""
    axis = search.net.settings.context.axis_name

    def run(state: SearchState, data: DeviceData, keys: DataKeys, *rest: Tree) -> Any:
        def counted(order: Array) -> tuple[Any, Array]:
            batch = epochs_lib.take_valid(data, keys, order)
            count = batch.weights.sum()
            count = count if axis is None else jax.lax.psum(count, axis)
            found = one(state, batch, *rest)
            return jax.tree.map(lambda leaf: count * leaf, found), count

        def add(total: Tree, order: Array) -> tuple[Tree, None]:
            return jax.tree.map(jnp.add, total, counted(order)), None

        order = epochs_lib.valid_order(data, keys, axis_name=axis)[:batches]
        shapes = jax.eval_shape(counted, order[0])
        start = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        (total, count), _ = jax.lax.scan(add, start, order)
        return jax.tree.map(lambda leaf: leaf / count, total)

    return run


def make_accuracy(
    batches: int | None,
) -> Callable[[Search, SearchState, Architecture], float]:
    """Accuracy of an architecture with a state's weights, one program for all."""

    def make(search: Search) -> Any:
        def run(
            state: SearchState,
            data: DeviceData,
            keys: DataKeys,
            architecture: Architecture,
        ) -> dict[str, Array]:
            return epochs_lib.evaluate(
                search.net, state.weights, architecture, data, keys, batches=batches
            )

        return search.devices.jit(run, others=2)

    compiled = kept(make)

    def accuracy(
        search: Search, state: SearchState, architecture: Architecture
    ) -> float:
        sums = compiled(search)(state, search.data, search.keys, architecture)
        return summarise(sums)["valid_accuracy"]

    return accuracy


def rows_of(search: Search, half: Split) -> Split:
    """Labels and weights as a memory has its examples: row after row of slots."""

    def flat(array: Array) -> Array:
        return search.devices.gather_slots(array).reshape(-1)

    return half._replace(labels=flat(half.labels), weights=flat(half.weights))
