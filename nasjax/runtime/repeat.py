"""A step repeated on the device, until a given one or until a number is none."""

from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax import lax

from nasjax.base import Array, Tree
from nasjax.base import Metrics as Metrics
from nasjax.runtime.finite import STEPS, all_finite


def first_slot(axis_name: str | None, width: int) -> Array | int:
    """The first of a device's ``width`` slots of the batch that all devices share."""
    return 0 if axis_name is None else lax.axis_index(axis_name) * width


class Repeat(Protocol):
    """`run_until`, or what repeats a step otherwise."""

    def __call__(
        self,
        stop: Array | int,
        one: Callable[[Any], tuple[Any, Metrics]],
        state: Any,
        *,
        sound: Callable[[Any], Tree],
    ) -> tuple[Any, Metrics]:
        """The last state, and the sums of the metrics with the ``steps`` done."""


def run_until(
    stop: Array | int,
    one: Callable[[Any], tuple[Any, Metrics]],
    state: Any,
    *,
    sound: Callable[[Any], Tree],
) -> tuple[Any, Metrics]:
    """Repeat ``one(state) -> (state, metrics)`` until ``state.step == stop``.

    Ends by itself after a step whose metrics, or whose part of the state that ``sound``
    names, are not all numbers, and does nothing from such a state.

    Returns:
      The last state, and the sums of the metrics with the number of ``steps`` done.
    """
    first = state.step

    def goes_on(carry: tuple[Any, Metrics]) -> Array:
        state, metrics = carry
        return (state.step < stop) & all_finite((sound(state), metrics))

    def body(carry: tuple[Any, Metrics]) -> tuple[Any, Metrics]:
        state, metrics = one(carry[0])
        return state, jax.tree.map(jnp.add, carry[1], metrics)

    state, metrics = lax.while_loop(goes_on, body, (state, no_metrics(one, state)))
    return state, metrics | {STEPS: state.step - first}


def no_metrics(one: Callable[[Any], tuple[Any, Metrics]], state: Any) -> Metrics:
    """Zeros for the sums of what ``one`` measures."""
    return jax.tree.map(
        lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(one, state)[1]
    )
