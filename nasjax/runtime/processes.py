"""Several processes, each with devices of its own, that make one run together.

All run the same program. What only one of them knows (a signal, a clock, a file) is
agreed upon here, so that no process goes another way than the others: a collective that
not all of them enter never ends. A process alone agrees with itself at once.
"""

from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from nasjax.base import Tree

State = TypeVar("State", bound=Tree)

#: Bytes sent at once; each device holds them once for every process meanwhile.
_CHUNK = 1 << 24


def is_first() -> bool:
    """Whether this process writes the files and speaks for all."""
    return not jax.distributed.is_initialized() or jax.process_index() == 0


def are_several() -> bool:
    """Whether there are others."""
    return jax.distributed.is_initialized() and jax.process_count() > 1


def largest(value: int) -> int:
    """The largest of what the processes say; all must ask at the same point."""
    if not are_several():
        return value
    return int(multihost_utils.process_allgather(np.int32(value)).max())


def any_of(flag: bool) -> bool:
    """Whether one of the processes says so; all must ask at the same point."""
    return bool(largest(int(flag)))


def from_first(state: State) -> State:
    """The arrays that the first process has, to the bit, keys among them.

    All must ask at the same point, with arrays of the same shapes.
    """
    if not are_several():
        return state
    leaves, structure = jax.tree.flatten(state)
    arrays = [
        np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)
        for leaf in leaves
    ]
    # As bytes: a sum with the zeros of the others would lose the sign of zeros.
    sent = np.concatenate(
        [np.ascontiguousarray(a).reshape(-1).view(np.uint8) for a in arrays]
    )
    chunks = [sent[at : at + _CHUNK] for at in range(0, sent.size, _CHUNK)]
    got = np.concatenate([multihost_utils.broadcast_one_to_all(c) for c in chunks])
    ends = np.cumsum([array.nbytes for array in arrays])[:-1]
    parts = [
        part.copy().view(array.dtype).reshape(array.shape)
        for part, array in zip(np.split(got, ends), arrays, strict=True)
    ]
    found = [
        jax.random.wrap_key_data(jnp.asarray(part), impl=jax.random.key_impl(leaf))
        if _is_key(leaf)
        else jnp.asarray(part)
        for leaf, part in zip(leaves, parts, strict=True)
    ]
    return jax.tree.unflatten(structure, found)


def gather(array: jax.Array) -> jax.Array:
    """``[m, ...]`` of each process, one after another: ``[P m, ...]`` in all."""
    if not are_several():
        return array
    return jnp.asarray(multihost_utils.process_allgather(array, tiled=True))


def _is_key(leaf: jax.Array) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
