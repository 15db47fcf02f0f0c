"""STC-NAS's tables and figures: ``--config=stc_nas:PART[:proxy]``.

No full variant was run here: for a GPU. Proxies in the NAS-Bench-201 space take a part
of CIFAR-10, and runs of a few minutes each on two cores (`common.looked_up`); those on
scikit-learn's digits likewise (`common.on_digits`).
"""

from collections.abc import Mapping
from functools import partial

from ml_collections import ConfigDict

from experiments.configs.papers import common
from experiments.configs.papers.common import Row, Rows, Study
from experiments.configs.papers.stc_nas_figures import FIGURES, two

_FULL = "stc_nas_darts_cifar10"
_PROXY = "stc_nas_nasbench201_cifar10"
_DIGITS = "stc_nas_darts_digits"
#: Depth consistency on the digits: the cells of their training.
_DEEP_DIGITS = "supernet.num_cells=6"


_DISCRETIZATION = {
    "analysis/discretization/before": "max",
    "analysis/discretization/after": "max",
    "analysis/discretization/gap": "min",
}
#: After the last epoch alone.
_DERIVED = ("analysis.discretization=1000",)
_COST = {
    "budget/peak_bytes": "min",
    "budget/step_seconds": "min",
    "budget/seconds_per_epoch": "min",
    "seconds": "min",
}


def _costs(part: int, *deep: str) -> Rows:
    """Methods at the paper's batches, of which a part is taken."""
    labels = {"darts": "DARTS", "snas": "SNAS", "gdas": "GDAS", "stc_nas": "STC-NAS"}

    def row(method: str, batch: int, *overrides: str) -> Row:
        batch //= part
        label = f"{labels[method]}, {'20' if overrides else '8'} cells, batch {batch}"
        size = f"search.batch_size={batch}"
        return label, f"{method}_darts_cifar10", size, *overrides

    shallow = {"darts": 64, "snas": 64, "gdas": 256}
    return {
        **{name: row(name, batch) for name, batch in shallow.items()},
        **{f"stc_nas{batch}": row("stc_nas", batch) for batch in (64, 128, 256)},
        **{f"{name}_deep": row(name, 96, *deep) for name in labels},
    }


_TINY_COST = (
    "data.max_examples=512",
    "supernet.channels=4",
    "supernet.num_cells=5",
    "search.epochs=1",
    "search.steps_per_dispatch=2",
)


def _cifar(name: str, label: str, search: str, *deep: str) -> Rows:
    """A data set with and without depth consistency."""
    return {
        f"{name}_shallow": (f"{label}, without depth consistency", search),
        name: (label, search, *deep),
    }


def _both_cifar(title: str, paper: Mapping[str, str]) -> ConfigDict:
    """Either data set, each trained on itself."""
    ten = _cifar("cifar10", "CIFAR-10", _FULL, *common.DEEP)
    hundred = _cifar("cifar100", "CIFAR-100", "stc_nas_darts_cifar100", *common.DEEP)
    config = common.trained({**ten, **hundred}, recipe="stc_nas")(title, paper)
    for name in hundred:
        config.cells[name].retrain = "retrain_cifar100:stc_nas"
    return config


_BENCHMARKED = {
    "random": ("random search, weights shared (RSPS)", "random_nasbench201_cifar10"),
    "darts": ("DARTS, first order", "darts_nasbench201_cifar10"),
    "darts2nd": ("DARTS, second order", "darts2nd_nasbench201_cifar10"),
    "gdas": ("GDAS", "gdas_nasbench201_cifar10"),
    "stc_nas": ("STC-NAS", "stc_nas_nasbench201_cifar10"),
}
#: The proxy's random search ranks fewer candidates.
_FEW = ("method.candidates=100", "method.finalists=5")


_STRENGTHS = {
    **{
        f"static{s}": (f"constant {s}", f"method.js_strength=constant({s})")
        for s in (0, 1, 2)
    },
    **{
        f"from{a}to{b}": (f"{a} to {b}", f"method.js_strength=linear({a}, {b})")
        for a, b in ((0, 1), (1, 2), (0, 2))
    },
}


