r"""SD-DARTS, Table 4: NAS-Bench-201.

    TFDS_DATA_DIR=DIR NASJAX_NASBENCH201=accuracies.csv python -m experiments.study \
        --config=experiments/configs/papers/sd_darts_table4_nasbench201.py:proxy

Search on CIFAR-10, look-up in the benchmark's table. Test accuracies in the paper, on
CIFAR-10 / CIFAR-100 / ImageNet16-120: SD-DARTS 93.91 ± 0.08 / 71.88 ± 0.76 / 46.03 ±
0.59 %, DARTS of either order 54.30 / 15.61 / 16.32 %; the rest is in `PAPER`. The full
variant has the paper's settings, of baselines the benchmark's (which SNAS and PC-DARTS
are not among: an assumption), and was not run here: for a GPU.
``nasbench201_cifar10.py`` compares this project's methods there, with random search.

``:proxy`` has the same rows in the NAS-Bench-201 space on a part of CIFAR-10, looked up
in the benchmark's table (`common.looked_up`): 18 runs of a few minutes each on two
cores.
"""

from ml_collections import ConfigDict

from experiments.configs.papers import base, common

TITLE = "SD-DARTS, Table 4: NAS-Bench-201"
#: Test accuracy, per cent: CIFAR-10, CIFAR-100, ImageNet16-120.
PAPER = {
    "darts": "54.30 / 15.61 / 16.32 %",
    "darts2nd": "54.30 / 15.61 / 16.32 %",
    "gdas": "93.61 ± 0.09 / 70.70 ± 0.30 / 41.71 ± 0.98 %",
    "snas": "92.77 ± 0.83 / 69.34 ± 1.98 / 43.16 ± 2.64 %",
    "pc_darts": "93.41 ± 0.30 / 67.48 ± 0.89 / 41.31 ± 0.22 %",
    "sd_darts": "93.91 ± 0.08 / 71.88 ± 0.76 / 46.03 ± 0.59 %",
}
_ROWS: dict[str, common.Row] = {
    "darts": ("DARTS, first order", "darts_nasbench201_cifar10"),
    "darts2nd": ("DARTS, second order", "darts2nd_nasbench201_cifar10"),
    "gdas": ("GDAS", "gdas_nasbench201_cifar10"),
    "snas": ("SNAS", "snas_nasbench201_cifar10"),
    "pc_darts": ("PC-DARTS", "pc_darts_nasbench201_cifar10"),
    "sd_darts": ("SD-DARTS", "sd_darts_nasbench201_cifar10"),
}


def full() -> ConfigDict:
    """The paper's settings, of baselines the benchmark's."""
    return common.study(
        TITLE,
        _ROWS,
        metrics=common.LOOKED_UP,
        paper=PAPER,
        about="The paper's settings, of baselines the benchmark's.",
    )


def proxy() -> ConfigDict:
    """What begins after some epochs begins after the same share of them."""
    rows = {
        **_ROWS,
        "sd_darts": (*_ROWS["sd_darts"], common.WARMUP),
        "pc_darts": (*_ROWS["pc_darts"], "method.arch_start=3"),
    }
    return common.looked_up(TITLE, rows, paper=PAPER)


def get_config(variant: str | None = None) -> ConfigDict:
    """The study, or its variant of a name."""
    return base.variant(variant, full, proxy=proxy)
