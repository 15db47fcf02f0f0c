"""GDAS: one operation an edge by a hard Gumbel-softmax (Dong and Yang, 1910.04465)."""

from nasjax import genotype, relaxations, schedules
from nasjax.architecture import Path, to_path
from nasjax.base import Array, Key
from nasjax.methods.base import Alpha, Method, map_cell_types, normal_alpha
from nasjax.methods.baselines.fixed import with_fixed_cell
from nasjax.schedules import Schedule
from nasjax.spaces.base import SearchSpace
from nasjax.supernet import Architecture

#: What the published code fixes the reduction cell to, in candidates of the DARTS
#: space. There each node has one input: a convolution of either, a max pooling of
#: either. The convolution (ReLU, 1×3 and 3×1 in 8 groups, BN, ReLU, 1×1, BN) is no
#: candidate; `sep_conv_3x3` in its place is an assumption of ours.
FIXED_REDUCTION: genotype.Cell = (
    ("sep_conv_3x3", 0),
    ("none", 1),
    ("none", 0),
    ("sep_conv_3x3", 1),
    ("max_pool_3x3", 0),
    ("none", 1),
    ("none", 0),
    ("max_pool_3x3", 1),
)


def gdas(
    *,
    temperature: Schedule = schedules.linear(10.0, 0.1),
    alpha_scale: float = 1e-3,
    unchosen_gradient: bool = False,
    fixed_reduction: bool = False,
) -> Method:
    """A path by Gumbel-max, alpha's gradient straight through (Eq. 3-4).

    The published code trains the weights first in a step, then alpha, and lowers tau
    once an epoch; here alpha is first and tau falls with every step (deviations).

    Args:
      temperature: tau by progress, above 0; ``steps(10, 0.1, epochs)`` is the published
        code's.
      alpha_scale: alpha starts at this times N(0, 1).
      unchosen_gradient: an edge adds the hard weights of the operations it did not
        choose, each 0, to every value of its output. As the hard weights of an edge
        sum to 1, alpha's gradient is then that of the chosen one's weight times
        (what it has without, minus the sum of the gradient of the edge's output).
        The published code of NAS-Bench-201 does so; the paper's equations do not.
      fixed_reduction: GDAS (FRC): the reduction cell is `FIXED_REDUCTION`, and the
        normal cell alone is searched.

    Raises:
      ValueError: a temperature that is not above 0; when it adapts a space, one
        without the fixed cell.
    """
    schedules.check_above_zero("temperature", temperature)

    def relax(
        key: Key, alpha: Alpha, progress: Array, space: SearchSpace
    ) -> Architecture:
        def sample(key: Key, alpha: Array) -> Path:
            tau = temperature(progress)
            choice = relaxations.gumbel_softmax(key, alpha, temperature=tau)
            return to_path(choice, unchosen=unchosen_gradient)

        return map_cell_types(sample, key, alpha, space)

    method = Method(
        "gdas",
        normal_alpha(alpha_scale),
        relax,
        schedules={"temperature": temperature},
    )
    if fixed_reduction:
        return with_fixed_cell(method, "reduce", FIXED_REDUCTION)
    return method
