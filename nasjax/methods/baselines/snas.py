"""SNAS: a soft Gumbel-softmax over the mixture (Xie et al., arXiv 1812.09926)."""

from nasjax import relaxations, schedules
from nasjax.architecture import Mixture
from nasjax.base import Array, Key
from nasjax.methods.base import Alpha, Method, map_cell_types, normal_alpha
from nasjax.schedules import Schedule
from nasjax.spaces.base import SearchSpace
from nasjax.supernet import Architecture


def snas(
    *,
    temperature: Schedule = schedules.linear(1.0, 0.03),
    alpha_scale: float = 1e-3,
) -> Method:
    """Every operation of an edge by a relaxed sample of its weights (Eq. 4).

    The paper trains alpha and the weights at once, on the same examples; here, as for
    every method, alpha has the validation half and is trained first (a deviation). It
    is judged by the one-hot of the largest alpha on every edge, to which the sample
    tends as the temperature goes to 0: the paper's child network with the weights of
    the search, before edges are left out. Mean weights, softmax(alpha), are never run
    at a low temperature.

    Args:
      temperature: of the sample by progress, step by step, above 0; its course is an
        assumption.
      alpha_scale: alpha starts at this times N(0, 1).

    Raises:
      ValueError: a temperature that is not above 0.
    """
    schedules.check_above_zero("temperature", temperature)

    def relax(
        key: Key, alpha: Alpha, progress: Array, space: SearchSpace
    ) -> Architecture:
        def sample(key: Key, alpha: Array) -> Mixture:
            soft = relaxations.gumbel_softmax(
                key, alpha, temperature=temperature(progress), hard=False
            )
            return Mixture(soft)

        return map_cell_types(sample, key, alpha, space)

    return Method(
        "snas",
        normal_alpha(alpha_scale),
        relax,
        schedules={"temperature": temperature},
    )
