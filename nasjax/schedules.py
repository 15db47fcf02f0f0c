"""Schedules: values that follow progress, 0 at the first step and 1 at the end.

A `Schedule` is a type of its own because optax's schedules, functions too, count
steps: 0.025 falling to 0 by progress would be 0 from the second step on. Neither is
taken for the other; `Schedule.of_steps` turns one into the other.
"""

import dataclasses
import inspect
import math
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from nasjax.base import Array


@dataclasses.dataclass(frozen=True, repr=False)
class Schedule:
    """A value that follows the progress of a search.

    Attributes:
      value: ``progress -> value``, traceable, for a float32 scalar in [0, 1].
      text: how messages show it.

    >>> squared = Schedule(lambda progress: progress**2, "progress squared")
    >>> squared, float(squared(jnp.float32(0.5)))
    (progress squared, 0.25)
    """

    value: Callable[[Array], Any]
    text: str = "a schedule of progress"

    def __call__(self, progress: Array) -> Array:
        """The value at a progress."""
        return self.value(progress)

    def __repr__(self) -> str:
        return self.text

    def of_steps(
        self, *, steps_per_epoch: int, epochs: int, every: str = "epoch"
    ) -> optax.Schedule:
        """The same as a schedule of optax, a function of the number of steps done.

        Args:
          steps_per_epoch: steps per epoch.
          epochs: of the whole search.
          every: "epoch" for one value per epoch, as the published searches anneal the
            learning rate; "step" for one per step.

        Raises:
          ValueError: another word.

        >>> falling = linear(1.0, 0.0).of_steps(steps_per_epoch=3, epochs=4)
        >>> [float(falling(jnp.int32(step))) for step in (0, 2, 3, 11)]
        [1.0, 1.0, 0.75, 0.25]
        """
        if every not in ("epoch", "step"):
            raise ValueError(f"{every=} is not one of epoch, step")

        def of_step(step: Array) -> Array:
            if every == "epoch":
                return self((step // steps_per_epoch).astype(jnp.float32) / epochs)
            return self(step.astype(jnp.float32) / (steps_per_epoch * epochs))

        return of_step


def linear(start: float, end: float) -> Schedule:
    """From ``start`` to ``end`` in a straight line.

    >>> linear(0.3, 0.0), float(linear(0.3, 0.0)(jnp.float32(0.5)))
    (linear(0.3, 0), 0.15000000596046448)
    """
    value = optax.linear_schedule(start, end, transition_steps=1)
    return Schedule(value, f"linear({start:g}, {end:g})")


def constant(value: float) -> Schedule:
    """The same value throughout."""
    return Schedule(linear(value, value).value, f"constant({value:g})")


def cosine(start: float, end: float) -> Schedule:
    """From ``start`` to ``end`` along half a cosine (SGDR without restarts)."""

    def value(progress: Array) -> Array:
        return end + 0.5 * (start - end) * (1.0 + jnp.cos(jnp.pi * progress))

    return Schedule(value, f"cosine({start:g}, {end:g})")


def exponential(start: float, end: float) -> Schedule:
    """From ``start`` to ``end``, both above 0, by an equal factor in equal times.

    >>> round(float(exponential(100.0, 1.0)(jnp.float32(0.5))), 3)
    10.0
    """
    if not (start > 0 and end > 0):
        raise ValueError(f"exponential({start}, {end}) has an end that is not above 0")

    def value(progress: Array) -> Array:
        return start * (end / start) ** progress

    return Schedule(value, f"exponential({start:g}, {end:g})")


def steps(start: float, end: float, number: int) -> Schedule:
    """From ``start`` to ``end`` in ``number`` values, each for an equal time.

    >>> [round(float(steps(0.0, 0.3, 4)(jnp.float32(p))), 2) for p in (0, 0.25, 0.9, 1)]
    [0.0, 0.1, 0.3, 0.3]
    """
    if not (number >= 2 and number == int(number)):
        raise ValueError(f"steps has {number} values; it has at least 2")
    height = (end - start) / (number - 1)

    def value(progress: Array) -> Array:
        stair = jnp.clip(jnp.floor(progress * number), 0, number - 1)
        return start + height * stair

    return Schedule(value, f"steps({start:g}, {end:g}, {number:g})")


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
    """Refuse what is no schedule of progress: a number, a schedule of optax.

    Raises:
      ValueError: with what is one.
    """
    if isinstance(schedule, Schedule):
        return
    if callable(schedule):
        raise ValueError(
            f"{name} is a plain function; expected is a schedule of progress: "
            "schedules.Schedule(function) makes one of a function of progress"
        )
    value = schedule if isinstance(schedule, int | float) else 1
    raise ValueError(
        f"{name} is {schedule!r}; expected is a schedule of progress, such as "
        f"schedules.constant({value}) or schedules.linear(0, 1)"
    )


def check_above_zero(name: str, schedule: Schedule) -> None:
    """Refuse a schedule that reaches 0 or below.

    Raises:
      ValueError: with its lowest value, or as `check` does.
    """
    check(name, schedule)
    with jax.ensure_compile_time_eval():  # a method may be made inside a jit
        lowest = float(jax.vmap(schedule.value)(jnp.linspace(0.0, 1.0, 101)).min())
    if not lowest > 0:
        raise ValueError(f"{name} goes down to {lowest:g}; it must stay above 0")
