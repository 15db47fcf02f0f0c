r"""STC-NAS, Figs. 3 and 9: heat maps of alpha at the end of the search.

    python -m experiments.study \
        --config=experiments/configs/papers/stc_nas_fig9_alpha.py:proxy

In the paper DARTS's weights are close to each other on every edge, STC-NAS's close to
one-hot on the edges that are kept. The heat maps are in the report of each run; the
table has the mean entropy (nats) of an edge's weights and the margin of its strongest
operation. The full variant was not run here: for a GPU.

``:proxy`` has the same two on scikit-learn's digits: 6 runs of about a minute each on
two cores.
"""

from ml_collections import ConfigDict

from experiments.configs.papers import base, common

TITLE = "STC-NAS, Fig. 9: alpha"
#: What the paper says of the rows.
PAPER = {
    "darts": "weights of an edge close to each other (heat map)",
    "stc_nas": "close to one-hot (heat map)",
}
_METRICS = {
    "analysis/entropy/normal": "min",
    "analysis/entropy/reduce": "min",
    "analysis/margin/normal": "max",
    "analysis/margin/reduce": "max",
    "skips/normal": "",
    "skips/reduce": "",
    "result/valid_accuracy": "max",
}


def _study(title: str, data: str, about: str) -> ConfigDict:
    rows: dict[str, common.Row] = {
        "darts": ("DARTS, first order", f"darts_darts_{data}"),
        "stc_nas": ("STC-NAS", f"stc_nas_darts_{data}"),
    }
    return common.study(title, rows, metrics=_METRICS, paper=PAPER, about=about)


def full() -> ConfigDict:
    """The paper's settings, without a training."""
    return _study(TITLE, "cifar10", "The paper's settings.")


def proxy() -> ConfigDict:
    """The two on the digits."""
    about = "A proxy, not the paper's setting: scikit-learn's 8×8 digits, 30 epochs."
    return _study(f"{TITLE}, proxy", "digits", about)


def get_config(variant: str | None = None) -> ConfigDict:
    """The study, or its variant of a name."""
    return base.variant(variant, full, proxy=proxy)
