r"""STC-NAS, Table 5: ImageNet.

    TFDS_DATA_DIR=DIR python -m experiments.study \
        --config=experiments/configs/papers/stc_nas_table5_imagenet.py:proxy

Cells found on CIFAR-10 ("without depth and task consistency") and cells found on a
fifth of ImageNet itself, trained on ImageNet (14 cells of 48 channels, 250 epochs of
batch 1024). The paper reports 24.3 % top-1 and 7.4 % top-5 error (5.3 M weights, 596 M
multiply-accumulates) and 24.2 and 7.3 % (5.3 M, 588 M; 0.625 GPU-days). The full
variant needs ``imagenet2012`` and GPUs; it was not run here.

``:proxy`` has the transfer alone: cells found on scikit-learn's digits and on CIFAR-10,
trained on 2,560 images of CIFAR-10: 6 runs of a few minutes each on two cores.
"""

from ml_collections import ConfigDict

from experiments.configs.papers import base, common

TITLE = "STC-NAS, Table 5: ImageNet"
#: Test error, per cent, top-1 and top-5; weights; multiply-accumulates.
PAPER = {
    "transferred": "24.3 / 7.4 % error (5.3 M, 596 M)",
    "direct": "24.2 / 7.3 % (5.3 M, 588 M)",
}


def full() -> ConfigDict:
    """The paper's settings: one search and one training."""
    return common.trained(
        TITLE,
        {
            "transferred": ("found on CIFAR-10", "stc_nas_darts_cifar10"),
            "direct": ("found on ImageNet", "stc_nas_darts_imagenet"),
        },
        recipe="stc_nas",
        dataset="imagenet",
        paper=PAPER,
        seeds=(0,),
    )


def proxy() -> ConfigDict:
    """To a part of CIFAR-10, from the digits and from that part."""
    return common.transferred(
        TITLE,
        {
            "transferred": ("found on the digits", "stc_nas_darts_digits"),
            "direct": ("found on CIFAR-10", "stc_nas_darts_cifar10", *common.TINY),
        },
        paper=PAPER,
    )


def get_config(variant: str | None = None) -> ConfigDict:
    """The study, or its variant of a name."""
    return base.variant(variant, full, proxy=proxy)
