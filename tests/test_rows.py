"""Sums of a stack's rows, turn after turn, against NumPy's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from nasjax.cell.rows import add_total, rows_of, so_far


@pytest.mark.parametrize("turns", [[0], [2, 2, 2], [1, 1, 0, 3, 3, 3], [3, 2, 1, 0]])
def test_rows_are_sums_of_their_turns(turns: list[int]) -> None:
    stack = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    values = np.random.default_rng(1).normal(size=(len(turns), 3)).astype(np.float32)

    def step(carry, turn):
        (stack, total), (row, value) = carry, turn
        total = so_far(total, row) + value
        return (add_total(stack, total, row), total), None

    start = jnp.asarray(stack), jnp.full(3, jnp.nan)  # nothing of it may be read
    run = jax.jit(lambda values: lax.scan(step, start, (rows_of(turns), values))[0][0])
    np.add.at(stack, turns, values)
    np.testing.assert_allclose(run(values), stack, rtol=1e-6)
