"""Losses: natural logarithms, float32, means over a batch."""

from collections.abc import Callable, Mapping

import chex
import jax
import jax.numpy as jnp
import optax

from nasjax.base import Array


def weighted_mean(
    values: Array, weights: Array, *, axis_name: str | None = None
) -> Array:
    """``sum(w v) / sum(w)`` over ``[B]``; 0 where every weight is 0.

    With an ``axis_name``, over the batches of all devices of that name.
    """
    sums = jnp.stack([jnp.vdot(values, weights), weights.sum()])
    total, count = sums if axis_name is None else jax.lax.psum(sums, axis_name)
    return total / jnp.maximum(count, 1e-12)


def cross_entropy_per_example(logits: Array, labels: Array) -> Array:
    """``[B]`` cross-entropy in nats of ``[B, Y]`` logits and ``[B]`` labels."""
    return optax.softmax_cross_entropy_with_integer_labels(
        logits.astype(jnp.float32), labels
    )


def smoothed_cross_entropy_per_example(
    logits: Array, labels: Array, *, smoothing: float
) -> Array:
    """``[B]`` cross-entropy in nats against labels smoothed towards uniform.

    Args:
      logits: ``[B, Y]``.
      labels: ``[B]``.
      smoothing: share of the target that is spread over all Y classes, the label's
        among them (Szegedy et al., arXiv 1512.00567; PyTorch's ``label_smoothing``).

    >>> smoothed_cross_entropy_per_example(
    ...     jnp.zeros((1, 4)), jnp.array([2]), smoothing=0.1
    ... )
    Array([1.3862944], dtype=float32)
    """
    exact = cross_entropy_per_example(logits, labels)
    if smoothing == 0:
        return exact
    spread = -jax.nn.log_softmax(logits.astype(jnp.float32)).mean(axis=-1)
    return (1.0 - smoothing) * exact + smoothing * spread


def cross_entropy(logits: Array, labels: Array, weights: Array) -> Array:
    """Mean cross-entropy in nats of ``[B, Y]`` logits, ``[B]`` labels and weights."""
    return weighted_mean(cross_entropy_per_example(logits, labels), weights)


def _relative_entropy(p: Array, q: Array) -> Array:
    """``p log(p/q)`` with 0 log 0 = 0, and gradient 0 there instead of NaN."""
    positive = p > 0
    safe_p = jnp.where(positive, p, 1.0)
    safe_q = jnp.where(positive, q, 1.0)
    return jnp.where(positive, safe_p * (jnp.log(safe_p) - jnp.log(safe_q)), 0.0)


def js_divergence(p: Array, q: Array, axis: int = -1) -> Array:
    """Jensen-Shannon divergence in nats, between 0 and log 2.

    Args:
      p: ``[..., n, ...]`` probabilities along ``axis``.
      q: the same shape.
      axis: of the probabilities.

    Returns:
      The shape without ``axis``. Source: STC-NAS Eq. 9.

    >>> js_divergence(jnp.array([1.0, 0.0]), jnp.array([0.0, 1.0]))
    Array(0.6931472, dtype=float32)
    """
    return js_summands(p, q).sum(axis=axis)


def js_summands(p: Array, q: Array) -> Array:
    """What `js_divergence` adds up, entry by entry, in nats; the shape of ``p``."""
    chex.assert_equal_shape((p, q))
    middle = 0.5 * (p + q)
    return 0.5 * (_relative_entropy(p, middle) + _relative_entropy(q, middle))


def distillation_kl(teacher_probs: Array, student_logits: Array) -> Array:
    """Batch mean of KL(teacher || student) in nats; no gradient to the teacher.

    Args:
      teacher_probs: ``[B, Y]`` probabilities.
      student_logits: ``[B, Y]``.

    Returns:
      A scalar. Source: SD-DARTS, the added term of its inner loss.

    >>> teacher = jnp.array([[0.5, 0.5]])
    >>> distillation_kl(teacher, jnp.zeros((1, 2)))
    Array(0., dtype=float32)
    """
    return kl_per_example(teacher_probs, student_logits).mean()


def kl_per_example(teacher_probs: Array, student_logits: Array) -> Array:
    """``[B]`` KL(teacher || student) in nats; no gradient to the teacher."""
    chex.assert_equal_shape((teacher_probs, student_logits))
    teacher = jax.lax.stop_gradient(teacher_probs)
    log_student = jax.nn.log_softmax(student_logits.astype(jnp.float32))
    # xlogy(p, p), not p log p: a teacher may be sure of a class.
    return (jax.scipy.special.xlogy(teacher, teacher) - teacher * log_student).sum(-1)


