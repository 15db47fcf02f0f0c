r"""A cell of NAS-Bench-201 on CIFAR-10, by the benchmark's own recipe.

    python -m experiments.retrain --genotype=runs/stc_nas_nasbench201_cifar10-seed0 \
        --config=experiments/configs/retrain_nasbench201_cifar10.py

A tenth of the training images is held out; ``:all`` trains on all of them, as the
benchmark does for its test figures (best cell of the table: 94.37 %). For a GPU; not
run here at its full length.

``:smoke`` touches every part on two cores.
"""

from ml_collections import ConfigDict

from experiments.configs import base, retraining


def get_config(variant: str | None = None) -> ConfigDict:
    """The configuration, or its variant of a name."""
    config = retraining.nasbench201()
    return base.variant(config, variant, smoke=retraining.smoke, all=retraining.on_all)
