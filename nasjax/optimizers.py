"""Optimizers of weights and alpha, with the defaults of DARTS's search."""

from typing import Any

import optax

from nasjax import schedules
from nasjax.base import Schedule, Tree


def weight_optimizer(
    learning_rate: Schedule,
    *,
    momentum: float = 0.9,
    weight_decay: float = 3e-4,
    clip_norm: float = 5.0,
    nesterov: bool = False,
) -> optax.GradientTransformation:
    """SGD as PyTorch does it: clip, L2 added to the gradient, momentum, rate.

    Args:
      learning_rate: of the step count.
      momentum: of the gradient, weight decay included.
      weight_decay: L2.
      clip_norm: the gradient's global norm is clipped to it; 0 turns that off, and
        so does ``clips=False`` of one ``update``.
      nesterov: look one step ahead along the momentum.
    """
    parts = [_clip(clip_norm)] if clip_norm else []
    return optax.chain(
        *parts,
        optax.add_decayed_weights(weight_decay),
        optax.trace(momentum, nesterov),
        optax.scale_by_learning_rate(learning_rate),
    )


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
    learning_rate: float = 3e-4,
    *,
    b1: float = 0.5,
    b2: float = 0.999,
    weight_decay: float = 1e-3,
) -> optax.GradientTransformation:
    """Adam with L2 added to the gradient (not decoupled), for alpha."""
    return optax.chain(
        optax.add_decayed_weights(weight_decay), optax.adam(learning_rate, b1, b2)
    )


def cosine_by_epoch(
    start: float, end: float, *, steps_per_epoch: int, epochs: int
) -> Schedule:
    """The searches' learning rate: half a cosine, one value an epoch.

    As in DARTS's code. That of NAS-Bench-201 has a value a step (a deviation there).
    """
    return schedules.by_epoch(
        schedules.cosine(start, end), steps_per_epoch=steps_per_epoch, epochs=epochs
    )
