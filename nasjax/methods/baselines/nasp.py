"""NASP: search by proximal iterations (Yao et al., arXiv 1905.13577)."""

import jax
import jax.numpy as jnp
from jax import lax

from nasjax import relaxations
from nasjax.architecture import Mixture, to_path
from nasjax.base import Array, Key
from nasjax.methods.base import Alpha, Method, constant_alpha
from nasjax.spaces.base import SearchSpace
from nasjax.supernet import Architecture


def nasp(*, alpha_start: float = 0.5) -> Method:
    """Alpha in [0, 1]; what is run is its projection on one operation per edge.

    The discrete cell D(alpha) has the strongest operation of every edge, and of the
    edges that enter a node those that a genotype keeps. Alpha's gradient is that at
    D(alpha), of every operation, and is applied to the continuous alpha (Algorithm 2);
    the weights are trained at D(alpha), of which only the chosen operations are run.
    `none` may be chosen where the space has it. The published space has other
    operations than DARTS's (a deviation: ours is the space that is asked for).

    Args:
      alpha_start: of every entry.

    Raises:
      ValueError: a start that is not in [0, 1].
    """
    if not 0 <= alpha_start <= 1:
        raise ValueError(f"{alpha_start=} is not from 0 to 1")

    return Method(
        "nasp",
        constant_alpha(alpha_start),
        relax,
        weight_relax=weight_relax,
        project=project,
        strengths=lambda alpha, space: {c: alpha[c] for c in space.cell_types},
        settle=lambda alpha, space: _paths(alpha, space),
    )


def relax(key: Key, alpha: Alpha, progress: Array, space: SearchSpace) -> Architecture:
    """For alpha's pass: D(alpha) as a mixture, its gradient straight to alpha."""
    del key, progress
    runs = {}
    for name in space.cell_types:
        discrete, kept = discretised(alpha[name], space)
        hard, soft = jnp.where(kept[:, None], discrete, 0), alpha[name]
        runs[name] = Mixture(hard + soft - lax.stop_gradient(soft))
    return runs


def weight_relax(
    key: Key, alpha: Alpha, progress: Array, space: SearchSpace
) -> Architecture:
    """For the weights' pass: D(alpha) as a path."""
    del key, progress
    return _paths(lax.stop_gradient(alpha), space)


def _paths(alpha: Alpha, space: SearchSpace) -> Architecture:
    runs = {}
    for name in space.cell_types:
        discrete, kept = discretised(alpha[name], space)
        runs[name] = to_path(discrete)._replace(active=kept)
    return runs


def project(
    alpha: Alpha, architecture: Architecture, progress: Array, space: SearchSpace
) -> Alpha:
    """Alpha clipped to [0, 1]."""
    del architecture, progress
    return {name: jnp.clip(alpha[name], 0, 1) for name in space.cell_types}


def discretised(alpha: Array, space: SearchSpace) -> tuple[Array, Array]:
    """One-hot ``[E, O]`` of the strongest operations, and the kept edges ``[E]``."""
    chosen = jax.nn.one_hot(jnp.argmax(alpha, axis=-1), alpha.shape[-1])
    return chosen, relaxations.strongest_edges(space, alpha.max(axis=-1))
