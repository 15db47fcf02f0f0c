"""Schedules: functions of progress, 0 at the first step and 1 at the end."""

import jax.numpy as jnp
import optax

from nasjax.base import Array, Schedule


def linear(start: float, end: float) -> Schedule:
    """From ``start`` to ``end`` in a straight line.

    >>> float(linear(0.3, 0.0)(jnp.float32(0.5)))
    0.15000000596046448
    """
    return optax.linear_schedule(start, end, transition_steps=1)


def constant(value: float) -> Schedule:
    """The same value throughout."""
    return linear(value, value)


def cosine(start: float, end: float) -> Schedule:
    """From ``start`` to ``end`` along half a cosine (SGDR without restarts)."""

    def schedule(progress: Array) -> Array:
        return end + 0.5 * (start - end) * (1.0 + jnp.cos(jnp.pi * progress))

    return schedule


def by_epoch(schedule: Schedule, *, steps_per_epoch: int, epochs: int) -> Schedule:
    """A schedule of the step count that changes only between epochs.

    The published searches anneal the learning rate once an epoch.
    """

    def of_step(step: Array) -> Array:
        return schedule((step // steps_per_epoch).astype(jnp.float32) / epochs)

    return of_step
