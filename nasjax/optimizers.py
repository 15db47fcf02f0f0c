"""Optimizers of weights and alpha, with the defaults of DARTS's search.

A learning rate is a number, a schedule of optax (of steps), or a
`nasjax.schedules.Schedule` (of progress): what the latter means in steps only the
search knows, which makes the optimizer of it (`over`).
"""

from collections.abc import Callable
from typing import Any, NoReturn

import optax

from nasjax.base import Tree
from nasjax.schedules import Schedule

_Make = Callable[[float | optax.Schedule], optax.GradientTransformation]


class ByProgress(optax.GradientTransformationExtraArgs):
    """An optimizer whose learning rate follows the progress of a search.

    Its first state does not depend on the rate; its ``update`` is that of `over`.
    """

    _make: _Make
    _rate: Schedule
    _every: str

    def __new__(cls, make: _Make, rate: Schedule, every: str) -> "ByProgress":
        """The optimizer that ``make`` makes of a rate, which changes ``every`` so."""

        def update(*_: Any, **__: Any) -> NoReturn:
            raise ValueError(
                f"learning_rate is {rate!r}, which follows progress; outside of a "
                "search take optimizers.over(optimizer, steps_per_epoch=…, epochs=…)"
            )

        first = make(rate.of_steps(steps_per_epoch=1, epochs=1, every=every))
        self = super().__new__(cls, first.init, update)
        self._make, self._rate, self._every = make, rate, every
        return self

    def over(
        self, *, steps_per_epoch: int, epochs: int
    ) -> optax.GradientTransformation:
        """The optimizer in a search of so many steps."""
        rate = self._rate.of_steps(
            steps_per_epoch=steps_per_epoch, epochs=epochs, every=self._every
        )
        return self._make(rate)


def over(
    optimizer: optax.GradientTransformation, *, steps_per_epoch: int, epochs: int
) -> optax.GradientTransformation:
    """An optimizer in a search of so many steps; any that count steps as they are.

    >>> from nasjax import schedules
    >>> sgd = weight_optimizer(schedules.linear(0.5, 0.0), momentum=0.0, clip_norm=0.0)
    >>> sgd = over(sgd, steps_per_epoch=1, epochs=2)
    >>> first = sgd.init(1.0)
    >>> update, second = sgd.update(1.0, first, 0.0)
    >>> float(update), float(sgd.update(1.0, second, 0.0)[0])
    (-0.5, -0.25)
    """
    if isinstance(optimizer, ByProgress):
        return optimizer.over(steps_per_epoch=steps_per_epoch, epochs=epochs)
    return optimizer


def weight_optimizer(
    learning_rate: float | Schedule | optax.Schedule,
    *,
    momentum: float = 0.9,
    weight_decay: float = 3e-4,
    clip_norm: float = 5.0,
    nesterov: bool = False,
    every: str = "epoch",
) -> optax.GradientTransformation:
    """SGD as PyTorch does it: clip, L2 added to the gradient, momentum, rate.

    Args:
      learning_rate: a number, a function of the number of steps (optax's schedules),
        or a schedule of progress, such as ``schedules.cosine(0.025, 0.001)``.
      momentum: of the gradient, weight decay included.
      weight_decay: L2.
      clip_norm: the gradient's global norm is clipped to it; 0 turns that off, and
        so does ``clips=False`` of one ``update``.
      nesterov: look one step ahead along the momentum.
      every: how often a schedule of progress changes the rate: "epoch", as in DARTS's
        code, or "step", as in that of NAS-Bench-201.
    """

    def make(rate: float | optax.Schedule) -> optax.GradientTransformation:
        return optax.chain(
            *([_clip(clip_norm)] if clip_norm else []),
            optax.add_decayed_weights(weight_decay),
            optax.trace(momentum, nesterov),
            optax.scale_by_learning_rate(rate),
        )

    return _made(make, learning_rate, every)


def _made(
    make: _Make, rate: float | Schedule | optax.Schedule, every: str
) -> optax.GradientTransformation:
    if isinstance(rate, Schedule):
        return ByProgress(make, rate, every)
    return make(rate)


def _clip(norm: float) -> optax.GradientTransformationExtraArgs:
    """Clip by the global norm, unless an update says not to."""
    clip = optax.clip_by_global_norm(norm)

    def update(
        updates: Tree,
        state: Tree,
        params: Tree | None = None,
        *,
        clips: bool = True,
        **others: Any,
    ) -> tuple[Tree, Tree]:
        del others
        return clip.update(updates, state, params) if clips else (updates, state)

    return optax.GradientTransformationExtraArgs(clip.init, update)


def arch_optimizer(
    learning_rate: float | Schedule | optax.Schedule = 3e-4,
    *,
    b1: float = 0.5,
    b2: float = 0.999,
    weight_decay: float = 1e-3,
    every: str = "epoch",
) -> optax.GradientTransformation:
    """Adam with L2 added to the gradient (not decoupled), for alpha.

    Args:
      learning_rate: as of `weight_optimizer`.
      b1: decay of the mean.
      b2: decay of the mean square.
      weight_decay: L2.
      every: as of `weight_optimizer`.
    """

    def make(rate: float | optax.Schedule) -> optax.GradientTransformation:
        return optax.chain(
            optax.add_decayed_weights(weight_decay), optax.adam(rate, b1, b2)
        )

    return _made(make, learning_rate, every)