def _consistencies(search: str, other: Row, *deep: str) -> Rows:
    """Rows of a data set, ``other`` being the search on another."""
    no_cell = "method.cell_consistency=False"
    no_js = "method.js_strength=constant(0)"
    return {
        "all": ("all four", search, *deep),
        "no_cell": ("without that of cells", search, no_cell, *deep),
        "no_discretization": ("without discretization", search, no_js, *deep),
        "no_depth": ("without depth", search),
        "no_task": ("without that of the data set", *other),
    }


STUDIES = {
    "table1": Study(
        "discretization",
        "STC-NAS, Table 1: discretization",
        """
Accuracy that the supernet loses when it is derived: its validation accuracy before and
after it is cut down to the derived cells, with the weights of the search. The paper
gives no figure for STC-NAS.

The proxy has the same rows on a part of CIFAR-10: 6 runs.
""",
        {"darts": "88.1 % before, 9.9 % after"},
        common.searched(
            two("darts_cifar10"),
            metrics={
                **_DISCRETIZATION,
                "skips/normal": "",
                "skips/reduce": "",
                "seconds": "",
            },
            overrides=_DERIVED,
        ),
        common.looked_up(
            two("nasbench201_cifar10"), overrides=_DERIVED, metrics=_DISCRETIZATION
        ),
    ),
    "table3": Study(
        "cost",
        "STC-NAS, Table 3: cost",
        """
Memory and time of the search, in GB and GPU-days in the paper, on a V100. The memory
here is the compiler's own account of a step; ``python -m experiments.benchmark
--what=memory`` has it without running one. The full variant is for a GPU of 80 GB.

The proxy has every row for a few steps on 512 images, at 4 channels, 5 and 8 cells, a
quarter of the batch: 10 runs of about a minute each on two cores.
""",
        {
            "darts": "9.4 GB, 0.75 GPU-days",
            "snas": "9.4 GB, 1.45",
            "gdas": "6.8 GB, 0.18",
            "stc_nas64": "1.8 GB, 0.142",
            "stc_nas128": "3.1 GB, 0.083",
            "stc_nas256": "5.5 GB, 0.059",
            "darts_deep": "80 GB, 8.4",
            "snas_deep": "83 GB, 15.6",
            "gdas_deep": "16 GB, 1.0",
            "stc_nas_deep": "12 GB, 0.22",
        },
        common.searched(
            _costs(1, "supernet.num_cells=20", "supernet.channels=36"),
            metrics=_COST,
            seeds=(0,),
        ),
        common.searched(
            _costs(4, "supernet.num_cells=8"),
            metrics=_COST,
            about=(
                "A proxy, not the paper's setting: 4 channels, 5 cells (8 where the "
                "label says 20), a quarter of the batch, one epoch of 512 images."
            ),
            overrides=_TINY_COST,
            seeds=(0,),
        ),
        needs="TFDS_DATA_DIR=DIR",
    ),
    "table4": Study(
        "cifar",
        "STC-NAS, Table 4: CIFAR",
        """
Test error on CIFAR-10 and CIFAR-100: search with depth consistency (20 cells of 36
channels, batch 96; 0.22 GPU-days) and without (8 cells of 16, batch 256; 0.059), on the
data set of the training.

The proxy has the two of one data set on scikit-learn's digits, search and training,
deep being the 6 cells of the training: 6 runs.
""",
        {
            "cifar10_shallow": "2.48 ± 0.03 % error (3.89 ± 0.11 M)",
            "cifar10": "2.46 ± 0.04 %, best 2.42 % (3.88 ± 0.31 M)",
            "cifar100_shallow": "17.01 ± 0.29 % (3.82 ± 0.03 M)",
            "cifar100": "16.71 ± 0.19 %, best 16.45 % (3.85 ± 0.24 M)",
        },
        _both_cifar,
        common.on_digits(_cifar("cifar10", "digits", _DIGITS, _DEEP_DIGITS)),
        needs="",
    ),
    "table5": Study(
        "imagenet",
        "STC-NAS, Table 5: ImageNet",
        """
Cells found on CIFAR-10 ("without depth and task consistency") and cells found on a
fifth of ImageNet itself (0.625 GPU-days), trained on ImageNet (14 cells of 48 channels,
250 epochs of batch 1024): top-1 and top-5 error, weights, multiply-accumulates. The
full variant needs ``imagenet2012`` and GPUs.

The proxy has the transfer alone: cells found on scikit-learn's digits and on CIFAR-10,
trained on 2,560 images of CIFAR-10: 6 runs of a few minutes each on two cores.
""",
        {
            "transferred": "24.3 / 7.4 % error (5.3 M, 596 M)",
            "direct": "24.2 / 7.3 % (5.3 M, 588 M)",
        },
        common.trained(
            {
                "transferred": ("found on CIFAR-10", _FULL),
                "direct": ("found on ImageNet", "stc_nas_darts_imagenet"),
            },
            recipe="stc_nas",
            dataset="imagenet",
            seeds=(0,),
        ),
        common.transferred(
            {
                "transferred": ("found on the digits", _DIGITS),
                "direct": ("found on CIFAR-10", _FULL, *common.TINY),
            }
        ),
        needs="TFDS_DATA_DIR=DIR",
    ),
    "table6": Study(
        "nasbench201",
        "STC-NAS, Table 6: NAS-Bench-201",
        """
Search on CIFAR-10 for 50 epochs, look-up in the benchmark's table: test accuracies on
CIFAR-10 / CIFAR-100 / ImageNet16-120, in brackets those of NATS-Bench's own searches
where the paper has both. ENAS and SETN are no methods of this project.
``nasbench201_cifar10`` compares this project's methods there.

The proxy has the same rows on a part of CIFAR-10: 15 runs.
""",
        {
            "random": "91.05 ± 0.66 / 68.26 ± 0.96 / 40.96 ± 0.36 %",
            "darts": "59.84 ± 7.84 / 61.26 ± 4.43 / 37.88 ± 2.91 % "
            "(54.30 / 15.61 / 16.32 %)",
            "darts2nd": "65.38 ± 7.84 / 60.49 ± 4.95 / 36.79 ± 7.59 %",
            "gdas": "93.23 ± 0.58 / 68.17 ± 2.50 / 39.40 % (93.61 / 70.70 / 41.71 %)",
            "stc_nas": "93.41 ± 0.2 / 70.43 ± 0.21 / 45.03 ± 0.36 %, 3,600 s",
        },
        common.searched(
            _BENCHMARKED,
            metrics=common.LOOKED_UP,
            about="The paper's settings, of baselines the benchmark's.",
        ),
        common.looked_up({**_BENCHMARKED, "random": (*_BENCHMARKED["random"], *_FEW)}),
    ),
    "table7": Study(
        "js",
        "STC-NAS, Table 7: JS loss",
        """
Strength of the JS loss, constant and rising: accuracy on CIFAR-10.

The proxy has the same rows on a part of CIFAR-10: 18 runs.
""",
        {
            "static0": "97.19 ± 0.12 % accuracy",
            "static1": "97.27 ± 0.07 %",
            "static2": "97.31 ± 0.11 %",
            "from0to1": "97.16 ± 0.26 %",
            "from1to2": "97.34 ± 0.02 %",
            "from0to2": "97.52 ± 0.03 %",
        },
        common.trained(common.vary(_FULL, _STRENGTHS), recipe="stc_nas"),
        common.looked_up(common.vary(_PROXY, _STRENGTHS)),
    ),
    "table8": Study(
        "consistency",
        "STC-NAS, Table 8: consistencies",
        """
Each of its four consistencies left out, on CIFAR-100: that of cells (all 14 edges run),
of discretization, of depth (8 cells of 16 channels), of the data set (found on
CIFAR-10). The paper does not say how discretization consistency is left out; here the
JS loss is, an assumption.

The proxy has the same rows with the digits in the place of CIFAR-100 and their 6 cells
in that of 20: 15 runs.
""",
        {
            "all": "83.29 ± 0.19 % accuracy",
            "no_cell": "82.35 ± 0.28 %",
            "no_discretization": "82.57 ± 0.19 %",
            "no_depth": "82.99 ± 0.29 %",
            "no_task": "83.04 ± 0.18 %",
        },
        common.trained(
            _consistencies(
                "stc_nas_darts_cifar100", (_FULL, *common.DEEP), *common.DEEP
            ),
            recipe="stc_nas",
            dataset="cifar100",
        ),
        common.on_digits(_consistencies(_DIGITS, (_FULL, *common.TINY), _DEEP_DIGITS)),
        needs="TFDS_DATA_DIR=DIR",
    ),
}

STUDIES |= FIGURES
entries = partial(common.entries, "stc_nas", STUDIES)
