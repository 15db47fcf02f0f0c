"""DropBlock on skip-connects (Ghiasi et al., arXiv 1810.12890; MSG-DAS section 3.3)."""

from functools import reduce

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.random import threefry_2x32

from nasjax.base import Array, Key, Tree
from nasjax.ops import Context, Operation


def drop_block(
    key: Key,
    x: Array,
    *,
    rate: Array | float,
    block_size: int = 3,
    offset: Array | int = 0,
) -> Array:
    """Zero square blocks of each channel of each example, rescale what is kept.

    Consumes the key. Centres are drawn where a block fits, from 16 bits each, at the
    rate that drops ``rate`` of the units on average; the kept ones are scaled by the
    share of them in their example, so that neither the batch nor the devices matter to
    an example.

    Args:
      key: PRNG key.
      x: ``[C, H, W, B]``.
      rate: share of the units, 0 leaves x as it is.
      block_size: pixels, cut to the feature map where that is smaller.
      offset: of the first example in the batch of all devices.

    Returns:
      ``[C, H, W, B]``.
    """
    channels, height, width, batch = x.shape
    rows, columns = min(block_size, height), min(block_size, width)
    fits = (height - rows + 1) * (width - columns + 1)
    seed_rate = rate / (rows * columns) * (height * width / fits)

    limit = jnp.round(jnp.minimum(seed_rate, 1.0) * 2**16).astype(jnp.uint32)

    shape = channels, height - rows + 1, width - columns + 1
    drawn = _draws_by_example(key, shape, batch, offset) < limit
    dropped = _spread(_spread(drawn, rows, axis=1), columns, axis=2)
    keep = 1.0 - dropped.astype(jnp.float32)
    share = keep.mean(axis=(0, 1, 2), keepdims=True)
    return x * (keep / jnp.maximum(share, 1e-6)).astype(x.dtype)


def _draws_by_example(
    key: Key, shape: tuple[int, int, int], batch: int, offset: Array | int
) -> Array:
    """16 random bits for each entry of ``[C, H, W, B]``, as uint32.

    An example's depend on its number in the batch of all devices, ``offset`` on. One
    block of Threefry counts a position and an example, and is cut into four entries:
    a quarter of what `jax.random.bits` would compute, in the order we lay arrays out.
    """
    channels, height, width = shape
    quarter = -(-channels // 4)
    count = (quarter, height, width, batch)
    position = lax.iota(jnp.uint32, quarter * height * width).reshape(*count[:3], 1)
    example = lax.iota(jnp.uint32, batch) + jnp.asarray(offset).astype(jnp.uint32)
    counts = [
        jnp.broadcast_to(position, count),
        jnp.broadcast_to(example[None, None, None], count),
    ]
    pair = jax.random.bits(key, (2,), jnp.uint32)
    words = threefry_2x32((pair[0], pair[1]), jnp.stack(counts))
    halves = jnp.stack([words & 0xFFFF, words >> 16])
    return halves.reshape(4 * quarter, *count[1:])[:channels]


def _spread(drawn: Array, size: int, *, axis: int) -> Array:
    """The ``size`` positions from each drawn one on."""
    length = drawn.shape[axis] + size - 1
    padding = [(size - 1, size - 1) if at == axis else (0, 0) for at in range(4)]
    padded = jnp.pad(drawn, padding)
    shifted = (
        lax.slice_in_dim(padded, start, start + length, axis=axis)
        for start in range(size)
    )
    return reduce(jnp.logical_or, shifted)


def with_drop_block(operation: Operation, *, block_size: int) -> Operation:
    """The operation with DropBlock on its output where its stride is 1."""

    def apply(weights: Tree, x: Array, stride: int, context: Context) -> Array:
        y = operation.apply(weights, x, stride, context)
        if stride != 1 or context.drop is None:
            return y
        offset: Array | int = 0
        if context.axis_name is not None:
            offset = lax.axis_index(context.axis_name) * y.shape[-1]
        return drop_block(
            context.drop.key,
            y,
            rate=context.drop.rate,
            block_size=block_size,
            offset=offset,
        )

    return operation._replace(apply=apply, before_norm=None)
