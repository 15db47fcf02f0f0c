"""Types and errors shared by the whole library, and the axis glossary.

Axes, used in every docstring and trailing comment:

====  =======================================================================
B     batch
H W   height, width
C     channels
E     edges of a cell (target-major: 2←0, 2←1, 3←0, …)
O     candidate operations of an edge
N     intermediate nodes of a cell
S     states of a cell: its inputs, then its intermediate nodes
L     cells of a network
K     sub-graphs sampled at once (MSG-DAS), voting teachers (SD-DARTS)
M     examples of a split
Y     classes
====  =======================================================================

Feature maps are ``[C, H, W, B]``: 1×1 convolutions become one matrix product,
a mask over examples or a bias over channels never needs a transposition, and a
backend is free to store them in another physical order. Images enter as
``[B, H, W, C]``.

"Progress" is a fraction of the search, 0 at the first step, 1 at the end.
"""

from typing import Any

import jax

Array = jax.Array
#: A typed PRNG key (``jax.random.key``); a function that takes one consumes it.
Key = jax.Array
#: Any nest of arrays.
Tree = Any
#: Sums over examples, by name, to be divided by their counts.
Metrics = dict[str, Array]


class InputError(ValueError):
    """A user's mistake: one line that says what was given and what is allowed.

    The launchers print it to stderr without a traceback and exit with code 2.
    """


class RunError(RuntimeError):
    """A run that cannot go on although it was asked for rightly, in one line.

    Numbers that are none any more, a full disk, no memory left. What the line says is
    where the run stands and what helps; the launchers print it and exit with code 1.
    """
