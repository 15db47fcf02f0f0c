"""A loop that adds to the rows of a stack, each of them for several turns.

A CPU writes into a stack on one thread. What the turns of one row add is therefore
summed by itself, on all threads, and the stack is written once a row.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jax import lax

from nasjax.base import Array

# By slices, not by `lax.dynamic_index_in_dim` and the like: these are jitted functions,
# and a call that stands apart is a pass over memory.


def take_row(stack: Array, at: Array) -> Array:
    """A row of a stack ``[S, ...]``; its number is not negative."""
    start, size = _row(stack, at)
    row = lax.dynamic_slice(stack, start, size, allow_negative_indices=False)
    return lax.squeeze(row, [0])


def put_row(stack: Array, row: Array, at: Array) -> Array:
    """A stack with a row replaced."""
    start, _ = _row(stack, at)
    return lax.dynamic_update_slice(
        stack, row[None], start, allow_negative_indices=False
    )


def _row(stack: Array, at: Array) -> tuple[tuple[Any, ...], tuple[int, ...]]:
    """Where a row starts, and its size."""
    rest = stack.shape[1:]
    return (at, *(0 for _ in rest)), (1, *rest)


class Segment(NamedTuple):
    """The row that a turn adds to; of all turns, stacked.

    Attributes:
      at: its number.
      starts: whether the turn before adds to another one, or there is none.
      ends: whether the turn after adds to another one, or there is none.
    """

    at: Any
    starts: Any
    ends: Any


def segments_of(turns: Sequence[int]) -> Segment:
    """The rows, turn by turn; the turns of one row must follow one another.

    >>> segments_of([2, 2, 3]).ends
    array([False,  True,  True])
    """
    at = np.array(turns, np.int32)
    changes = at[1:] != at[:-1]
    return Segment(at, np.append(True, changes), np.append(changes, True))


def segment_sum(total: Array, row: Segment) -> Array:
    """``[...]``, what turns before this one have added to its row.

    Args:
      total: the sum after the turn before, of whatever row.
      row: of this turn.
    """
    return lax.select(row.starts, lax.full_like(total, 0), total)


def flush_segment(stack: Array, total: Array, row: Segment) -> Array:
    """The stack ``[S, ...]`` with a row's sum added to it, if the turn ends the row."""

    def add() -> Array:
        # Not `take_row` and `put_row`, of which the compiler makes two passes.
        return stack.at[row.at].add(total, mode="promise_in_bounds")

    return lax.cond(row.ends, add, lambda: stack)
