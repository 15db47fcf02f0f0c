r"""STC-NAS, Table 4: test error on CIFAR-10 and CIFAR-100.

    python -m experiments.study \
        --config=experiments/configs/papers/stc_nas_table4_cifar.py:proxy

Search with depth consistency (20 cells of 36 channels, batch 96) and without (8 cells
of 16, batch 256), on the data set of the training. The paper reports, with it, 2.46 ±
0.04 and 16.71 ± 0.19 % error (0.22 GPU-days), without 2.48 ± 0.03 and 17.01 ± 0.29 %
(0.059). The full variant was not run here: for a GPU. CIFAR-100 is trained by
``retrain_cifar100.py``, as every row's own.

``:proxy`` has the two of one data set on scikit-learn's digits, search and training,
deep being the 6 cells of the training: 6 runs of a few minutes each on two cores.
"""

from ml_collections import ConfigDict

from experiments.configs.papers import base, common

TITLE = "STC-NAS, Table 4: CIFAR"
#: Test error, per cent; weights.
PAPER = {
    "cifar10_shallow": "2.48 ± 0.03 % error (3.89 ± 0.11 M)",
    "cifar10": "2.46 ± 0.04 %, best 2.42 % (3.88 ± 0.31 M)",
    "cifar100_shallow": "17.01 ± 0.29 % (3.82 ± 0.03 M)",
    "cifar100": "16.71 ± 0.19 %, best 16.45 % (3.85 ± 0.24 M)",
}
_SHALLOW = ", without depth consistency"


def full() -> ConfigDict:
    """The paper's settings."""
    config = common.trained(
        TITLE,
        {
            "cifar10_shallow": (f"CIFAR-10{_SHALLOW}", "stc_nas_darts_cifar10"),
            "cifar10": ("CIFAR-10", "stc_nas_darts_cifar10", *common.DEEP),
            "cifar100_shallow": (f"CIFAR-100{_SHALLOW}", "stc_nas_darts_cifar100"),
            "cifar100": ("CIFAR-100", "stc_nas_darts_cifar100", *common.DEEP),
        },
        recipe="stc_nas",
        paper=PAPER,
    )
    for name in ("cifar100_shallow", "cifar100"):
        cell = config.cells[name]
        cell.retrain = cell.retrain.replace("cifar10", "cifar100")
    return config


def proxy() -> ConfigDict:
    """On the digits, 4 cells or the training's 6."""
    return common.on_digits(
        TITLE,
        {
            "cifar10_shallow": (f"digits{_SHALLOW}", "stc_nas_darts_digits"),
            "cifar10": ("digits", "stc_nas_darts_digits", "supernet.num_cells=6"),
        },
        paper={name: PAPER[name] for name in ("cifar10_shallow", "cifar10")},
    )


def get_config(variant: str | None = None) -> ConfigDict:
    """The study, or its variant of a name."""
    return base.variant(variant, full, proxy=proxy)
