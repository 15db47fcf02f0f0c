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
from nasjax.spaces.base import SearchSpace


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


def gumbel_top_k(
    key: Key, alpha: Array, *, k: int, temperature: Array | float
) -> Array:
    """K operations an edge without replacement, straight-through.

    Consumes the key. With g ~ Gumbel(0, 1) and r = (alpha + g) / temperature, the
    choices are, one after the other, one-hot(argmax h) with h = softmax(r) over the
    operations that are left; forward the one-hot, backward h. Which operations are
    left is taken as given: no gradient flows through an earlier choice (an
    assumption; the log(1 - one-hot) of the paper has none that is finite).
    Inclusion follows Plackett-Luce without replacement.
    Source: MSG-DAS Algorithm 1; k = 1 is GDAS Eq. 3-4.

    Args:
      key: PRNG key.
      alpha: ``[..., O]``.
      k: K, choices an edge.
      temperature: tau, scalar above 0.

    Returns:
      ``[K, ..., O]``, one-hot and exclusive over K.

    Raises:
      ValueError: K below 1 or above O; a temperature that is not above 0, where it
        is known.

    >>> chosen = gumbel_top_k(jax.random.key(0), jnp.zeros(3), k=3, temperature=1.0)
    >>> chosen.sum(axis=0)
    Array([1., 1., 1.], dtype=float32)
    """
    check_temperature(temperature)
    if not 1 <= k <= alpha.shape[-1]:
        raise ValueError(f"{k=} is not from 1 to {alpha.shape[-1]}, the operations")
    noise = jax.random.gumbel(key, alpha.shape, alpha.dtype)
    scores = (alpha + noise) / temperature
    chosen = []
    for _ in range(k):
        soft = jax.nn.softmax(scores, axis=-1)
        hard = jax.nn.one_hot(
            jnp.argmax(scores, axis=-1), alpha.shape[-1], dtype=alpha.dtype
        )
        chosen.append(_straight_through(hard, soft))
        scores = jnp.where(hard > 0, -jnp.inf, scores)
    return jnp.stack(chosen)


def gumbel_with_replacement(
    key: Key, alpha: Array, *, k: int, temperature: Array | float
) -> Array:
    """K operations an edge, each drawn for itself, straight-through.

    Consumes the key. The hard Gumbel-softmax sample K times, so that an operation may
    come more than once: how SNAS and DARTS-EGS come to K sub-graphs, which MSG-DAS
    compares with (section 2). k = 1 is `gumbel_top_k`'s, to the bit.

    Args:
      key: PRNG key.
      alpha: ``[..., O]``.
      k: K, draws an edge; it may be above O.
      temperature: tau, scalar above 0.

    Returns:
      ``[K, ..., O]``, one-hot over O.

    Raises:
      ValueError: K below 1; a temperature that is not above 0, where it is known.

    >>> chosen = gumbel_with_replacement(
    ...     jax.random.key(0), jnp.zeros(3), k=5, temperature=1.0
    ... )
    >>> chosen.sum(axis=1)
    Array([1., 1., 1., 1., 1.], dtype=float32)
    """
    check_temperature(temperature)
    if k < 1:
        raise ValueError(f"{k=} is not at least 1")
    noise = jax.random.gumbel(key, (k, *alpha.shape), alpha.dtype)
    scores = (alpha[None] + noise) / temperature
    hard = jax.nn.one_hot(
        jnp.argmax(scores, axis=-1), alpha.shape[-1], dtype=alpha.dtype
    )
    return _straight_through(hard, jax.nn.softmax(scores, axis=-1))


def union(chosen: Array) -> Array:
    """The K choices of every edge as the weights of one graph.

    An edge adds up its chosen operations, as a node adds up its edges; an operation
    that was chosen more than once counts once, for which DARTS-EGS aggregates its
    sub-graphs (it takes the maximum; MSG-DAS section 2). That an edge's sum is not
    divided by K is therefore an assumption: MSG-DAS does not write its graph down.

    Args:
      chosen: ``[K, ..., O]`` one-hots over O.

    Returns:
      ``[..., O]``, 1 for what was chosen and 0 for the rest. The gradient of a weight
      goes to the choices that chose it, of the others there is none: what the K paths
      would hand back (`nasjax.architecture.to_path`).

    >>> union(jnp.array([[0.0, 1.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]))
    Array([1., 1., 0.], dtype=float32)
    """
    own = jnp.where(chosen > 0, chosen, 0)
    return _straight_through(own.max(axis=0), own.sum(axis=0))


