r"""STC-NAS, Fig. 5: does the search rank its cells as their training does?

    python -m experiments.study \
        --config=experiments/configs/papers/stc_nas_fig5_ranking.py:proxy

Eight searches with depth consistency and eight without, and the training of each cell.
Kendall's tau between the supernet's accuracy (``result/valid_accuracy``) and that of
the training is 0.64 in the paper with depth consistency, and lower without. The study's
table and page have it for either row, over its eight seeds. The full variant was not
run here: for a GPU.

``:proxy`` has the same on scikit-learn's digits, deep being the 6 cells of the
training: 16 runs of a few minutes each on two cores.
"""

from ml_collections import ConfigDict

from experiments.configs.papers import base, common

TITLE = "STC-NAS, Fig. 5: ranking"
#: Kendall's tau over the seeds.
PAPER = {"deep": "tau 0.64", "shallow": "tau below 0.64"}
_SEEDS = tuple(range(8))


def _rows(search: str, deep: tuple[str, ...]) -> dict[str, common.Row]:
    return {
        "shallow": ("without depth consistency", search),
        "deep": ("with depth consistency", search, *deep),
    }


def full() -> ConfigDict:
    """The paper's settings."""
    rows = _rows("stc_nas_darts_cifar10", common.DEEP)
    return common.trained(TITLE, rows, recipe="stc_nas", paper=PAPER, seeds=_SEEDS)


def proxy() -> ConfigDict:
    """The same seeds on the digits."""
    rows = _rows("stc_nas_darts_digits", ("supernet.num_cells=6",))
    return common.on_digits(TITLE, rows, paper=PAPER, seeds=_SEEDS)


def get_config(variant: str | None = None) -> ConfigDict:
    """The study, or its variant of a name."""
    return base.variant(variant, full, proxy=proxy)
