r"""STC-NAS: readings of what the paper leaves open, in NAS-Bench-201.

    TFDS_DATA_DIR=DIR NASJAX_NASBENCH201=accuracies.csv python -m experiments.study \
        --config=experiments/configs/studies/stc_nas_readings.py

A narrow supernet (C=8, one cell per stage) over all of CIFAR-10 for the paper's 50
epochs; one row's first 37 epochs took 41 processor-minutes on two cores of an AMD EPYC
that had other work too, the others were not run. The paper's own network
(C=16, five cells per stage) reaches 93.41 ± 0.2 / 70.43 ± 0.21 / 45.03 ± 0.36 %. What
was found is in docs/stc_nas.md.

``:proxy`` is a few minutes per row, to see that each runs.
"""

from ml_collections import ConfigDict

from experiments.configs.papers import base, common

TITLE = "STC-NAS: readings of what the paper leaves open"
_SEARCH = "stc_nas_nasbench201_cifar10"
_BATCH = "search.batch_size=64"


def _rows(epochs: int) -> dict[str, common.Row]:
    early, half = epochs * 12 // 50, epochs // 2
    none_at_first, for_early, for_half = (
        f"method.arch_start={number}" for number in (0, early, half)
    )
    after_early, after_half = (
        f"alpha rests for {number} of {epochs} epochs" for number in (early, half)
    )

    def row(label: str, *overrides: str) -> common.Row:
        return label, _SEARCH, *overrides

    return {
        "warm0": row("alpha moves from the start", none_at_first),
        "warm12": row(after_early, for_early),
        "warm25": row(after_half, for_half),
        "warm12_batch64": row(f"{after_early}, batch 64", for_early, _BATCH),
        "warm25_batch64": row(f"{after_half}, batch 64", for_half, _BATCH),
        "symmetric": row(
            f"{after_half}, noise in [-r, r)", for_half, "method.noise=symmetric"
        ),
        "node": row(
            f"{after_half}, alpha normalised per node, gradient to all",
            for_half,
            "method.js_scope=node",
            "method.js_gradient=all",
        ),
        "decoupled": row(
            f"{after_half}, JS after Adam", for_half, "method.js_step=decoupled"
        ),
        "start05": row(
            f"{after_half}, alpha starts at 0.5", for_half, "method.alpha_start=0.5"
        ),
        "before": row(
            "gradient to all entries, `none` a candidate, no rest",
            none_at_first,
            "method.js_gradient=all",
            "method.keep_none=True",
        ),
    }


def full() -> ConfigDict:
    """The whole schedule, narrow."""
    return common.study(
        TITLE,
        _rows(50),
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
    return common.looked_up(TITLE, _rows(10), paper={})


def get_config(variant: str | None = None) -> ConfigDict:
    """The study, or its variant of a name."""
    return base.variant(variant, full, proxy=proxy)
