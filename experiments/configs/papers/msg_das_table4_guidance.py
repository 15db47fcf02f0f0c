r"""MSG-DAS, Table 4: weight of the super-net's guidance.

    TFDS_DATA_DIR=DIR NASJAX_NASBENCH201=accuracies.csv python -m experiments.study \
        --config=experiments/configs/papers/msg_das_table4_guidance.py:proxy

lambda rises linearly from 0 to 0, 0.01, 0.1 or 1. Test error in the paper: 2.76 ± 0.04,
2.57 ± 0.05, 2.60 ± 0.0 and 2.85 ± 0.11 %. Beside them the in-place distillation that
guidance is derived from (section 3.3), whose teacher is trained too; the paper gives no
figure for it. The full variant was not run here: for a GPU.

``:proxy`` has the same rows in the NAS-Bench-201 space on a part of CIFAR-10, looked up
in the benchmark's table (`common.looked_up`): 15 runs of a few minutes each on two
cores.
"""

from ml_collections import ConfigDict

from experiments.configs.papers import base, common

TITLE = "MSG-DAS, Table 4: guidance"
#: Test error, per cent; weights.
PAPER = {
    "lambda0": "2.76 ± 0.04 % error (2.53 ± 0.03 M)",
    "lambda0_01": "2.57 ± 0.05 % (3.58 ± 0.09 M)",
    "lambda0_1": "2.60 ± 0.0 % (3.84 ± 0.24 M)",
    "lambda1": "2.85 ± 0.11 % (3.94 ± 0.16 M)",
}


def _rows(search: str) -> dict[str, common.Row]:
    rows: dict[str, common.Row] = {
        f"lambda{end}".replace(".", "_"): (
            f"lambda {end}",
            search,
            f"method.guidance=linear(0, {end})",
        )
        for end in ("0", "0.01", "0.1", "1")
    }
    rows["in_place"] = (
        "in-place distillation",
        search,
        "method.distillation=in_place",
        "method.guidance=constant(1)",
    )
    return rows


def full() -> ConfigDict:
    """The paper's settings."""
    rows = _rows("msg_das_darts_cifar10")
    return common.trained(TITLE, rows, recipe="msg_das", paper=PAPER)


def proxy() -> ConfigDict:
    """The same rows in the NAS-Bench-201 space."""
    return common.looked_up(TITLE, _rows("msg_das_nasbench201_cifar10"), paper=PAPER)


def get_config(variant: str | None = None) -> ConfigDict:
    """The study, or its variant of a name."""
    return base.variant(variant, full, proxy=proxy)
