"""DropBlock on skip-connects (Ghiasi et al., arXiv 1810.12890; MSG-DAS section 3.3)."""

from functools import reduce

import jax
import jax.numpy as jnp
from jax import lax

from nasjax.base import Array, Key, Tree
from nasjax.layers import Context
from nasjax.operations import Operation


def drop_block(
    key: Key,
    x: Array,
    *,
    rate: Array | float,
    block_size: int = 3,
    rescale: bool = False,
    offset: Array | int = 0,
) -> Array:
    """Zero square blocks of each channel of each example.

    Consumes the key. Centres are drawn where a block fits, from 16 bits each, at the
    rate of DropBlock's Eq. 1, which drops ``rate`` of the units if blocks never meet.
    They overlap, so the share is less: at 0.2, 18 % of a map of 8, 16 or 32 pixels.
    As a block lies inside its map, a unit of the border is in fewer of them: of 8×8
    pixels a corner is dropped with 4 %, an inner unit with 30 %, of 16×16 with 3 and
    23 %.

    Sources: MSG-DAS Eq. 4-6, which rest on E[mask] = p and keep the units as they are;
    DropBlock's own Algorithm 1 scales them up (``rescale``). Here by the share kept in
    each example, not in the batch, so that neither the batch nor the devices matter to
    an example: a deviation.

    Args:
      key: PRNG key.
      x: ``[C, H, W, B]``.
      rate: share of the units, 0 leaves x as it is.
      block_size: pixels, cut to the feature map where that is smaller.
      rescale: divide what is kept by its share, so that a sum of ones is kept.
      offset: of the first example in the batch of all devices.

    Returns:
      ``[C, H, W, B]``.

    >>> for size in (8, 16, 32):
    ...     ones = jnp.ones((8, size, size, 64))
    ...     y = drop_block(jax.random.key(0), ones, rate=0.2)
    ...     print(f"{1 - y.mean():.2f}")
    0.18
    0.18
    0.18
    """
    channels, height, width, batch = x.shape
    rows, columns = min(block_size, height), min(block_size, width)
    fits = (height - rows + 1) * (width - columns + 1)
    seed_rate = rate / (rows * columns) * (height * width / fits)

    limit = jnp.round(jnp.minimum(seed_rate, 1.0) * 2**16).astype(jnp.uint32)

    shape = channels, height - rows + 1, width - columns + 1
    fours = _drawn_in_fours(key, shape, batch, offset, limit)
    fours = _spread(_spread(fours, rows, axis=1), columns, axis=2)
    dropped = jnp.concatenate([(fours >> n) & 1 for n in range(4)])[:channels]
    keep = 1.0 - dropped.astype(jnp.float32)
    if not rescale:
        return x * keep.astype(x.dtype)
    share = keep.mean(axis=(0, 1, 2), keepdims=True)
    return x * (keep / jnp.maximum(share, 1e-6)).astype(x.dtype)


def _drawn_in_fours(
    key: Key,
    shape: tuple[int, int, int],
    batch: int,
    offset: Array | int,
    limit: Array,
) -> Array:
    """Which entries of ``[C, H, W, B]`` are drawn, by 16 random bits below a limit.

    An example's depend on its number in the batch of all devices, ``offset`` on. One
    block of Threefry counts a position and an example, and is cut into four entries:
    a quarter of what `jax.random.bits` would compute, in the order we lay arrays out.

    Returns:
      uint8 ``[ceil(C/4), H, W, B]``; bit n is of the n-th quarter of the channels.
    """
    channels, height, width = shape
    quarter = -(-channels // 4)
    position = lax.iota(jnp.uint32, quarter * height * width)
    example = lax.iota(jnp.uint32, batch) + jnp.asarray(offset).astype(jnp.uint32)
    first, second = jax.random.bits(key, (2,), jnp.uint32)
    words = _threefry(
        (first, second),
        position.reshape(quarter, height, width, 1),
        example[None, None, None],
    )
    entries = [*(word & 0xFFFF for word in words), *(word >> 16 for word in words)]
    bits = [(entry < limit).astype(jnp.uint8) << n for n, entry in enumerate(entries)]
    return reduce(jnp.bitwise_or, bits)


_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA


def _threefry(key: tuple[Array, Array], x: Array, y: Array) -> tuple[Array, Array]:
    """Threefry-2x32 of 20 rounds (Salmon et al., SC 2011, section 3.3), as JAX has it.

    JAX's own is a loop on a CPU, of many passes over memory; this is one.
    """
    keys = (*key, key[0] ^ key[1] ^ jnp.uint32(_PARITY))
    x, y = x + keys[0], y + keys[1]
    for group in range(5):
        for bits in _ROTATIONS[group % 2]:
            x = x + y
            y = ((y << bits) | (y >> (32 - bits))) ^ x
        x = x + keys[(group + 1) % 3]
        y = y + keys[(group + 2) % 3] + jnp.uint32(group + 1)
    return x, y


def _spread(drawn: Array, size: int, *, axis: int) -> Array:
    """The ``size`` positions from each drawn one on, for every bit by itself."""
    length = drawn.shape[axis] + size - 1
    padding = [(size - 1, size - 1) if at == axis else (0, 0) for at in range(4)]
    padded = jnp.pad(drawn, padding)
    shifted = (
        lax.slice_in_dim(padded, start, start + length, axis=axis)
        for start in range(size)
    )
    return reduce(jnp.bitwise_or, shifted)


def with_drop_block(
    operation: Operation, *, block_size: int = 3, rescale: bool = False
) -> Operation:
    """The operation with DropBlock on its output where its stride is 1.

    Args:
      operation: any.
      block_size: see `drop_block`.
      rescale: likewise.
    """

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
            rescale=rescale,
            offset=offset,
        )

    form = operation.form and operation.form._replace(dropped=True)
    return operation._replace(apply=apply, before_norm=None, form=form)
