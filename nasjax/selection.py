"""The choice among sampled architectures at the end of a search (random search)."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from nasjax.architecture import Mixture, Path
from nasjax.base import Array, Key
from nasjax.bilevel import SearchState
from nasjax.data.batches import DeviceData
from nasjax.methods.base import Alpha, Method
from nasjax.runtime.epoch import DataKeys, evaluate
from nasjax.supernet import Architecture, Supernet


def make_choose(
    net: Supernet, method: Method
) -> Callable[[SearchState, DeviceData, DataKeys], Alpha]:
    """A function that draws architectures and keeps the best on the validation half.

    Each of `Method.candidates` is measured on a few batches, the best of them on the
    whole half. Source: Li and Talwalkar, arXiv 1902.07638, section 3.

    Returns:
      ``(state, data, keys) -> alpha``, 1 at the chosen operations and 0 elsewhere.
    """
    plan = method.candidates
    assert plan is not None

    def choose(state: SearchState, data: DeviceData, keys: DataKeys) -> Alpha:
        blank = jax.tree.map(jnp.zeros_like, state.alpha)

        def draw(key: Key) -> Architecture:
            return method.relax(key, blank, jnp.ones(()), net.space)

        def accuracy(key: Key, batches: int | None) -> Array:
            sums = evaluate(net, state.weights, draw(key), data, keys, batches=batches)
            return sums["valid_accuracy"] / sums["valid_count"]

        drawn = jax.random.split(jax.random.fold_in(state.key, state.step), plan.number)
        few = lax.map(lambda key: accuracy(key, plan.batches), drawn)
        finalists = drawn[lax.top_k(few, plan.finalists)[1]]
        best = jnp.argmax(lax.map(lambda key: accuracy(key, None), finalists))
        return {
            name: _ones(path, net.space.num_ops)
            for name, path in draw(finalists[best]).items()
        }

    return choose


def _ones(path: Mixture | Path, num_ops: int) -> Array:
    """``[E, O]``, 1 where an active edge's operation stands."""
    assert isinstance(path, Path)
    chosen = jax.nn.one_hot(path.operation, num_ops)
    return jnp.where(path.active[:, None], chosen, 0.0)
