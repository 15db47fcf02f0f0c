"""Random search with weight sharing (Li and Talwalkar, arXiv 1902.07638)."""

from functools import partial

import jax
import jax.numpy as jnp

from nasjax import relaxations
from nasjax.architecture import Path
from nasjax.base import Array, Key
from nasjax.methods.base import (
    Alpha,
    Candidates,
    Method,
    constant_alpha,
    map_cell_types,
)
from nasjax.methods.stc_nas import derivable
from nasjax.spaces.base import SearchSpace
from nasjax.supernet import Architecture


def random_sampling(
    *, candidates: int = 1000, batches: int = 10, finalists: int = 10
) -> Method:
    """A uniformly random cell in every step; the best of many on validation at the end.

    Alpha is not trained. It is 0 until the end, and then 1 at the operations of the
    architecture that was chosen.

    Args:
      candidates: architectures drawn at the end.
      batches: of the validation half on which each is measured (the paper says "a
        partial validation set").
      finalists: of which the best on the whole half is taken.

    Raises:
      ValueError: a number below 1, or more finalists than candidates.
    """
    for name, value in {"candidates": candidates, "batches": batches}.items():
        if value < 1:
            raise ValueError(f"{name}={value} is not at least 1")
    if not 1 <= finalists <= candidates:
        raise ValueError(f"{finalists=} is not from 1 to {candidates}, the candidates")
    return Method(
        "random",
        constant_alpha(0.0),
        relax,
        strengths=lambda alpha, space: {name: alpha[name] for name in space.cell_types},
        settle=settle,
        adapt=derivable,
        order=0,
        candidates=Candidates(candidates, batches, finalists),
    )


def relax(key: Key, alpha: Alpha, progress: Array, space: SearchSpace) -> Architecture:
    """Uniform over operations and over the edges a genotype may keep, at alpha 0.

    Noise below 1 on top of alpha: where alpha holds a chosen architecture as ones, that
    is what is run.
    """
    del progress
    return map_cell_types(partial(_sample, space), key, alpha, space)


def settle(alpha: Alpha, space: SearchSpace) -> Architecture:
    """The architecture that was chosen; until then one of those drawn, always the same.

    Before the choice none is more probable than another.
    """
    return relax(jax.random.key(0), alpha, jnp.ones(()), space)


def _sample(space: SearchSpace, key: Key, alpha: Array) -> Path:
    sample = relaxations.sample_kronecker(key, alpha, noise_range=1.0)
    active = relaxations.strongest_edges(space, sample.score)
    return Path(sample.operation, jnp.ones_like(sample.weight), active)
