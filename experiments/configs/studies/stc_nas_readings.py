r"""STC-NAS: readings of what the paper leaves open, in NAS-Bench-201.

    TFDS_DATA_DIR=DIR NASJAX_NASBENCH201=accuracies.csv python -m experiments.study \
        --config=experiments/configs/studies/stc_nas_readings.py

A narrow supernet (C=8, one cell per stage) over all of CIFAR-10 for the paper's 50
epochs; each run takes 35 minutes to an hour on two cores. The paper's own network
(C=16, five cells per stage) reaches 93.41 ± 0.2 / 70.43 ± 0.21 / 45.03 ± 0.36 %. What
was found is in docs/stc_nas.md.

``:proxy`` is a few minutes per row, to see that each runs.
"""

from ml_collections import ConfigDict

from experiments.configs.papers import base, common

TITLE = "STC-NAS: readings of what the paper leaves open"
_SEARCH = "stc_nas_nasbench201_cifar10"
_HALF = "method.arch_start=25"
_EARLY = "method.arch_start=12"
_BATCH = "search.batch_size=64"


def _rows() -> dict[str, common.Row]:
    rest = "alpha rests for {} of 50 epochs"
    early, half = rest.format(12), rest.format(25)
    return {
        "warm0": ("alpha moves from the start", _SEARCH, "method.arch_start=0"),
        "warm12": (early, _SEARCH, _EARLY),
        "warm25": (half, _SEARCH, _HALF),
        "warm12_batch64": (f"{early}, batch 64", _SEARCH, _EARLY, _BATCH),
        "warm25_batch64": (f"{half}, batch 64", _SEARCH, _HALF, _BATCH),
        "symmetric": (
            f"{half}, noise in [-r, r)",
            _SEARCH,
            _HALF,
            "method.noise=symmetric",
        ),
        "node": (
            f"{half}, alpha normalised per node, gradient to all",
            _SEARCH,
            _HALF,
            "method.js_scope=node",
            "method.js_gradient=all",
        ),
        "decoupled": (
            f"{half}, JS after Adam",
            _SEARCH,
            _HALF,
            "method.js_step=decoupled",
        ),
        "start05": (
            f"{half}, alpha starts at 0.5",
            _SEARCH,
            _HALF,
            "method.alpha_start=0.5",
        ),
        "before": (
            "gradient to all entries, `none` a candidate, no rest",
            _SEARCH,
            "method.arch_start=0",
            "method.js_gradient=all",
            "method.keep_none=True",
        ),
    }


def full() -> ConfigDict:
    """The whole schedule, narrow."""
    return common.study(
        TITLE,
        _rows(),
        metrics=common.LOOKED_UP,
        paper={},
        about=(
            "A narrow supernet (C=8, one cell per stage), all of CIFAR-10, 50 epochs; "
            "accuracies are those of the benchmark's table."
        ),
        overrides=common.NARROW,
        seeds=(0,),
    )


def proxy() -> ConfigDict:
    """The rows on a part of the images."""
    return common.looked_up(TITLE, _rows(), paper={})


def get_config(variant: str | None = None) -> ConfigDict:
    """The study, or its variant of a name."""
    return base.variant(variant, full, proxy=proxy)
