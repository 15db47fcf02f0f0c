r"""SD-DARTS, Table 3: the cells found on CIFAR-10, trained on ImageNet.

    TFDS_DATA_DIR=DIR python -m experiments.study \
        --config=experiments/configs/papers/sd_darts_table3_imagenet.py:proxy

The paper reports 25.0 % top-1 and 7.62 % top-5 error at 4.7 M weights and 534 M
multiply-accumulates (14 cells of 48 channels, 250 epochs of batch 1024), DARTS 26.7 and
8.7 % at 4.7 M and 574 M. The full variant needs ``imagenet2012`` and GPUs; it was not
run here. Published cells are trained by their name: ``python -m experiments.retrain
--genotype=DARTS_V2 --config=experiments/configs/retrain_imagenet.py``.

``:proxy`` has the transfer alone: cells found on scikit-learn's digits, trained on
2,560 images of CIFAR-10: 6 runs of a few minutes each on two cores.
"""

from ml_collections import ConfigDict

from experiments.configs.papers import base, common

TITLE = "SD-DARTS, Table 3: ImageNet"
#: Test error, per cent, top-1 and top-5; weights; multiply-accumulates.
PAPER = {
    "darts": "26.7 / 8.7 % error (4.7 M, 574 M)",
    "sd_darts": "25.0 / 7.62 % (4.7 M, 534 M)",
}


def _rows(data: str) -> dict[str, common.Row]:
    return {
        "darts": ("DARTS, first order", f"darts_darts_{data}"),
        "sd_darts": ("SD-DARTS", f"sd_darts_darts_{data}"),
    }


def full() -> ConfigDict:
    """The paper's settings: one search and one training."""
    return common.trained(
        TITLE,
        _rows("cifar10"),
        recipe="sd_darts",
        dataset="imagenet",
        paper=PAPER,
        seeds=(0,),
    )


def proxy() -> ConfigDict:
    """From the digits to a part of CIFAR-10."""
    return common.transferred(TITLE, _rows("digits"), paper=PAPER)


def get_config(variant: str | None = None) -> ConfigDict:
    """The study, or its variant of a name."""
    return base.variant(variant, full, proxy=proxy)