def euclidean_per_example(teacher_probs: Array, student_logits: Array) -> Array:
    """``[B]`` length of teacher - student, of probabilities; see `DISTANCES`.

    >>> euclidean_per_example(jnp.array([[1.0, 0.0]]), jnp.zeros((1, 2)))
    Array([0.70710677], dtype=float32)
    """
    teacher, student = _outputs(teacher_probs, student_logits)
    return _length(teacher - student)


def manhattan_per_example(teacher_probs: Array, student_logits: Array) -> Array:
    """``[B]`` sum of |teacher - student|, of probabilities; see `DISTANCES`.

    >>> manhattan_per_example(jnp.array([[1.0, 0.0]]), jnp.zeros((1, 2)))
    Array([1.], dtype=float32)
    """
    teacher, student = _outputs(teacher_probs, student_logits)
    return jnp.abs(teacher - student).sum(axis=-1)


def cosine_per_example(teacher_probs: Array, student_logits: Array) -> Array:
    """``[B]`` 1 - cosine of the angle of two vectors of probabilities; see `DISTANCES`.

    A teacher of zeros, which says nothing, is at 1 from all.

    >>> cosine_per_example(jnp.array([[1.0, 0.0]]), jnp.zeros((1, 2)))
    Array([0.29289323], dtype=float32)
    """
    teacher, student = _outputs(teacher_probs, student_logits)
    lengths = _length(teacher) * _length(student)
    return 1.0 - (teacher * student).sum(axis=-1) / jnp.where(lengths > 0, lengths, 1.0)


def _outputs(teacher_probs: Array, student_logits: Array) -> tuple[Array, Array]:
    """Probabilities of both, no gradient to the teacher's."""
    chex.assert_equal_shape((teacher_probs, student_logits))
    student = jax.nn.softmax(student_logits.astype(jnp.float32))
    return jax.lax.stop_gradient(teacher_probs), student


def _length(vectors: Array) -> Array:
    """Euclidean norm over the last axis, with gradient 0 at 0 instead of NaN."""
    squared = jnp.square(vectors).sum(axis=-1)
    positive = squared > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, squared, 1.0)), 0.0)


#: What a student may be apart from its teacher by: ``([B, Y] teacher's probabilities,
#: [B, Y] student's logits) -> [B]``, its gradient finite where the two are equal, and
#: none to the teacher. Source: SD-DARTS section 3.3, which names all four and takes KL.
DISTANCES: Mapping[str, Callable[[Array, Array], Array]] = {
    "kl": kl_per_example,
    "euclidean": euclidean_per_example,
    "manhattan": manhattan_per_example,
    "cosine": cosine_per_example,
}


def soft_cross_entropy(teacher_probs: Array, student_logits: Array) -> Array:
    """``[B]`` cross-entropy in nats against probabilities, which get no gradient."""
    chex.assert_equal_shape((teacher_probs, student_logits))
    return optax.softmax_cross_entropy(
        student_logits.astype(jnp.float32), jax.lax.stop_gradient(teacher_probs)
    )


def accuracy_hits(logits: Array, labels: Array) -> Array:
    """``[B]`` float32, 1 where the largest logit is the label's."""
    return (jnp.argmax(logits, axis=-1) == labels).astype(jnp.float32)


def normalised(weights: Array) -> Array:
    """``w / sum(w)`` over the last axis, zeros where the sum is 0."""
    total = weights.sum(axis=-1, keepdims=True)
    return weights / jnp.where(total > 0, total, 1.0)


def entropy(probabilities: Array) -> Array:
    """Entropy in nats over the last axis."""
    return jax.scipy.special.entr(probabilities).sum(axis=-1)


def beta_decay(alpha: Array) -> Array:
    """Mean over edges of ``logsumexp(alpha)``: Beta-DARTS's pull on ``alpha [..., O]``.

    Its gradient is softmax(alpha) over the number of edges. Source: arXiv 2203.01665,
    Eq. 7.

    >>> print(f"{beta_decay(jnp.zeros((3, 4))):.4f}")  # log 4
    1.3863
    """
    return jax.nn.logsumexp(alpha, axis=-1).mean()


def zero_one(weights: Array, *, kind: str = "l2") -> Array:
    """How far weights in [0, 1] are from 0 and 1: FairDARTS's loss, least at both.

    Args:
      weights: any shape.
      kind: ``l2``: ``-mean((w - 1/2)^2)``; ``l1``: ``-mean(|w - 1/2|)``. Source: arXiv
        1911.12126, Eq. 8 and 7.

    Raises:
      ValueError: another kind.

    >>> zero_one(jnp.array([0.0, 0.5, 1.0])), zero_one(jnp.array([0.0, 1.0]), kind="l1")
    (Array(-0.16666667, dtype=float32), Array(-0.5, dtype=float32))
    """
    if kind not in ("l2", "l1"):
        raise ValueError(f"{kind=} is not one of l2, l1")
    distance = weights - 0.5
    return -(jnp.square(distance) if kind == "l2" else jnp.abs(distance)).mean()
