r"""STC-NAS, Fig. 8: skip connections and accuracy of a longer search.

    TFDS_DATA_DIR=DIR NASJAX_NASBENCH201=accuracies.csv python -m experiments.study \
        --config=experiments/configs/papers/stc_nas_fig8_collapse.py:proxy

Searches of 150 epochs; the cell of every 25th is trained, and the table has its
accuracy and its skip connections by epoch. In the paper DARTS's normal cell ends with
skip connections alone in the last 25 epochs, and its accuracy drops; STC-NAS never has
more than two, and is best at epoch 50. Skip connections after every single epoch are a
curve of the study's page, and in the report of each run. The full variant was not run
here: for a GPU.

``:proxy`` has the same rows in the NAS-Bench-201 space on a part of CIFAR-10; the cell
of every fifth epoch is looked up in the benchmark's table (`common.looked_up`), where
it was trained: 6 runs of a few minutes each on two cores. Its searches have 30 epochs,
three times those of the other proxies.
"""

from ml_collections import ConfigDict

from experiments.configs.papers import base, common

TITLE = "STC-NAS, Fig. 8: collapse"
#: What the paper says of the rows.
PAPER = {
    "darts": "skip connections alone after 125 of 150 epochs",
    "stc_nas": "at most two skip connections",
}
#: Epochs of a search, and those whose cells are trained or looked up.
_FULL = (150, tuple(range(25, 151, 25)))
_PROXY = (30, tuple(range(5, 31, 5)))


def _rows(data: str, epochs: int) -> dict[str, common.Row]:
    long = f"search.epochs={epochs}"
    return {
        "darts": ("DARTS, first order", f"darts_{data}", long),
        "stc_nas": ("STC-NAS", f"stc_nas_{data}", long),
    }


def full() -> ConfigDict:
    """The paper's settings."""
    end, epochs = _FULL
    measured = {"retrain/test_accuracy": "max", "skips/normal": "", "skips/reduce": ""}
    return common.trained(
        TITLE,
        _rows("darts_cifar10", end),
        recipe="stc_nas",
        paper=PAPER,
        metrics=common.at_epochs(measured, epochs),
        retrain_epochs=epochs[:-1],
    )


def proxy() -> ConfigDict:
    """Thirty epochs in the NAS-Bench-201 space."""
    end, epochs = _PROXY
    measured = {"lookup/cifar10": "max", "skips/cell": ""}
    config = common.looked_up(
        TITLE,
        _rows("nasbench201_cifar10", end),
        paper=PAPER,
        metrics=common.at_epochs(measured, epochs),
    )
    config.about = config.about.replace("10 epochs", f"{end} epochs")
    return config


def get_config(variant: str | None = None) -> ConfigDict:
    """The study, or its variant of a name."""
    return base.variant(variant, full, proxy=proxy)
