"""GDAS: one operation an edge by a hard Gumbel-softmax (Dong and Yang, 1910.04465)."""

from nasjax import relaxations, schedules
from nasjax.base import Array, Key, Schedule
from nasjax.cell import Path, to_path
from nasjax.methods.base import Alpha, Method, each_cell, normal_alpha
from nasjax.space import SearchSpace
from nasjax.supernet import Architecture


def gdas(
    *,
    temperature: Schedule = schedules.linear(10.0, 0.1),
    alpha_scale: float = 1e-3,
) -> Method:
    """A path by Gumbel-max, alpha's gradient straight through (Eq. 3-4).

    Args:
      temperature: tau by progress, above 0.
      alpha_scale: alpha starts at this times N(0, 1).

    Raises:
      ValueError: a temperature that is not above 0.
    """
    schedules.check_above_zero("temperature", temperature)

    def relax(
        key: Key, alpha: Alpha, progress: Array, space: SearchSpace
    ) -> Architecture:
        def sample(key: Key, alpha: Array) -> Path:
            tau = temperature(progress)
            return to_path(relaxations.gumbel_softmax(key, alpha, temperature=tau))

        return each_cell(sample, key, alpha, space)

    return Method(
        "gdas",
        normal_alpha(alpha_scale),
        relax,
        schedules={"temperature": temperature},
    )
