r"""SD-DARTS, Fig. 6: window of the voting teachers.

    TFDS_DATA_DIR=DIR NASJAX_NASBENCH201=accuracies.csv python -m experiments.study \
        --config=experiments/configs/papers/sd_darts_fig6_window.py:proxy

Warm-up of 25 epochs, K teachers from the epochs before. The paper's figure has no
numbers in its text: K = 2 is best, more get worse. The values beside K = 2 are an
assumption. The full variant was not run here: for a GPU.

``:proxy`` has the same rows in the NAS-Bench-201 space on a part of CIFAR-10, looked up
in the benchmark's table (`common.looked_up`): 12 runs of a few minutes each on two
cores.
"""

from ml_collections import ConfigDict

from experiments.configs.papers import base, common

TITLE = "SD-DARTS, Fig. 6: window"
#: What the paper says of the rows.
PAPER = {"window2": "best of all (a curve, no numbers)"}


def _rows(search: str, *overrides: str) -> dict[str, common.Row]:
    return {
        f"window{k}": (f"K = {k}", search, f"method.window={k}", *overrides)
        for k in (1, 2, 3, 4)
    }


def full() -> ConfigDict:
    """The paper's settings."""
    rows = _rows("sd_darts_darts_cifar10")
    return common.trained(TITLE, rows, recipe="sd_darts", paper=PAPER)


def proxy() -> ConfigDict:
    """The same windows in the NAS-Bench-201 space."""
    rows = _rows("sd_darts_nasbench201_cifar10", common.WARMUP)
    return common.looked_up(TITLE, rows, paper=PAPER)


def get_config(variant: str | None = None) -> ConfigDict:
    """The study, or its variant of a name."""
    return base.variant(variant, full, proxy=proxy)
