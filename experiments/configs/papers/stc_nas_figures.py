"""STC-NAS's figures: a part of `experiments.configs.papers.stc_nas`."""

from experiments.configs.papers import common
from experiments.configs.papers.common import Rows, Study

_FULL = "stc_nas_darts_cifar10"
_PROXY = "stc_nas_nasbench201_cifar10"
_DIGITS = "stc_nas_darts_digits"
_SEEDS = tuple(range(8))


def two(where: str, *overrides: str) -> Rows:
    """DARTS and STC-NAS in ``SPACE_DATA``."""
    return {
        "darts": ("DARTS, first order", f"darts_{where}", *overrides),
        "stc_nas": ("STC-NAS", f"stc_nas_{where}", *overrides),
    }


def _depths(search: str, *deep: str) -> Rows:
    return {
        "shallow": ("without depth consistency", search),
        "deep": ("with depth consistency", search, *deep),
    }


_ACTIVATIONS = {
    name: (name, f"method.activation={name}") for name in ("softmax", "sigmoid", "relu")
}
_NOISES = {
    f"r{r}".replace(".", "_"): (f"range {r}", f"method.noise_range=linear({r}, 0)")
    for r in ("0", "0.1", "0.3", "0.5")
}
_HEAT = {
    "analysis/entropy/normal": "min",
    "analysis/entropy/reduce": "min",
    "analysis/margin/normal": "max",
    "analysis/margin/reduce": "max",
    "skips/normal": "",
    "skips/reduce": "",
    "result/valid_accuracy": "max",
}
_TRAINED_AT = {"retrain/test_accuracy": "max", "skips/normal": "", "skips/reduce": ""}
_LOOKED_UP_AT = {"lookup/cifar10": "max", "skips/cell": ""}

FIGURES = {
    "fig5": Study(
        "ranking",
        "STC-NAS, Fig. 5: ranking",
        """
Does the search rank its cells as their training does? Eight searches with depth
consistency and eight without, and the training of each cell. The study's
table and page have Kendall's tau between the supernet's accuracy
(``result/valid_accuracy``) and that of the training for either row, over its seeds.

The proxy has the same on scikit-learn's digits, deep being the 6 cells of the training:
16 runs.
""",
        {"deep": "tau 0.64", "shallow": "tau below 0.64"},
        common.trained(_depths(_FULL, *common.DEEP), recipe="stc_nas", seeds=_SEEDS),
        common.on_digits(_depths(_DIGITS, "supernet.num_cells=6"), seeds=_SEEDS),
        needs="",
    ),
    "fig6": Study(
        "activation",
        "STC-NAS, Fig. 6: activation",
        """
Softmax, sigmoid or ReLU of alpha. The figure's numbers are not in the paper's text:
ReLU is best.

The proxy has the same rows on a part of CIFAR-10: 9 runs.
""",
        {"relu": "best of the three (bars, no numbers)"},
        common.trained(common.vary(_FULL, _ACTIVATIONS), recipe="stc_nas"),
        common.looked_up(common.vary(_PROXY, _ACTIVATIONS)),
    ),
    "fig7": Study(
        "noise",
        "STC-NAS, Fig. 7: noise",
        """
Range of the sampling noise at the start. The figure's numbers are not in the paper's
text: without noise the search is stuck and far worse, 0.3 is better than 0.1 and 0.5.

The proxy has the same rows on a part of CIFAR-10: 12 runs.
""",
        {"r0": "far worse (bars, no numbers)", "r0_3": "best of all"},
        common.trained(common.vary(_FULL, _NOISES), recipe="stc_nas"),
        common.looked_up(common.vary(_PROXY, _NOISES)),
    ),
    "fig8": Study(
        "collapse",
        "STC-NAS, Fig. 8: collapse",
        """
Skip connections and accuracy of a longer search: searches of 150 epochs; the cell of
every 25th is trained, and the table has its accuracy and its skip connections by epoch.
In the paper DARTS's normal cell ends with skip connections alone in the last 25 epochs,
and its accuracy drops; STC-NAS never has more than two, and is best at epoch 50. Skip
connections after every single epoch are a curve of the study's page, and in the report
of each run.

The proxy has the same rows on a part of CIFAR-10; the cell of every fifth epoch is
looked up, where it was trained: 6 runs. Its searches have 30 epochs, three times those
of the other proxies.
""",
        {
            "darts": "skip connections alone after 125 of 150 epochs",
            "stc_nas": "at most two skip connections",
        },
        common.trained(
            two("darts_cifar10", "search.epochs=150"),
            recipe="stc_nas",
            metrics=common.at_epochs(_TRAINED_AT, range(25, 151, 25)),
            retrain_epochs=tuple(range(25, 150, 25)),
        ),
        common.looked_up(
            two("nasbench201_cifar10", "search.epochs=30"),
            metrics=common.at_epochs(_LOOKED_UP_AT, range(5, 31, 5)),
            epochs=30,
        ),
    ),
    "fig9": Study(
        "alpha",
        "STC-NAS, Fig. 9: alpha",
        """
Figs. 3 and 9: heat maps of alpha at the end of the search. In the paper DARTS's weights
are close to each other on every edge, STC-NAS's close to one-hot on the edges that are
kept. The heat maps are in the report of each run; the table has the mean entropy (nats)
of an edge's weights and the margin of its strongest operation.

The proxy has the same two on scikit-learn's digits: 6 runs of about a minute each on
two cores.
""",
        {
            "darts": "weights of an edge close to each other (heat map)",
            "stc_nas": "close to one-hot (heat map)",
        },
        common.searched(two("darts_cifar10"), metrics=_HEAT),
        common.searched(
            two("darts_digits"),
            metrics=_HEAT,
            about="A proxy, not the paper's setting: scikit-learn's 8×8 digits, 30 "
            "epochs.",
        ),
        needs="",
    ),
}
