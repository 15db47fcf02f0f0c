"""STC-NAS: source-target consistency (Sun et al., Neurocomputing 497, 2022).

The sampled cell looks like the derived one: one operation an edge, as many edges as
the genotype keeps, weights that do not compete, and a loss that pulls the weights
of an edge towards the operation sampled on it.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from nasjax import losses, relaxations, schedules
from nasjax.base import Array, Key, Schedule
from nasjax.cell import Path
from nasjax.methods.base import (
    Alpha,
    Method,
    Terms,
    add_arch_loss,
    constant_alpha,
    each_cell,
)
from nasjax.space import SearchSpace
from nasjax.supernet import Architecture

#: How an operation's weight follows from alpha: Eq. 3, and Fig. 6's alternatives.
ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": jax.nn.relu,
    "softmax": relaxations.softmax,
    "sigmoid": jax.nn.sigmoid,
}


def stc_nas(
    *,
    noise_range: Schedule = schedules.linear(0.3, 0.0),
    js_strength: Schedule = schedules.linear(0.0, 2.0),
    alpha_start: float = 0.3,
    activation: str = "relu",
    cell_consistency: bool = True,
) -> Method:
    """Kronecker sampling, projection and JS loss.

    Args:
      noise_range: r of the sampling noise, by progress (Fig. 7).
      js_strength: lambda of Eq. 10, by progress (Table 7).
      alpha_start: where alpha starts; read off the paper's Fig. 9, an assumption.
      activation: "relu" (Eq. 3), "softmax" or "sigmoid" (Fig. 6).
      cell_consistency: run the edges that a genotype would keep alone; else every
        edge (Table 8).

    Raises:
      ValueError: an unknown activation.
    """
    if activation not in ACTIVATIONS:
        raise ValueError(f"{activation=} is not one of {sorted(ACTIVATIONS)}")
    weigh = ACTIVATIONS[activation]

    def relax(
        key: Key, alpha: Alpha, progress: Array, space: SearchSpace
    ) -> Architecture:
        return each_cell(
            partial(
                sample_cell,
                space,
                noise_range=noise_range(progress),
                activation=weigh,
                cell_consistency=cell_consistency,
            ),
            key,
            alpha,
            space,
        )

    def strengths(alpha: Alpha, space: SearchSpace) -> dict[str, Array]:
        return {name: weigh(alpha[name]) for name in space.cell_types}

    def js(terms: Terms) -> Array:
        return js_loss(terms, activation=weigh)

    method = Method(
        "stc_nas",
        constant_alpha(alpha_start),
        relax,
        strengths=strengths,
        adapt=without_none,
        project=project_sampled,
        schedules={"noise_range": noise_range},
    )
    return add_arch_loss(method, js, strength=js_strength, name="js_strength")


def without_none(space: SearchSpace) -> SearchSpace:
    """`none` is no candidate where the derivation never takes it (Figs. 3 and 9)."""
    drops = space.edges_per_node is not None and "none" in space.primitives
    return space.without("none") if drops else space


def sample_cell(
    space: SearchSpace,
    key: Key,
    alpha: Array,
    *,
    noise_range: Array,
    activation: Callable[[Array], Array],
    cell_consistency: bool = True,
) -> Path:
    """One operation an edge (Eq. 5) on the edges a genotype would keep, or on all.

    Consumes the key.
    """
    sample = relaxations.sample_kronecker(
        key, alpha, noise_range=noise_range, activation=activation
    )
    if cell_consistency:
        active = relaxations.strongest_edges(space, sample.score)
    else:
        active = jnp.ones(space.num_edges, bool)
    return Path(sample.operation, sample.weight, active)


def js_loss(terms: Terms, *, activation: Callable[[Array], Array]) -> Array:
    """JS(Q || P), mean over active edges and cell types (Eq. 9).

    P is the edge's weights divided by their sum, Q the sampled one-hot; the paper
    does not say how alpha is normalised, so the division is an assumption.
    """
    total = jnp.zeros(())
    for name in terms.space.cell_types:
        alpha = terms.alpha[name]
        path = terms.architecture[name]
        assert isinstance(path, Path)
        own = losses.normalised(activation(alpha))
        sampled = jax.nn.one_hot(path.operation, alpha.shape[-1])
        divergence = losses.js_divergence(sampled, own)
        total += losses.weighted_mean(divergence, path.active.astype(jnp.float32))
    return total / len(terms.space.cell_types)


def project_sampled(alpha: Alpha, architecture: Architecture) -> Alpha:
    """Clip the sampled entries to [0, 1] (Eq. 6–8); the others stay.

    An entry that reaches 0 gets no gradient through its ReLU any more; it comes back
    by Adam's momentum alone. An entry that is not sampled may leave [0, 1] by
    momentum or the JS loss, until it is sampled again.
    """
    projected = dict(alpha)
    for name, path in architecture.items():
        assert isinstance(path, Path)
        values = alpha[name]
        chosen = jax.nn.one_hot(path.operation, values.shape[-1], dtype=bool)
        sampled = chosen & path.active[:, None]
        projected[name] = jnp.where(sampled, jnp.clip(values, 0.0, 1.0), values)
    return projected
