"""The NAS-Bench-201 search space (Dong and Yang, arXiv 2001.00326, section 2)."""

from collections.abc import Callable

from nasjax import operations
from nasjax.spaces.base import SearchSpace
from nasjax.spaces.derivation import derive_every_edge, read_every_edge
from nasjax.spaces.plan import CellPlan, Plan, Residual, Sizes, stem

OPERATIONS = (
    operations.NONE,
    operations.SKIP_CONNECT,
    operations.NOR_CONV_1X1,
    operations.NOR_CONV_3X3,
    operations.PLAIN_AVG_POOL_3X3,
)
_NUM_STAGES = 3


def nasbench201() -> SearchSpace:
    """One input, three nodes, five operations; one cell type.

    >>> space = nasbench201()
    >>> space.num_edges, space.num_ops, space.edges
    (6, 5, ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)))
    """
    return SearchSpace(
        name="nasbench201",
        operations=OPERATIONS,
        edges=tuple(
            (source, target) for target in (1, 2, 3) for source in range(target)
        ),
        num_inputs=1,
        cell_types=("cell",),
        output=(3,),
        edges_per_node=None,
        derive=derive_every_edge,
        read=read_every_edge,
        plan=plan,
        num_cells=5,
    )


def plan(sizes: Sizes, joined: Callable[[str], int]) -> Plan:
    """Stem; three stages of N cells with residual blocks between; BN, ReLU, head.

    Two blocks halve an image evenly, so its height and width are multiples of 4.
    """
    channels = sizes.channels
    body: list[CellPlan | Residual] = []
    for stage in range(_NUM_STAGES):
        if stage:
            body.append(Residual(channels))
            channels *= 2
        body += [CellPlan("cell", channels, joined("cell"))] * sizes.num_cells
    return Plan(
        stem(sizes),
        tuple(body),
        sizes.num_classes,
        last_norm=True,
        multiple=2 ** (_NUM_STAGES - 1),
        edges_module="layers",
    )
