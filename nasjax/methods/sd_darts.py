"""SD-DARTS: self-distillation with voting teachers.

The supernet is taught by what it said itself of the same example in the epochs before:
that keeps the loss's curvature in alpha low, which is what discretization suffers from.
"""

import jax.numpy as jnp

from nasjax import schedules, teachers
from nasjax.base import Array, Tree
from nasjax.data.batches import Batch
from nasjax.methods.adding import add_weight_loss
from nasjax.methods.base import Method, Terms, no_memory
from nasjax.methods.darts import darts
from nasjax.methods.weight_teachers import add_weight_teachers
from nasjax.schedules import Schedule

TEACHERS = ("outputs", "weights")
VOTING = ("mean", "ema")


def sd_darts(
    *,
    strength: Schedule = schedules.constant(1.0),
    window: int = 2,
    warmup: int = 25,
    teacher: str = "outputs",
    metric: str = "kl",
    voting: str = "mean",
    decay: float = 0.5,
    ring_dtype: str = "float32",
    alpha_scale: float = 1e-3,
) -> Method:
    """First-order DARTS with voting teachers; see `add_voting_teachers`.

    Args:
      strength: lambda of the inner loss, by progress (Table 1).
      window: K, epochs that vote (Fig. 6).
      warmup: epochs before the teachers teach (Fig. 5).
      teacher: what one is kept as, "outputs" or "weights" (section 3.3).
      metric: how far a student is from its teachers.
      voting: "mean", or "ema" (beyond the paper).
      decay: of "ema".
      ring_dtype: "float32" or "bfloat16".
      alpha_scale: alpha starts at this times N(0, 1).
    """
    return add_voting_teachers(
        darts(alpha_scale=alpha_scale),
        strength=strength,
        window=window,
        warmup=warmup,
        teacher=teacher,
        metric=metric,
        voting=voting,
        decay=decay,
        ring_dtype=ring_dtype,
    )._replace(name="sd_darts")


def add_voting_teachers(
    method: Method,
    *,
    strength: Schedule = schedules.constant(1.0),
    window: int = 2,
    warmup: int = 25,
    teacher: str = "outputs",
    metric: str = "kl",
    voting: str = "mean",
    decay: float = 0.5,
    ring_dtype: str = "float32",
) -> Method:
    """The method with KL(teachers || student) in the loss of the weights.

    For epochs 0 to ``warmup - 1`` the method is what it was (alpha and the weights
    both trained, an assumption); outputs are recorded from ``warmup - window`` on.
    Instead of KL, the paper's choice, the ``metric`` may be any of `losses.DISTANCES`
    (section 3.3); ``strength`` is then in another unit. Instead of what a teacher said,
    its weights may be kept (``teacher="weights"``): see `add_weight_teachers`.

    Raises:
      ValueError: a window below 1, a negative warm-up, an unknown teacher, metric,
        voting or dtype, a decay outside [0, 1), voting or dtype of stored outputs for
        kept weights, or a method that has a memory, or snapshots, already.
    """
    _check(teacher, voting, decay, ring_dtype)
    teachers.check(window=window, warmup=warmup, metric=metric)
    if teacher == "weights":
        return add_weight_teachers(
            method, strength=strength, window=window, warmup=warmup, metric=metric
        )
    if method.init_memory is not no_memory:
        raise ValueError(f"{method.name} has a memory already, teachers need their own")
    slots = window if voting == "mean" else 1

    def init_memory(num_examples: int, num_classes: int) -> Tree:
        return teachers.init_ring(
            window=slots,
            num_examples=num_examples,
            num_classes=num_classes,
            dtype=jnp.dtype(ring_dtype),
        )

    def remember(
        memory: teachers.Ring, batch: Batch, probs: Array, epoch: Array
    ) -> Tree:
        num_rows = memory.probs.shape[1]
        # A row out of range is not written: fillers, and all before the recording.
        keep = (batch.weights > 0) & (epoch >= warmup - window)
        rows = jnp.where(keep, batch.rows, num_rows)
        if voting == "mean":
            return teachers.record(memory, rows, probs, epoch=epoch)
        return teachers.record_average(memory, rows, probs, epoch=epoch, decay=decay)

    def distillation(terms: Terms) -> Array:
        apart = teachers.distance(_votes(terms, voting), terms.logits, metric=metric)
        return terms.mean(jnp.where(terms.epoch >= warmup, apart, 0.0))

    method = add_weight_loss(method, distillation, strength=strength, name="strength")
    return method._replace(init_memory=init_memory, remember=remember)


def _votes(terms: Terms, voting: str) -> tuple[Array, Array]:
    if voting == "mean":
        return teachers.vote(terms.memory, terms.batch.rows, epoch=terms.epoch)
    return teachers.recall_average(terms.memory, terms.batch.rows)


def _check(teacher: str, voting: str, decay: float, ring_dtype: str) -> None:
    if teacher not in TEACHERS:
        raise ValueError(f"{teacher=} is not one of {', '.join(TEACHERS)}")
    if voting not in VOTING:
        raise ValueError(f"{voting=} is not one of {', '.join(VOTING)}")
    if not 0 <= decay < 1:
        raise ValueError(f"{decay=} is not in [0, 1)")
    if ring_dtype not in ("float32", "bfloat16"):
        raise ValueError(f"{ring_dtype=} is not float32 or bfloat16")
    if teacher == "weights" and (voting, ring_dtype) != ("mean", "float32"):
        raise ValueError(
            f"{voting=} and {ring_dtype=} are of teacher='outputs'; kept weights take "
            "mean and float32"
        )
