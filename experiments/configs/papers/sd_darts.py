"""SD-DARTS's tables and figures: ``--config=sd_darts:PART[:proxy]``.

No full variant was run here: for a GPU. Proxies in the NAS-Bench-201 space take a part
of CIFAR-10, and runs of a few minutes each on two cores (`common.looked_up`); those on
scikit-learn's digits likewise (`common.on_digits`).
"""

from functools import partial

from experiments.configs.papers import common
from experiments.configs.papers.common import Rows, Study

_FULL = "sd_darts_darts_cifar10"
_PROXY = "sd_darts_nasbench201_cifar10"
_LABELS = {
    "darts": "DARTS, first order",
    "darts2nd": "DARTS, second order",
    "gdas": "GDAS",
    "snas": "SNAS",
    "pc_darts": "PC-DARTS",
    "sd_darts": "SD-DARTS",
}


def _rows(where: str, names: str = " ".join(_LABELS), **more: str) -> Rows:
    """Methods in ``SPACE_DATA``, each with an override of its own where it has one."""
    return {
        name: (_LABELS[name], f"{name}_{where}", *filter(None, [more.get(name)]))
        for name in names.split()
    }


def _warmups(search: str, *, of: int) -> Rows:
    """A row for each warm-up, of a search of so many epochs."""
    return {
        f"warmup{epochs}": (
            f"warm-up {epochs * of // 50} of {of} epochs",
            search,
            "method.window=1",
            f"method.warmup={epochs * of // 50}",
        )
        for epochs in (5, 15, 25, 35, 45)
    }


_WINDOWS = {f"window{k}": (f"K = {k}", f"method.window={k}") for k in (1, 2, 3, 4)}
_EIGENVALUE = {"analysis/eigenvalue": "min", "analysis/eigenvalue_residual": ""}
#: What begins after some epochs begins after the same share of the proxy's.
_SHARES = {"sd_darts": common.WARMUP, "pc_darts": "method.arch_start=3"}

