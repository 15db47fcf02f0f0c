r"""STC-NAS, Table 3: memory and time of the search.

    TFDS_DATA_DIR=DIR python -m experiments.study \
        --config=experiments/configs/papers/stc_nas_table3_cost.py:proxy

Memory in GB and GPU-days in the paper, on a V100 (in `PAPER`): STC-NAS 1.8 and 0.142 at
batch 64, 5.5 and 0.059 at batch 256, DARTS 9.4 and 0.75 at batch 64. The memory here is
the compiler's own account of a step; ``python -m experiments.memory`` has it without
running one. The full variant was not run here: for a GPU of 80 GB.

``:proxy`` has every row for a few steps on 512 images, at 4 channels, 5 and 8 cells, a
quarter of the batch: 10 runs of about a minute each on two cores.
"""

from ml_collections import ConfigDict

from experiments.configs.papers import base, common

TITLE = "STC-NAS, Table 3: cost"
#: Memory; GPU-days.
PAPER = {
    "darts": "9.4 GB, 0.75 GPU-days",
    "snas": "9.4 GB, 1.45",
    "gdas": "6.8 GB, 0.18",
    "stc_nas64": "1.8 GB, 0.142",
    "stc_nas128": "3.1 GB, 0.083",
    "stc_nas256": "5.5 GB, 0.059",
    "darts_deep": "80 GB, 8.4",
    "snas_deep": "83 GB, 15.6",
    "gdas_deep": "16 GB, 1.0",
    "stc_nas_deep": "12 GB, 0.22",
}
_METRICS = {
    "budget/peak_bytes": "min",
    "budget/step_seconds": "min",
    "budget/seconds_per_epoch": "min",
    "seconds": "min",
}
_LABELS = {"darts": "DARTS", "snas": "SNAS", "gdas": "GDAS", "stc_nas": "STC-NAS"}


def _rows(part: int, deep: tuple[str, ...]) -> dict[str, common.Row]:
    def row(method: str, batch: int, *overrides: str) -> common.Row:
        batch //= part
        label = f"{_LABELS[method]}, {'20' if overrides else '8'} cells, batch {batch}"
        size = f"search.batch_size={batch}"
        return label, f"{method}_darts_cifar10", size, *overrides

    shallow = {"darts": 64, "snas": 64, "gdas": 256}
    return {
        **{name: row(name, batch) for name, batch in shallow.items()},
        **{f"stc_nas{batch}": row("stc_nas", batch) for batch in (64, 128, 256)},
        **{f"{name}_deep": row(name, 96, *deep) for name in _LABELS},
    }


def full() -> ConfigDict:
    """The paper's settings."""
    return common.study(
        TITLE,
        _rows(1, ("supernet.num_cells=20", "supernet.channels=36")),
        metrics=_METRICS,
        paper=PAPER,
        about="The paper's settings.",
        seeds=(0,),
    )


def proxy() -> ConfigDict:
    """A few steps of every row; what is deep has 8 cells, the rest 5."""
    return common.study(
        f"{TITLE}, proxy",
        _rows(4, ("supernet.num_cells=8",)),
        metrics=_METRICS,
        paper=PAPER,
        about=(
            "A proxy, not the paper's setting: 4 channels, 5 cells (8 where the label "
            "says 20), a quarter of the batch, one epoch of 512 images."
        ),
        overrides=(
            "data.max_examples=512",
            "supernet.channels=4",
            "supernet.num_cells=5",
            "search.epochs=1",
            "search.steps_per_dispatch=2",
        ),
        seeds=(0,),
    )


def get_config(variant: str | None = None) -> ConfigDict:
    """The study, or its variant of a name."""
    return base.variant(variant, full, proxy=proxy)
