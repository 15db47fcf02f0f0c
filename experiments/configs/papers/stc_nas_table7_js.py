r"""STC-NAS, Table 7: strength of the JS loss, constant and rising.

    TFDS_DATA_DIR=DIR NASJAX_NASBENCH201=accuracies.csv python -m experiments.study \
        --config=experiments/configs/papers/stc_nas_table7_js.py:proxy

Accuracy on CIFAR-10 in the paper: 97.19 ± 0.12 % without, 97.27 ± 0.07 and 97.31 ± 0.11
at a constant 1 and 2, 97.16 ± 0.26, 97.34 ± 0.02 and 97.52 ± 0.03 % rising from 0 to 1,
1 to 2 and 0 to 2. The full variant was not run here: for a GPU.

``:proxy`` has the same rows in the NAS-Bench-201 space on a part of CIFAR-10, looked up
in the benchmark's table (`common.looked_up`): 18 runs of a few minutes each on two
cores.
"""

from ml_collections import ConfigDict

from experiments.configs.papers import base, common

TITLE = "STC-NAS, Table 7: JS loss"
#: Test accuracy, per cent.
PAPER = {
    "static0": "97.19 ± 0.12 % accuracy",
    "static1": "97.27 ± 0.07 %",
    "static2": "97.31 ± 0.11 %",
    "from0to1": "97.16 ± 0.26 %",
    "from1to2": "97.34 ± 0.02 %",
    "from0to2": "97.52 ± 0.03 %",
}


def _rows(search: str) -> dict[str, common.Row]:
    strengths = {
        **{f"static{s}": (f"constant {s}", f"constant({s})") for s in (0, 1, 2)},
        **{
            f"from{a}to{b}": (f"{a} to {b}", f"linear({a}, {b})")
            for a, b in ((0, 1), (1, 2), (0, 2))
        },
    }
    return {
        name: (label, search, f"method.js_strength={schedule}")
        for name, (label, schedule) in strengths.items()
    }


def full() -> ConfigDict:
    """The paper's settings."""
    rows = _rows("stc_nas_darts_cifar10")
    return common.trained(TITLE, rows, recipe="stc_nas", paper=PAPER)


def proxy() -> ConfigDict:
    """The same strengths in the NAS-Bench-201 space."""
    return common.looked_up(TITLE, _rows("stc_nas_nasbench201_cifar10"), paper=PAPER)


def get_config(variant: str | None = None) -> ConfigDict:
    """The study, or its variant of a name."""
    return base.variant(variant, full, proxy=proxy)
