"""Schedules: functions of progress, 0 at the first step and 1 at the end."""

import inspect
import math
import re
from collections.abc import Callable

import jax
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


def exponential(start: float, end: float) -> Schedule:
    """From ``start`` to ``end``, both above 0, by an equal factor an equal time.

    >>> round(float(exponential(100.0, 1.0)(jnp.float32(0.5))), 3)
    10.0
    """
    if not (start > 0 and end > 0):
        raise ValueError(f"exponential({start}, {end}) has an end that is not above 0")

    def schedule(progress: Array) -> Array:
        return start * (end / start) ** progress

    return schedule


def steps(start: float, end: float, number: int) -> Schedule:
    """From ``start`` to ``end`` in ``number`` values, each for an equal time.

    >>> [round(float(steps(0.0, 0.3, 4)(jnp.float32(p))), 2) for p in (0, 0.25, 0.9, 1)]
    [0.0, 0.1, 0.3, 0.3]
    """
    if not (number >= 2 and number == int(number)):
        raise ValueError(f"steps has {number} values; it has at least 2")
    height = (end - start) / (number - 1)

    def schedule(progress: Array) -> Array:
        stair = jnp.clip(jnp.floor(progress * number), 0, number - 1)
        return start + height * stair

    return schedule


#: Schedules by the names that a configuration uses.
SCHEDULES: dict[str, Callable[..., Schedule]] = {
    "constant": constant,
    "cosine": cosine,
    "exponential": exponential,
    "linear": linear,
    "steps": steps,
}


def parse(text: str) -> Schedule:
    """A schedule from its text, such as ``linear(0.3, 0)``.

    Raises:
      ValueError: an unknown name, or other arguments than its function takes.

    >>> float(parse("linear(10, 0.1)")(jnp.float32(0)))
    10.0
    """
    match = re.fullmatch(r"\s*([a-z]+)\(([^()]*)\)\s*", text)
    known = ", ".join(
        f"{name}{inspect.signature(make)}".split(" ->")[0].replace(": float", "")
        for name, make in SCHEDULES.items()
    ).replace(": int", "")
    if match is None or match[1] not in SCHEDULES:
        raise ValueError(f"{text!r} is not one of {known}")
    make = SCHEDULES[match[1]]
    try:
        values = [float(part) for part in match[2].split(",")]
        inspect.signature(make).bind(*values)
    except (ValueError, TypeError):
        raise ValueError(f"{text!r} is not of the form of one of {known}") from None
    if not all(map(math.isfinite, values)):
        raise ValueError(f"{text!r} has a value that is not finite")
    return make(*values)


def check(name: str, schedule: Schedule) -> None:
    """Refuse what is no schedule, such as a number.

    Raises:
      ValueError: with what is one.
    """
    if not callable(schedule):
        value = schedule if isinstance(schedule, int | float) else 1
        raise ValueError(
            f"{name} is {schedule!r}; expected is a function of progress, such as "
            f"schedules.constant({value}) or schedules.linear(0, 1)"
        )


def check_above_zero(name: str, schedule: Schedule) -> None:
    """Refuse a schedule that reaches 0 or below.

    Raises:
      ValueError: with its lowest value, or as `check` does.
    """
    check(name, schedule)
    with jax.ensure_compile_time_eval():  # a method may be made inside a jit
        lowest = float(jax.vmap(schedule)(jnp.linspace(0.0, 1.0, 101)).min())
    if not lowest > 0:
        raise ValueError(f"{name} goes down to {lowest:g}; it must stay above 0")


def by_epoch(schedule: Schedule, *, steps_per_epoch: int, epochs: int) -> Schedule:
    """A schedule of the step count that changes only between epochs.

    The published searches anneal the learning rate once an epoch.
    """

    def of_step(step: Array) -> Array:
        return schedule((step // steps_per_epoch).astype(jnp.float32) / epochs)

    return of_step
