r"""STC-NAS, Fig. 8: skip connections and accuracy of a longer search.

    TFDS_DATA_DIR=DIR NASJAX_NASBENCH201=accuracies.csv python -m experiments.study \
        --config=experiments/configs/papers/stc_nas_fig8_collapse.py:proxy

Searches of 150 epochs. In the paper DARTS's normal cell ends with skip connections
alone in the last 25 epochs, and its accuracy drops; STC-NAS never has more than two,
and is best at epoch 50. Skip connections over time are in the report of each run; the
cell of an earlier epoch is ``nasjax.derive`` of that row of ``alphas.npz``. The full
variant was not run here: for a GPU.

``:proxy`` has the same rows in the NAS-Bench-201 space on a part of CIFAR-10, looked up
in the benchmark's table (`common.looked_up`): 6 runs of a few minutes each on two
cores. Its searches have 30 epochs, three times those of the other proxies.
"""

from ml_collections import ConfigDict

from experiments.configs.papers import base, common

TITLE = "STC-NAS, Fig. 8: collapse"
#: What the paper says of the rows.
PAPER = {
    "darts": "skip connections alone after 125 of 150 epochs",
    "stc_nas": "at most two skip connections",
}


def _rows(data: str, epochs: int) -> dict[str, common.Row]:
    long = f"search.epochs={epochs}"
    return {
        "darts": ("DARTS, first order", f"darts_{data}", long),
        "stc_nas": ("STC-NAS", f"stc_nas_{data}", long),
    }


def full() -> ConfigDict:
    """The paper's settings."""
    rows = _rows("darts_cifar10", 150)
    return common.trained(TITLE, rows, recipe="stc_nas", paper=PAPER)


def proxy() -> ConfigDict:
    """Thirty epochs in the NAS-Bench-201 space."""
    config = common.looked_up(TITLE, _rows("nasbench201_cifar10", 30), paper=PAPER)
    config.about = config.about.replace("10 epochs", "30 epochs")
    return config


def get_config(variant: str | None = None) -> ConfigDict:
    """The study, or its variant of a name."""
    return base.variant(variant, full, proxy=proxy)
