"""Sums of a stack's rows, turn after turn, against NumPy's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from nasjax.engine.scan.rows import flush_segment, segment_sum, segments_of


@pytest.mark.parametrize("turns", [[0], [2, 2, 2], [1, 1, 0, 3, 3, 3], [3, 2, 1, 0]])
def test_rows_are_sums_of_their_turns(turns: list[int]) -> None:
    stack = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    values = np.random.default_rng(1).normal(size=(len(turns), 3)).astype(np.float32)

    def step(carry, turn):
        (stack, total), (row, value) = carry, turn
        total = segment_sum(total, row) + value
        return (flush_segment(stack, total, row), total), None

    start = jnp.asarray(stack), jnp.full(3, jnp.nan)  # nothing of it may be read
    run = jax.jit(
        lambda values: lax.scan(step, start, (segments_of(turns), values))[0][0]
    )
    np.add.at(stack, turns, values)
    np.testing.assert_allclose(run(values), stack, rtol=1e-6)
