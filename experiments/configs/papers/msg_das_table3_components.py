r"""MSG-DAS, Table 3: its three components, on and off.

    TFDS_DATA_DIR=DIR NASJAX_NASBENCH201=accuracies.csv python -m experiments.study \
        --config=experiments/configs/papers/msg_das_table3_components.py:proxy

DropBlock-Identity ("pseudo identity"), two sub-graphs instead of one, guidance by the
super-net. Test error in the paper: none of them 2.93 %, all 2.57 ± 0.05 %. The marks of
the rows between are lost in the text; that they are, in this order, identity alone,
identity and sub-graphs (the figure of Table 4 without guidance), identity and guidance,
is read off the section that describes them. Beside them the two sub-graphs aggregated
into one, with which section 4.3 comes near to PC-DARTS; it has no figure of its own.
The full variant was not run here: for a GPU.

``:proxy`` has the same rows in the NAS-Bench-201 space on a part of CIFAR-10, looked up
in the benchmark's table (`common.looked_up`): 18 runs of a few minutes each on two
cores.
"""

from ml_collections import ConfigDict

from experiments.configs.papers import base, common

TITLE = "MSG-DAS, Table 3: components"
#: Test error, per cent; weights.
PAPER = {
    "none": "2.93 % error (3.4 M)",
    "identity": "2.91 ± 0.05 % (3.62 ± 0.2 M)",
    "identity_subgraphs": "2.76 ± 0.04 % (2.53 ± 0.03 M)",
    "identity_guidance": "2.77 ± 0.04 % (3.64 ± 0.18 M)",
    "all": "2.57 ± 0.05 % (3.58 ± 0.09 M)",
}
_SINGLE = "method.k=1"
_UNGUIDED = "method.guidance=constant(0)"
_NO_DROPS = "method.drop_rate=constant(0)"


def _rows(search: str) -> dict[str, common.Row]:
    return {
        "none": ("none of them", search, _SINGLE, _UNGUIDED, _NO_DROPS),
        "identity": ("identity", search, _SINGLE, _UNGUIDED),
        "identity_subgraphs": ("identity, sub-graphs", search, _UNGUIDED),
        "identity_guidance": ("identity, guidance", search, _SINGLE),
        "all": ("all three", search),
        "identity_one_graph": (
            "identity, sub-graphs as one graph",
            search,
            _UNGUIDED,
            "method.aggregate=True",
        ),
    }


def full() -> ConfigDict:
    """The paper's settings."""
    rows = _rows("msg_das_darts_cifar10")
    return common.trained(TITLE, rows, recipe="msg_das", paper=PAPER)


def proxy() -> ConfigDict:
    """The same rows in the NAS-Bench-201 space."""
    return common.looked_up(TITLE, _rows("msg_das_nasbench201_cifar10"), paper=PAPER)


def get_config(variant: str | None = None) -> ConfigDict:
    """The study, or its variant of a name."""
    return base.variant(variant, full, proxy=proxy)
