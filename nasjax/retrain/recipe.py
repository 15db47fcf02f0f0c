"""How a discrete network is trained: the numbers, and what follows from them."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import optax

from nasjax import optimizers, schedules
from nasjax.base import Array, InputError

#: How the learning rate falls after the warm-up, and when it changes.
DECAYS = ("cosine", "linear", "exponential", "constant")
EVERY = ("epoch", "step")


class Recipe(NamedTuple):
    """Hyper-parameters of a training; the defaults are DARTS's on CIFAR-10.

    Source: arXiv 1806.09055, section 3.2 and its code. Weight decay is L2 on every
    parameter, those of batch normalisation among them, as there.

    Attributes:
      epochs: of the training.
      learning_rate: after the warm-up.
      learning_rate_end: where "cosine" and "linear" lead.
      decay: "cosine", "linear", "exponential" or "constant".
      decay_rate: of "exponential", the factor of an epoch.
      decay_every: "epoch" or "step": when the learning rate changes.
      warmup_epochs: in which the learning rate rises linearly from 0, which itself
        is never used; the decay begins after them.
      momentum: of SGD.
      nesterov: whether the momentum looks ahead.
      weight_decay: L2.
      clip_norm: largest global norm of the gradient; 0 clips nothing.
      label_smoothing: share of the target spread over all classes.
      auxiliary_weight: of the auxiliary head's loss; 0 builds none.
      drop_path_rate: at the end; it rises linearly from 0, once an epoch.
      micro_batches: parts of a batch that pass through the network one after the
        other, their gradients summed. Each is normalised on its own, and the running
        averages follow them in turn.
      ema_decay: of the moving average of parameters and running moments; 0 keeps
        none. Early on it is ``(1 + t) / (10 + t)`` where that is less, or the start
        would be remembered for long (TensorFlow's rule).
    """

    epochs: int = 600
    learning_rate: float = 0.025
    learning_rate_end: float = 0.0
    decay: str = "cosine"
    decay_rate: float = 0.97
    decay_every: str = "epoch"
    warmup_epochs: int = 0
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 3e-4
    clip_norm: float = 5.0
    label_smoothing: float = 0.0
    auxiliary_weight: float = 0.4
    drop_path_rate: float = 0.2
    micro_batches: int = 1
    ema_decay: float = 0.0

    def check(self) -> None:
        """Refuse what no training has.

        Raises:
          InputError: naming the field, its value and what is allowed.
        """
        for field, choices in {"decay": DECAYS, "decay_every": EVERY}.items():
            if getattr(self, field) not in choices:
                raise InputError(
                    f"{field} is {getattr(self, field)!r}; it must be one of "
                    f"{', '.join(choices)}"
                )
        for field, (low, limit) in _RANGES.items():
            value = getattr(self, field)
            if not low <= value < limit:
                below = f" and below {limit:g}" if limit < math.inf else ""
                raise InputError(
                    f"{field} is {value}; it must be at least {low}{below}"
                )
        if self.warmup_epochs >= self.epochs:
            raise InputError(
                f"warmup_epochs is {self.warmup_epochs}; it must be below the "
                f"{self.epochs} epochs"
            )


#: Field: (lowest, below what).
_RANGES = {
    "epochs": (1, math.inf),
    "learning_rate": (0, math.inf),
    "learning_rate_end": (0, math.inf),
    "decay_rate": (0, math.inf),
    "warmup_epochs": (0, math.inf),
    "momentum": (0, 1),
    "weight_decay": (0, math.inf),
    "clip_norm": (0, math.inf),
    "label_smoothing": (0, 1),
    "auxiliary_weight": (0, math.inf),
    "drop_path_rate": (0, 1),
    "micro_batches": (1, math.inf),
    "ema_decay": (0, 1),
}


def learning_rate(recipe: Recipe, *, steps_per_epoch: int) -> optax.Schedule:
    """The learning rate of a step, counted from 0.

    >>> rate = learning_rate(Recipe(epochs=4, warmup_epochs=2), steps_per_epoch=10)
    >>> [round(float(rate(jnp.int32(s))), 4) for s in (0, 9, 10, 20, 30)]
    [0.0125, 0.0125, 0.025, 0.025, 0.0125]
    """
    warmup, falling = recipe.warmup_epochs, recipe.epochs - recipe.warmup_epochs
    by_epoch = recipe.decay_every == "epoch"
    unit = 1 if by_epoch else steps_per_epoch  # changes in an epoch
    decay = _decay(recipe, falling)

    def of_step(step: Array) -> Array:
        index = step // steps_per_epoch if by_epoch else step
        epoch = index.astype(jnp.float32) / unit
        rising = recipe.learning_rate * (epoch + 1 / unit) / max(warmup, 1)
        return jnp.where(epoch < warmup, rising, decay((epoch - warmup) / falling))

    return of_step


def _decay(recipe: Recipe, epochs: int) -> Callable[[Array], Array]:
    """From the full learning rate on, by progress."""
    start, end = recipe.learning_rate, recipe.learning_rate_end
    if recipe.decay == "exponential":
        return lambda progress: start * recipe.decay_rate ** (progress * epochs)
    ends = {"cosine": schedules.cosine, "linear": schedules.linear}
    if recipe.decay in ends:
        return ends[recipe.decay](start, end)
    return schedules.constant(start)


def drop_path_rate(recipe: Recipe, *, steps_per_epoch: int) -> optax.Schedule:
    """The drop-path rate of a step: 0 in the first epoch, never the full rate."""
    rising = schedules.linear(0.0, recipe.drop_path_rate)
    return rising.of_steps(steps_per_epoch=steps_per_epoch, epochs=recipe.epochs)


def optimizer(recipe: Recipe, *, steps_per_epoch: int) -> optax.GradientTransformation:
    """SGD of a recipe, as PyTorch does it."""
    return optimizers.weight_optimizer(
        learning_rate(recipe, steps_per_epoch=steps_per_epoch),
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        weight_decay=recipe.weight_decay,
        clip_norm=recipe.clip_norm,
    )