def gumbel_softmax(
    key: Key, alpha: Array, *, temperature: Array | float, hard: bool = True
) -> Array:
    """A sample of an operation an edge, relaxed: softmax((alpha + g) / temperature).

    Consumes the key. Source: Jang et al., arXiv 1611.01144; soft in SNAS (Eq. 4),
    hard in GDAS (Eq. 3-4).

    Args:
      key: PRNG key.
      alpha: ``[..., O]``.
      temperature: tau, scalar above 0.
      hard: one-hot forward, the soft sample's gradient backward.

    Returns:
      ``[..., O]``, summing to 1 over O.

    Raises:
      ValueError: a temperature that is not above 0, where it is known.
    """
    if hard:
        return gumbel_top_k(key, alpha, k=1, temperature=temperature)[0]
    check_temperature(temperature)
    noise = jax.random.gumbel(key, alpha.shape, alpha.dtype)
    return jax.nn.softmax((alpha + noise) / temperature, axis=-1)


def check_temperature(temperature: Array | float) -> None:
    """Refuse a temperature that is not above 0; a traced one cannot be seen.

    Raises:
      ValueError: with the temperature.
    """
    if not isinstance(temperature, jax.core.Tracer) and not temperature > 0:
        raise ValueError(f"temperature is {temperature}; it must be above 0")


def _straight_through(hard: Array, soft: Array) -> Array:
    """``hard`` forward, to the bit; the gradient of ``soft`` backward."""
    return jax.lax.stop_gradient(hard) + (soft - jax.lax.stop_gradient(soft))


def strongest_operations(strengths: Array) -> Array:
    """The strongest operation of each edge as a one-hot, straight-through.

    What is sampled most often where the strengths are the odds; ties to the earlier
    operation. Backward it is the strengths themselves.

    Args:
      strengths: ``[..., O]``.

    Returns:
      ``[..., O]``.

    >>> strongest_operations(jnp.array([[0.2, 0.5, 0.3], [0.4, 0.2, 0.4]]))
    Array([[0., 1., 0.],
           [1., 0., 0.]], dtype=float32)
    """
    chosen = jnp.argmax(strengths, axis=-1)
    hard = jax.nn.one_hot(chosen, strengths.shape[-1], dtype=strengths.dtype)
    return _straight_through(hard, strengths)


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
    symmetric: bool = False,
    activation: Callable[[Array], Array] = jax.nn.relu,
) -> KroneckerSample:
    """Sample one operation per edge: n = argmax(alpha + eps), weight f(alpha)_n.

    Consumes the key. Source: STC-NAS Eq. 5.

    Args:
      key: PRNG key.
      alpha: ``[..., O]``.
      noise_range: r, scalar; 0 takes the largest alpha.
      symmetric: eps is uniform in [-r, r), else in [0, r); the paper says "range",
        so the default is an assumption.
      activation: f, ``[..., O]`` to ``[..., O]``; ReLU is the paper's (Eq. 3),
        softmax and sigmoid are its ablation (Fig. 6).
    """
    low = -1.0 if symmetric else 0.0
    noise = noise_range * jax.random.uniform(key, alpha.shape, alpha.dtype, low)
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


def edge_softmax(space: SearchSpace, beta: Array) -> Array:
    """Softmax of ``[E]`` edge parameters over the edges into each node, ``[E]``.

    Source: PC-DARTS Eq. 3.
    """
    target = np.array([target for _, target in space.edges])
    rival = target[:, None] == target[None, :]
    # Each edge's own row of rivals: log of the sum of their exponentials.
    rows = jnp.where(rival, beta[None, :], -jnp.inf)
    return jnp.exp(beta - jax.nn.logsumexp(rows, axis=1))


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


def project_simplex_clip(q: Array) -> Array:
    """SmoothDARTS's P: clip ``q [..., O]`` to [0, 1], then divide by the sum over O.

    Where nothing is left, 1 at the largest entry. Source: the published code of arXiv
    2002.05283; not the Euclidean projection.

    >>> project_simplex_clip(jnp.array([[1.5, 0.5, -0.2], [-0.3, -0.1, -0.2]]))
    Array([[0.6666667 , 0.33333334, 0.        ],
           [0.        , 1.        , 0.        ]], dtype=float32)
    """
    clipped = jnp.clip(q, 0.0, 1.0)
    largest = jax.nn.one_hot(jnp.argmax(q, axis=-1), q.shape[-1], dtype=q.dtype)
    total = clipped.sum(axis=-1, keepdims=True)
    return jnp.where(total > 0, clipped / jnp.where(total > 0, total, 1), largest)


def dirichlet(key: Key, alpha: Array) -> Array:
    """Weights of each edge from Dir(elu(alpha) + 1), differentiable in alpha.

    The gradient is pathwise (implicit reparameterisation, as JAX has it of the gamma
    distribution). Source: DrNAS (arXiv 2006.10355), section 3.2. Consumes the key.

    Args:
      key: PRNG key.
      alpha: ``[..., O]``.

    Returns:
      ``[..., O]``, summing to 1 over O.
    """
    logs = jax.random.loggamma(key, jax.nn.elu(alpha) + 1.0)
    return jax.nn.softmax(logs, axis=-1)
