r"""STC-NAS, Fig. 6: softmax, sigmoid or ReLU of alpha.

    TFDS_DATA_DIR=DIR NASJAX_NASBENCH201=accuracies.csv python -m experiments.study \
        --config=experiments/configs/papers/stc_nas_fig6_activation.py:proxy

The figure's numbers are not in the paper's text: ReLU is best. The full variant was not
run here: for a GPU.

``:proxy`` has the same rows in the NAS-Bench-201 space on a part of CIFAR-10, looked up
in the benchmark's table (`common.looked_up`): 9 runs of a few minutes each on two
cores.
"""

from ml_collections import ConfigDict

from experiments.configs.papers import base, common

TITLE = "STC-NAS, Fig. 6: activation"
#: What the paper says of the rows.
PAPER = {"relu": "best of the three (bars, no numbers)"}


def _rows(search: str) -> dict[str, common.Row]:
    return {
        name: (name, search, f"method.activation={name}")
        for name in ("softmax", "sigmoid", "relu")
    }


def full() -> ConfigDict:
    """The paper's settings."""
    rows = _rows("stc_nas_darts_cifar10")
    return common.trained(TITLE, rows, recipe="stc_nas", paper=PAPER)


def proxy() -> ConfigDict:
    """The same functions in the NAS-Bench-201 space."""
    return common.looked_up(TITLE, _rows("stc_nas_nasbench201_cifar10"), paper=PAPER)


def get_config(variant: str | None = None) -> ConfigDict:
    """The study, or its variant of a name."""
    return base.variant(variant, full, proxy=proxy)
