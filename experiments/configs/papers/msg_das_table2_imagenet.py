r"""MSG-DAS, Table 2: the cells found on CIFAR-10, trained on ImageNet.

    TFDS_DATA_DIR=DIR python -m experiments.study \
        --config=experiments/configs/papers/msg_das_table2_imagenet.py:proxy

The paper reports 24.8 % top-1 and 8.0 % top-5 error at 5.4 M weights and 577 M
multiply-accumulates (14 cells of 48 channels, 250 epochs of batch 256, learning rate
0.1 times 0.97 an epoch), GDAS 26.0 and 8.5 % at 5.3 M and 530 M. The full variant needs
``imagenet2012`` and GPUs; it was not run here.

``:proxy`` has the transfer alone: cells found on scikit-learn's digits, trained on
2,560 images of CIFAR-10: 6 runs of a few minutes each on two cores.
"""

from ml_collections import ConfigDict

from experiments.configs.papers import base, common

TITLE = "MSG-DAS, Table 2: ImageNet"
#: Test error, per cent, top-1 and top-5; weights; multiply-accumulates.
PAPER = {
    "gdas": "26.0 / 8.5 % error (5.3 M, 530 M)",
    "msg_das": "24.8 / 8.0 % (5.4 M, 577 M)",
}


def _rows(data: str) -> dict[str, common.Row]:
    return {
        "gdas": ("GDAS", f"gdas_darts_{data}"),
        "msg_das": ("MSG-DAS", f"msg_das_darts_{data}"),
    }


def full() -> ConfigDict:
    """The paper's settings: one search and one training."""
    return common.trained(
        TITLE,
        _rows("cifar10"),
        recipe="msg_das",
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
