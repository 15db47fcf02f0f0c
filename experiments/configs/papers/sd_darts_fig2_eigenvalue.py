r"""SD-DARTS, Fig. 2: dominant eigenvalue of the Hessian in alpha, epoch by epoch.

    TFDS_DATA_DIR=DIR NASJAX_NASBENCH201=accuracies.csv python -m experiments.study \
        --config=experiments/configs/papers/sd_darts_fig2_eigenvalue.py:proxy

The paper's figure has no numbers in its text: the curve of SD-DARTS stays below that of
DARTS. The full variant has the paper's settings (DARTS space, CIFAR-10) and was not run
here: for a GPU. The curves are in the report of each run, the last values in the table.

``:proxy`` compares the two in the NAS-Bench-201 space on a part of CIFAR-10, measured
on two batches of the validation half: 6 runs of a few minutes each on two cores.
"""

from ml_collections import ConfigDict

from experiments.configs.papers import base, common

TITLE = "SD-DARTS, Fig. 2: dominant eigenvalue"
#: What the paper says of the rows.
PAPER = {"sd_darts": "below DARTS throughout (a curve, no numbers)"}
_METRICS = {"analysis/eigenvalue": "min", "analysis/eigenvalue_residual": ""}


def full() -> ConfigDict:
    """The paper's settings."""
    return common.study(
        TITLE,
        {
            "darts": ("DARTS, first order", "darts_darts_cifar10"),
            "sd_darts": ("SD-DARTS", "sd_darts_darts_cifar10"),
        },
        metrics={**_METRICS, "result/valid_accuracy": "max", "seconds": ""},
        paper=PAPER,
        about="The paper's settings.",
        overrides=("analysis.eigenvalue=1",),
    )


def proxy() -> ConfigDict:
    """A tenth of the images, an eigenvalue each epoch."""
    return common.looked_up(
        TITLE,
        {
            "darts": ("DARTS, first order", "darts_nasbench201_cifar10"),
            "sd_darts": ("SD-DARTS", "sd_darts_nasbench201_cifar10", common.WARMUP),
        },
        paper=PAPER,
        overrides=("analysis.eigenvalue=1", "analysis.eigenvalue_batches=2"),
        metrics=_METRICS,
    )


def get_config(variant: str | None = None) -> ConfigDict:
    """The study, or its variant of a name."""
    return base.variant(variant, full, proxy=proxy)
