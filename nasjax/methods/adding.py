"""Terms added to a method's losses."""

from collections.abc import Callable, Mapping

from nasjax import schedules
from nasjax.base import Array
from nasjax.methods.base import Method, Terms
from nasjax.schedules import Schedule


def add_weight_loss(
    method: Method,
    loss: Callable[[Terms], Array],
    *,
    strength: Schedule = schedules.constant(1.0),
    name: str = "",
) -> Method:
    """The method with one more term in the weights' loss.

    Args:
      method: to add to.
      loss: of one sub-graph.
      strength: factor of it, by progress.
      name: of the strength among the method's schedules; "" leaves it out.

    Raises:
      ValueError: a strength that is a number and no schedule.
    """
    schedules.check(name or "strength", strength)
    first = method.weight_loss
    return method._replace(
        weight_loss=lambda terms: first(terms) + strength(terms.progress) * loss(terms),
        schedules=_with(method, name, strength),
    )


def add_arch_loss(
    method: Method,
    loss: Callable[[Terms], Array],
    *,
    strength: Schedule = schedules.constant(1.0),
    name: str = "",
) -> Method:
    """The method with one more term in alpha's loss; see `add_weight_loss`."""
    schedules.check(name or "strength", strength)
    first = method.arch_loss
    return method._replace(
        arch_loss=lambda terms: first(terms) + strength(terms.progress) * loss(terms),
        schedules=_with(method, name, strength),
    )


def _with(method: Method, name: str, schedule: Schedule) -> Mapping[str, Schedule]:
    return {**method.schedules, name: schedule} if name else method.schedules
