r"""SD-DARTS, Fig. 5: epochs of warm-up before the teachers vote.

    TFDS_DATA_DIR=DIR NASJAX_NASBENCH201=accuracies.csv python -m experiments.study \
        --config=experiments/configs/papers/sd_darts_fig5_warmup.py:proxy

One teacher (K = 1), searches of 50 epochs in the DARTS space, and the cells found are
trained. The paper's figure has no numbers in its text: accuracy rises with the warm-up
until 25 epochs and falls after it. The other values of the axis are an assumption. The
full variant was not run here: for a GPU.

``:proxy`` has the same rows in the NAS-Bench-201 space on a part of CIFAR-10, looked up
in the benchmark's table (`common.looked_up`): 15 runs of a few minutes each on two
cores. Its warm-ups are the same shares of its ten epochs.
"""

from ml_collections import ConfigDict

from experiments.configs.papers import base, common

TITLE = "SD-DARTS, Fig. 5: warm-up"
#: What the paper says of the rows.
PAPER = {"warmup25": "best of all (a curve, no numbers)"}
_EPOCHS = (5, 15, 25, 35, 45)


def _rows(search: str, *, of: int) -> dict[str, common.Row]:
    """A row for each warm-up, of a search of so many epochs."""
    return {
        f"warmup{epochs}": (
            f"warm-up {epochs * of // 50} of {of} epochs",
            search,
            "method.window=1",
            f"method.warmup={epochs * of // 50}",
        )
        for epochs in _EPOCHS
    }


def full() -> ConfigDict:
    """The paper's settings."""
    rows = _rows("sd_darts_darts_cifar10", of=50)
    return common.trained(TITLE, rows, recipe="sd_darts", paper=PAPER)


def proxy() -> ConfigDict:
    """The same shares of ten epochs, in the NAS-Bench-201 space."""
    rows = _rows("sd_darts_nasbench201_cifar10", of=10)
    return common.looked_up(TITLE, rows, paper=PAPER)


def get_config(variant: str | None = None) -> ConfigDict:
    """The study, or its variant of a name."""
    return base.variant(variant, full, proxy=proxy)
