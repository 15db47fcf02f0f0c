r"""STC-NAS, Table 1: accuracy that the supernet loses when it is derived.

    TFDS_DATA_DIR=DIR NASJAX_NASBENCH201=accuracies.csv python -m experiments.study \
        --config=experiments/configs/papers/stc_nas_table1_discretization.py:proxy

The supernet's validation accuracy before and after it is cut down to the derived cells,
with the weights of the search. The paper reports 88.1 % and 9.9 % for DARTS and gives
no figure for STC-NAS. The full variant was not run here: for a GPU.

``:proxy`` has the same rows in the NAS-Bench-201 space on a part of CIFAR-10, looked up
in the benchmark's table (`common.looked_up`): 6 runs of a few minutes each on two
cores.
"""

from ml_collections import ConfigDict

from experiments.configs.papers import base, common

TITLE = "STC-NAS, Table 1: discretization"
#: Validation accuracy of the supernet, per cent, before and after.
PAPER = {"darts": "88.1 % before, 9.9 % after"}
_METRICS = {
    "analysis/discretization/before": "max",
    "analysis/discretization/after": "max",
    "analysis/discretization/gap": "min",
}
#: After the last epoch alone.
_ANALYSIS = "analysis.discretization=1000"


def _rows(data: str) -> dict[str, common.Row]:
    return {
        "darts": ("DARTS, first order", f"darts_{data}"),
        "stc_nas": ("STC-NAS", f"stc_nas_{data}"),
    }


def full() -> ConfigDict:
    """The paper's settings, without a training."""
    return common.study(
        TITLE,
        _rows("darts_cifar10"),
        metrics={**_METRICS, "skips/normal": "", "skips/reduce": "", "seconds": ""},
        paper=PAPER,
        about="The paper's settings.",
        overrides=(_ANALYSIS,),
    )


def proxy() -> ConfigDict:
    """The two in the NAS-Bench-201 space."""
    return common.looked_up(
        TITLE,
        _rows("nasbench201_cifar10"),
        paper=PAPER,
        overrides=(_ANALYSIS,),
        metrics=_METRICS,
    )


def get_config(variant: str | None = None) -> ConfigDict:
    """The study, or its variant of a name."""
    return base.variant(variant, full, proxy=proxy)
