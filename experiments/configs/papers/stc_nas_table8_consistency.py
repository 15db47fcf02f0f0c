r"""STC-NAS, Table 8: each of its four consistencies left out.

    TFDS_DATA_DIR=DIR python -m experiments.study \
        --config=experiments/configs/papers/stc_nas_table8_consistency.py:proxy

On CIFAR-100. Accuracy in the paper: 83.29 ± 0.19 % with all four; 82.35 ± 0.28 without
cell consistency (all 14 edges run), 82.57 ± 0.19 without discretization consistency,
82.99 ± 0.29 without depth consistency (8 cells of 16 channels), 83.04 ± 0.18 % without
that of the data set (found on CIFAR-10). The paper does not say how discretization
consistency is left out; here the JS loss is, an assumption. The full variant was not
run here: for a GPU.

``:proxy`` has the same rows with the digits in the place of CIFAR-100 and their 6 cells
in that of 20: 15 runs of a few minutes each on two cores.
"""

from ml_collections import ConfigDict

from experiments.configs.papers import base, common

TITLE = "STC-NAS, Table 8: consistencies"
#: Test accuracy, per cent.
PAPER = {
    "all": "83.29 ± 0.19 % accuracy",
    "no_cell": "82.35 ± 0.28 %",
    "no_discretization": "82.57 ± 0.19 %",
    "no_depth": "82.99 ± 0.29 %",
    "no_task": "83.04 ± 0.18 %",
}


def _rows(
    search: str, other: common.Row, deep: tuple[str, ...]
) -> dict[str, common.Row]:
    """Rows of a data set, ``other`` being the search on another."""
    no_cell = "method.cell_consistency=False"
    no_js = "method.js_strength=constant(0)"
    return {
        "all": ("all four", search, *deep),
        "no_cell": ("without that of cells", search, no_cell, *deep),
        "no_discretization": ("without discretization", search, no_js, *deep),
        "no_depth": ("without depth", search),
        "no_task": ("without that of the data set", *other),
    }


def full() -> ConfigDict:
    """The paper's settings."""
    other = ("stc_nas_darts_cifar10", *common.DEEP)
    rows = _rows("stc_nas_darts_cifar100", other, common.DEEP)
    return common.trained(
        TITLE, rows, recipe="stc_nas", dataset="cifar100", paper=PAPER
    )


def proxy() -> ConfigDict:
    """The digits, and a part of CIFAR-10 as the other data set."""
    other = ("stc_nas_darts_cifar10", *common.TINY)
    rows = _rows("stc_nas_darts_digits", other, ("supernet.num_cells=6",))
    return common.on_digits(TITLE, rows, paper=PAPER)


def get_config(variant: str | None = None) -> ConfigDict:
    """The study, or its variant of a name."""
    return base.variant(variant, full, proxy=proxy)
