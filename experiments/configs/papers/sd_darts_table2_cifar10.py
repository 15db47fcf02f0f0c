r"""SD-DARTS, Table 2: test error on CIFAR-10.

    python -m experiments.study \
        --config=experiments/configs/papers/sd_darts_table2_cifar10.py:proxy

Search in the DARTS space on CIFAR-10, then 600 epochs of training on all its images (20
cells of 36 channels, drop path 0.3). The paper reports 2.58 ± 0.11 % error, 2.44 % at
best, at 3.3 M weights and 0.37 GPU-days (RTX 3090); of the others DARTS 3.00 ± 0.14 and
2.76 ± 0.09, GDAS 2.93, SNAS 2.98, PC-DARTS 2.57 ± 0.07. The full variant was not run
here: for a GPU.

``:proxy`` has the same rows on scikit-learn's digits, search and training
(`common.on_digits`): 18 runs of a few minutes each on two cores.
"""

from ml_collections import ConfigDict

from experiments.configs.papers import base, common

TITLE = "SD-DARTS, Table 2: CIFAR-10"
#: Test error, per cent; weights.
PAPER = {
    "darts": "3.00 ± 0.14 % error (3.3 M)",
    "darts2nd": "2.76 ± 0.09 % (3.3 M)",
    "gdas": "2.93 % (3.4 M)",
    "snas": "2.98 % (2.9 M)",
    "pc_darts": "2.57 ± 0.07 % (3.6 M)",
    "sd_darts": "2.58 ± 0.11 %, best 2.44 % (3.3 M)",
}


def _rows(data: str) -> dict[str, common.Row]:
    labels = {
        "darts": "DARTS, first order",
        "darts2nd": "DARTS, second order",
        "gdas": "GDAS",
        "snas": "SNAS",
        "pc_darts": "PC-DARTS",
        "sd_darts": "SD-DARTS",
    }
    return {name: (label, f"{name}_darts_{data}") for name, label in labels.items()}


def full() -> ConfigDict:
    """The paper's settings, its training for every row."""
    return common.trained(TITLE, _rows("cifar10"), recipe="sd_darts", paper=PAPER)


def proxy() -> ConfigDict:
    """The same rows on the digits."""
    return common.on_digits(TITLE, _rows("digits"), paper=PAPER)


def get_config(variant: str | None = None) -> ConfigDict:
    """The study, or its variant of a name."""
    return base.variant(variant, full, proxy=proxy)
