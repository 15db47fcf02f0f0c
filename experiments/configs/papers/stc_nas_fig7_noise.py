r"""STC-NAS, Fig. 7: range of the sampling noise at the start.

    TFDS_DATA_DIR=DIR NASJAX_NASBENCH201=accuracies.csv python -m experiments.study \
        --config=experiments/configs/papers/stc_nas_fig7_noise.py:proxy

The figure's numbers are not in the paper's text: without noise the search is stuck and
far worse, 0.3 is better than 0.1 and 0.5. The full variant was not run here: for a GPU.

``:proxy`` has the same rows in the NAS-Bench-201 space on a part of CIFAR-10, looked up
in the benchmark's table (`common.looked_up`): 12 runs of a few minutes each on two
cores.
"""

from ml_collections import ConfigDict

from experiments.configs.papers import base, common

TITLE = "STC-NAS, Fig. 7: noise"
#: What the paper says of the rows.
PAPER = {"r0": "far worse (bars, no numbers)", "r0_3": "best of all"}


def _rows(search: str) -> dict[str, common.Row]:
    return {
        f"r{r}".replace(".", "_"): (
            f"range {r}",
            search,
            f"method.noise_range=linear({r}, 0)",
        )
        for r in ("0", "0.1", "0.3", "0.5")
    }


def full() -> ConfigDict:
    """The paper's settings."""
    rows = _rows("stc_nas_darts_cifar10")
    return common.trained(TITLE, rows, recipe="stc_nas", paper=PAPER)


def proxy() -> ConfigDict:
    """The same ranges in the NAS-Bench-201 space."""
    return common.looked_up(TITLE, _rows("stc_nas_nasbench201_cifar10"), paper=PAPER)


def get_config(variant: str | None = None) -> ConfigDict:
    """The study, or its variant of a name."""
    return base.variant(variant, full, proxy=proxy)
