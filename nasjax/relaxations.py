"""Relaxations: from architecture parameters to what each edge runs.

The public functions map ``alpha [..., O]`` to operation weights of the same shape;
:func:`sample_kronecker` and :func:`strongest_edges` are the same sampling in the
sparse form that a path needs.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nasjax.base import Array, Key
from nasjax.space import SearchSpace


def softmax(alpha: Array) -> Array:
    """DARTS's continuous relaxation: softmax over the operations.

    Args:
      alpha: ``[..., O]``.

    Returns:
      ``[..., O]``, summing to 1 over O. Source: DARTS Eq. 2.

    >>> softmax(jnp.zeros((1, 4)))
    Array([[0.25, 0.25, 0.25, 0.25]], dtype=float32)
    """
    return jax.nn.softmax(alpha, axis=-1)


class KroneckerSample(NamedTuple):
    """The operation sampled on each edge.

    Attributes:
      operation: ``[...]`` int32, n of Eq. 5.
      weight: ``[...]`` its weight, differentiable in alpha.
      score: ``[...]`` alpha_n plus its noise, by which edges rank.
    """

    operation: Array
    weight: Array
    score: Array


def sample_kronecker(
    key: Key,
    alpha: Array,
    *,
    noise_range: Array | float,
    activation: Callable[[Array], Array] = jax.nn.relu,
) -> KroneckerSample:
    """Sample one operation an edge: n = argmax(alpha + eps), weight f(alpha)_n.

    Consumes the key. Source: STC-NAS Eq. 5; eps is uniform in [0, noise_range), an
    assumption of ours (the paper says "range").

    Args:
      key: PRNG key.
      alpha: ``[..., O]``.
      noise_range: r, scalar; 0 takes the largest alpha.
      activation: f, ``[..., O]`` to ``[..., O]``; ReLU is the paper's (Eq. 3),
        softmax and sigmoid are its ablation (Fig. 6).
    """
    noise = noise_range * jax.random.uniform(key, alpha.shape, alpha.dtype)
    noisy = jax.lax.stop_gradient(alpha + noise)
    operation = jnp.argmax(noisy, axis=-1).astype(jnp.int32)
    chosen = jax.nn.one_hot(operation, alpha.shape[-1], dtype=alpha.dtype)
    # Masked, not multiplied: 0 * inf of an entry that is not sampled stays out.
    weight = jnp.where(chosen > 0, activation(alpha), 0).sum(axis=-1)
    return KroneckerSample(operation, weight, noisy.max(axis=-1))


def relu_kronecker(key: Key, alpha: Array, *, noise_range: Array | float) -> Array:
    """STC-NAS's sampling, dense: ReLU(alpha_n) at the sampled n, zero elsewhere.

    Consumes the key. Per edge, without the selection of edges
    (:func:`strongest_edges`). Source: STC-NAS Eq. 3–5; see `sample_kronecker`.

    Args:
      key: PRNG key.
      alpha: ``[..., O]``.
      noise_range: r, scalar.

    Returns:
      ``[..., O]``.

    >>> alpha = jnp.array([[0.1, 0.7, 0.3]])
    >>> relu_kronecker(jax.random.key(0), alpha, noise_range=0.0)
    Array([[0. , 0.7, 0. ]], dtype=float32)
    """
    sample = sample_kronecker(key, alpha, noise_range=noise_range)
    chosen = jax.nn.one_hot(sample.operation, alpha.shape[-1], dtype=alpha.dtype)
    return chosen * sample.weight[..., None]


def strongest_edges(space: SearchSpace, score: Array) -> Array:
    """The edges a derived cell would keep: ``[E]`` scores to ``[E]`` bool.

    Cell consistency (STC-NAS section 3.3): for each node the `edges_per_node`
    incoming edges of largest score, ties to the earlier edge; every edge where the
    space derives all of them.
    """
    if space.edges_per_node is None:
        return jnp.ones(score.shape, bool)
    target = np.array([target for _, target in space.edges])
    order = np.arange(space.num_edges)
    rival = target[:, None] == target[None, :]
    earlier = order[None, :] < order[:, None]
    other, own = score[None, :], score[:, None]
    better = rival & ((other > own) | ((other == own) & earlier))
    return better.sum(axis=1) < space.edges_per_node
