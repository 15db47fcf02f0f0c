"""DSNAS: one path, alpha by its log-probability (Hu et al., arXiv 2002.09128)."""

import jax
import jax.numpy as jnp
from jax import lax

from nasjax.architecture import Path
from nasjax.base import Array, Key
from nasjax.methods.base import Alpha, Method, map_cell_types
from nasjax.spaces.base import SearchSpace
from nasjax.supernet import Architecture


def dsnas(*, alpha_mean: float = 1.0, alpha_scale: float = 0.01) -> Method:
    """A path drawn by softmax(alpha), its weights 1 with the gradient of Eq. 7.

    An edge's weight is ``1 + log p - sg(log p)`` of the operation that is run: 1, with
    ``dL/dZ · d log p / d alpha`` as alpha's gradient. The paper trains alpha and the
    weights on the same examples; here alpha has the validation half and is trained
    first (a deviation). Its early fixing of edges is not here.

    Args:
      alpha_mean: alpha starts at this ...
      alpha_scale: ... plus this times N(0, 1).
    """

    def init(key: Key, space: SearchSpace) -> Alpha:
        keys = jax.random.split(key, len(space.cell_types))
        shape = space.num_edges, space.num_ops
        return {
            name: alpha_mean + alpha_scale * jax.random.normal(one, shape)
            for name, one in zip(space.cell_types, keys, strict=True)
        }

    def relax(
        key: Key, alpha: Alpha, progress: Array, space: SearchSpace
    ) -> Architecture:
        del progress
        return map_cell_types(sample, key, alpha, space)

    return Method("dsnas", init, relax)


def sample(key: Key, alpha: Array) -> Path:
    """A path of ``alpha [E, O]``. Consumes the key."""
    operation = jax.random.categorical(key, alpha).astype(jnp.int32)
    chosen = operation[:, None]
    log = jnp.take_along_axis(jax.nn.log_softmax(alpha), chosen, axis=-1)[:, 0]
    return Path(
        operation, 1.0 + log - lax.stop_gradient(log), jnp.ones(len(operation), bool)
    )
