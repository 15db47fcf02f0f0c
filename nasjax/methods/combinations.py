"""Combinations that no paper has: parts of one method on another."""

import jax

from nasjax import schedules
from nasjax.methods.base import Method
from nasjax.methods.msg_das import gumbel_paths
from nasjax.methods.sd_darts import add_voting_teachers
from nasjax.methods.stc_nas import add_js_loss, stc_nas
from nasjax.schedules import Schedule


def stc_nas_sd(
    *,
    noise_range: Schedule = schedules.linear(0.3, 0.0),
    js_strength: Schedule = schedules.linear(0.0, 2.0),
    strength: Schedule = schedules.constant(1.0),
    window: int = 2,
    warmup: int = 25,
    teacher: str = "outputs",
    metric: str = "kl",
    voting: str = "mean",
    decay: float = 0.5,
    ring_dtype: str = "float32",
) -> Method:
    """STC-NAS's sampling with SD-DARTS's voting teachers.

    A vote is then the mean of what different sampled paths said of an example.

    Args:
      noise_range: r of the sampling noise, by progress (`stc_nas`).
      js_strength: lambda of the JS loss, by progress (`stc_nas`).
      strength: lambda of the teachers' loss, by progress (`add_voting_teachers`).
      window: K, epochs that vote.
      warmup: epochs before the teachers teach.
      teacher: what one is kept as, "outputs" or "weights".
      metric: how far a student is from its teachers.
      voting: "mean" or "ema".
      decay: of "ema".
      ring_dtype: "float32" or "bfloat16".
    """
    return add_voting_teachers(
        stc_nas(noise_range=noise_range, js_strength=js_strength),
        strength=strength,
        window=window,
        warmup=warmup,
        teacher=teacher,
        metric=metric,
        voting=voting,
        decay=decay,
        ring_dtype=ring_dtype,
    )._replace(name="stc_nas_sd")


def gumbel_js(
    *,
    k: int = 2,
    temperature: Schedule = schedules.linear(10.0, 1.0),
    js_strength: Schedule = schedules.linear(0.0, 2.0),
    alpha_start: float = 0.0,
) -> Method:
    """MSG-DAS's Gumbel-TopK sub-graphs with STC-NAS's JS loss.

    The weights of an edge, softmax(alpha), are drawn towards each operation sampled on
    it.

    Args:
      k: K, sub-graphs (`gumbel_paths`).
      temperature: tau by progress, above 0.
      js_strength: lambda of the JS loss, by progress (`stc_nas`).
      alpha_start: where alpha starts.
    """
    method = gumbel_paths(k=k, temperature=temperature, alpha_start=alpha_start)
    method = add_js_loss(
        method, activation=jax.nn.softmax, gradient="all", strength=js_strength
    )
    return method._replace(name="gumbel_js")
