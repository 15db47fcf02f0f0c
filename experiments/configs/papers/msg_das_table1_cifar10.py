r"""MSG-DAS, Table 1: test error on CIFAR-10, by batch size of the search.

    python -m experiments.study \
        --config=experiments/configs/papers/msg_das_table1_cifar10.py:proxy

Search in the DARTS space on CIFAR-10 (240 epochs, K = 2), then 600 epochs of training
on all its images. The paper reports 2.57 ± 0.05 % error at batch 128 (seeds 0, 1, 2)
and 2.40 % at batch 160, in its text 2.81 % at batch 64 and 2.61 % at batch 96, at 0.5
GPU-days (GTX 1080 Ti). The full variant was not run here: for a GPU.

``:proxy`` has the same rows on scikit-learn's digits, search and training
(`common.on_digits`): 15 runs of a few minutes each on two cores. Its batches are a
quarter of the paper's.
"""

from ml_collections import ConfigDict

from experiments.configs.papers import base, common

TITLE = "MSG-DAS, Table 1: CIFAR-10"
#: Test error, per cent; weights.
PAPER = {
    "gdas": "2.93 % error (3.4 M)",
    "batch64": "2.81 %",
    "batch96": "2.61 %",
    "batch128": "2.57 ± 0.05 % (3.58 ± 0.09 M)",
    "batch160": "2.40 % (3.6 M)",
}


def _rows(data: str, *, part: int) -> dict[str, common.Row]:
    return {
        "gdas": ("GDAS", f"gdas_darts_{data}"),
        **{
            f"batch{size}": (
                f"MSG-DAS, batch {size // part}",
                f"msg_das_darts_{data}",
                f"search.batch_size={size // part}",
            )
            for size in (64, 96, 128, 160)
        },
    }


def full() -> ConfigDict:
    """The paper's settings."""
    rows = _rows("cifar10", part=1)
    return common.trained(TITLE, rows, recipe="msg_das", paper=PAPER)


def proxy() -> ConfigDict:
    """A quarter of the batch, on the digits."""
    return common.on_digits(TITLE, _rows("digits", part=4), paper=PAPER)


def get_config(variant: str | None = None) -> ConfigDict:
    """The study, or its variant of a name."""
    return base.variant(variant, full, proxy=proxy)