STUDIES = {
    "fig2": Study(
        "eigenvalue",
        "SD-DARTS, Fig. 2: dominant eigenvalue",
        """
Dominant eigenvalue of the Hessian in alpha, epoch by epoch. The paper's figure has no
numbers in its text: the curve of SD-DARTS stays below that of DARTS. The curves are in
the report of each run, the last values in the table.

The proxy measures on two batches of the validation half: 6 runs.
""",
        {"sd_darts": "below DARTS throughout (a curve, no numbers)"},
        common.searched(
            _rows("darts_cifar10", "darts sd_darts"),
            metrics={**_EIGENVALUE, "result/valid_accuracy": "max", "seconds": ""},
            overrides=("analysis.eigenvalue=1",),
        ),
        common.looked_up(
            _rows("nasbench201_cifar10", "darts sd_darts", sd_darts=common.WARMUP),
            overrides=("analysis.eigenvalue=1", "analysis.eigenvalue_batches=2"),
            metrics=_EIGENVALUE,
        ),
    ),
    "table2": Study(
        "cifar10",
        "SD-DARTS, Table 2: CIFAR-10",
        """
Test error: search in the DARTS space on CIFAR-10, then 600 epochs of training on all
its images (20 cells of 36 channels, drop path 0.3); 0.37 GPU-days on an RTX 3090.

The proxy has the same rows on scikit-learn's digits, search and training: 18 runs.
""",
        {
            "darts": "3.00 ± 0.14 % error (3.3 M)",
            "darts2nd": "2.76 ± 0.09 % (3.3 M)",
            "gdas": "2.93 % (3.4 M)",
            "snas": "2.98 % (2.9 M)",
            "pc_darts": "2.57 ± 0.07 % (3.6 M)",
            "sd_darts": "2.58 ± 0.11 %, best 2.44 % (3.3 M)",
        },
        common.trained(_rows("darts_cifar10"), recipe="sd_darts"),
        common.on_digits(_rows("darts_digits")),
        needs="",
    ),
    "table3": Study(
        "imagenet",
        "SD-DARTS, Table 3: ImageNet",
        """
The cells found on CIFAR-10, trained on ImageNet (14 cells of 48 channels, 250 epochs of
batch 1024): top-1 and top-5 error, weights, multiply-accumulates. The full variant
needs ``imagenet2012`` and GPUs. Published cells are trained by their name:
``python -m experiments.retrain --genotype=DARTS_V2 --config=retrain_imagenet``.

The proxy has the transfer alone: cells found on scikit-learn's digits, trained on 2,560
images of CIFAR-10: 6 runs of a few minutes each on two cores.
""",
        {
            "darts": "26.7 / 8.7 % error (4.7 M, 574 M)",
            "sd_darts": "25.0 / 7.62 % (4.7 M, 534 M)",
        },
        common.trained(
            _rows("darts_cifar10", "darts sd_darts"),
            recipe="sd_darts",
            dataset="imagenet",
            seeds=(0,),
        ),
        common.transferred(_rows("darts_digits", "darts sd_darts")),
        needs="TFDS_DATA_DIR=DIR",
    ),
    "table4": Study(
        "nasbench201",
        "SD-DARTS, Table 4: NAS-Bench-201",
        """
Search on CIFAR-10, look-up in the benchmark's table: test accuracies on CIFAR-10 /
CIFAR-100 / ImageNet16-120. The full variant has the paper's settings, of baselines the
benchmark's (which SNAS and PC-DARTS are not among: an assumption).
``nasbench201_cifar10`` compares this project's methods there, with random search.

The proxy has the same rows on a part of CIFAR-10: 18 runs.
""",
        {
            "darts": "54.30 / 15.61 / 16.32 %",
            "darts2nd": "54.30 / 15.61 / 16.32 %",
            "gdas": "93.61 ± 0.09 / 70.70 ± 0.30 / 41.71 ± 0.98 %",
            "snas": "92.77 ± 0.83 / 69.34 ± 1.98 / 43.16 ± 2.64 %",
            "pc_darts": "93.41 ± 0.30 / 67.48 ± 0.89 / 41.31 ± 0.22 %",
            "sd_darts": "93.91 ± 0.08 / 71.88 ± 0.76 / 46.03 ± 0.59 %",
        },
        common.searched(
            _rows("nasbench201_cifar10"),
            metrics=common.LOOKED_UP,
            about="The paper's settings, of baselines the benchmark's.",
        ),
        common.looked_up(_rows("nasbench201_cifar10", **_SHARES)),
    ),
    "fig5": Study(
        "warmup",
        "SD-DARTS, Fig. 5: warm-up",
        """
Epochs of warm-up before the teachers vote. One teacher (K = 1), searches of 50 epochs
in the DARTS space, and the cells found are trained. The paper's figure has no numbers
in its text: accuracy rises with the warm-up until 25 epochs and falls after it. The
other values of the axis are an assumption.

The proxy has the same rows on a part of CIFAR-10, its warm-ups the same shares of ten
epochs: 15 runs.
""",
        {"warmup25": "best of all (a curve, no numbers)"},
        common.trained(_warmups(_FULL, of=50), recipe="sd_darts"),
        common.looked_up(_warmups(_PROXY, of=10)),
    ),
    "fig6": Study(
        "window",
        "SD-DARTS, Fig. 6: window",
        """
Window of the voting teachers: warm-up of 25 epochs, K teachers from the epochs before.
The paper's figure has no numbers in its text: K = 2 is best, more get worse. The values
beside K = 2 are an assumption.

The proxy has the same rows on a part of CIFAR-10: 12 runs.
""",
        {"window2": "best of all (a curve, no numbers)"},
        common.trained(
            common.vary("sd_darts_darts_cifar10", _WINDOWS), recipe="sd_darts"
        ),
        common.looked_up(
            common.vary("sd_darts_nasbench201_cifar10", _WINDOWS, common.WARMUP)
        ),
    ),
}

entries = partial(common.entries, "sd_darts", STUDIES)
