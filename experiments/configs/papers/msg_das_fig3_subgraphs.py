r"""MSG-DAS, Fig. 3: number of sub-graphs, and what it costs.

    TFDS_DATA_DIR=DIR NASJAX_NASBENCH201=accuracies.csv python -m experiments.study \
        --config=experiments/configs/papers/msg_das_fig3_subgraphs.py:proxy

K = 1 to 4 without guidance, and K = 2 with it ("mutual learning"), all at batch 64. The
figure's numbers that the text has: 2.81 % test error for K = 2 with guidance, 2.78 %
for K = 4, at twice the time. Beside them what section 2 compares the sampler with, at
K = 2 without guidance: draws with replacement (SNAS), and these aggregated into one
graph (DARTS-EGS); the paper gives no figures for either. The full variant was not run
here: for a GPU.

``:proxy`` has the same rows but K = 3 in the NAS-Bench-201 space on a part of CIFAR-10,
looked up in the benchmark's table (`common.looked_up`): 18 runs of a few minutes each
on two cores.
"""

from ml_collections import ConfigDict

from experiments.configs.papers import base, common

TITLE = "MSG-DAS, Fig. 3: sub-graphs"
#: Test error, per cent.
PAPER = {"k4": "2.78 % error", "k2_guided": "2.81 %, in half the time of K = 4"}


def _rows(search: str, *overrides: str) -> dict[str, common.Row]:
    unguided = "method.guidance=constant(0)"
    rows: dict[str, common.Row] = {
        f"k{k}": (f"K = {k}", search, f"method.k={k}", unguided, *overrides)
        for k in (1, 2, 3, 4)
    }
    rows["k2_guided"] = ("K = 2, guided", search, "method.k=2", *overrides)
    replaced = ("method.k=2", unguided, "method.replacement=True", *overrides)
    rows["k2_replaced"] = ("K = 2, with replacement", search, *replaced)
    rows["k2_aggregated"] = (
        "K = 2, with replacement, as one graph",
        search,
        *replaced,
        "method.aggregate=True",
    )
    return rows


def full() -> ConfigDict:
    """The paper's settings, batch 64."""
    rows = _rows("msg_das_darts_cifar10", "search.batch_size=64")
    return common.trained(TITLE, rows, recipe="msg_das", paper=PAPER)


def proxy() -> ConfigDict:
    """The same rows but one in the NAS-Bench-201 space."""
    rows = _rows("msg_das_nasbench201_cifar10")
    del rows["k3"]
    return common.looked_up(TITLE, rows, paper=PAPER)


def get_config(variant: str | None = None) -> ConfigDict:
    """The study, or its variant of a name."""
    return base.variant(variant, full, proxy=proxy)
