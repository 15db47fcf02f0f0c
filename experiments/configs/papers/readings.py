"""STC-NAS: readings of what its paper leaves open: ``--config=stc_nas_readings``."""

from collections.abc import Iterator
from functools import partial

from experiments.configs.entry import Entry
from experiments.configs.papers import common
from experiments.configs.papers.common import Rows

_TITLE = "STC-NAS: readings of what the paper leaves open"
_NOTE = """
In NAS-Bench-201: a narrow supernet (C=8, one cell per stage) over all of CIFAR-10 for
the paper's 50 epochs; one row's first 37 epochs took 41 processor-minutes on two cores
of an AMD EPYC that had other work too, the others were not run. The paper's own network
(C=16, five cells per stage) reaches 93.41 ± 0.2 / 70.43 ± 0.21 / 45.03 ± 0.36 %. What
was found is in docs/stc_nas.md.

The proxy is a few minutes per row, to see that each runs.
"""


_DECOUPLED = "method.js_step=decoupled"
_AT_HALF = "method.alpha_start=0.5"


def _rows(epochs: int) -> Rows:
    early, half = epochs * 12 // 50, epochs // 2
    none_at_first, for_early, for_half = (
        f"method.arch_start={number}" for number in (0, early, half)
    )
    after_early, after_half = (
        f"alpha rests for {number} of {epochs} epochs" for number in (early, half)
    )
    batch64 = "search.batch_size=64"
    per_node = ("method.js_scope=node", "method.js_gradient=all")
    cases = {
        "warm0": ("alpha moves from the start", none_at_first),
        "warm12": (after_early, for_early),
        "warm25": (after_half, for_half),
        "warm12_batch64": (f"{after_early}, batch 64", for_early, batch64),
        "warm25_batch64": (f"{after_half}, batch 64", for_half, batch64),
        "symmetric": (
            f"{after_half}, noise in [-r, r)",
            for_half,
            "method.noise=symmetric",
        ),
        "node": (
            f"{after_half}, alpha normalised per node, gradient to all",
            for_half,
            *per_node,
        ),
        "decoupled": (f"{after_half}, JS after Adam", for_half, _DECOUPLED),
        "start05": (f"{after_half}, alpha starts at 0.5", for_half, _AT_HALF),
        "before": (
            "gradient to all entries, `none` a candidate, no rest",
            none_at_first,
            "method.js_gradient=all",
            "method.keep_none=True",
        ),
    }
    return common.vary("stc_nas_nasbench201_cifar10", cases)


def entries() -> Iterator[Entry]:
    """The one study."""
    full = common.searched(
        _rows(50),
        metrics=common.LOOKED_UP,
        about=(
            "A narrow supernet (C=8, one cell per stage), all of CIFAR-10, 50 epochs; "
            "accuracies are those of the benchmark's table."
        ),
        overrides=common.NARROW,
        seeds=(0,),
    )
    proxy = common.looked_up(_rows(10))
    yield Entry(
        "study",
        "stc_nas_readings",
        f"{_TITLE}.",
        _NOTE.strip(),
        partial(full, _TITLE, {}),
        {"proxy": lambda _: proxy(_TITLE, {})},
        needs="TFDS_DATA_DIR=DIR NASJAX_NASBENCH201=accuracies.csv",
    )
