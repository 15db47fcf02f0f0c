r"""A cell of NAS-Bench-201 on CIFAR-100, by the benchmark's own recipe.

    python -m experiments.retrain --genotype=runs/stc_nas_nasbench201_cifar10-seed0 \
        --config=experiments/configs/retrain_nasbench201_cifar100.py

Variants and hardware as of ``retrain_nasbench201_cifar10``; the best cell of the table
has 73.51 %. Not run here at its full length.
"""

from ml_collections import ConfigDict

from experiments.configs import base, retraining


def get_config(variant: str | None = None) -> ConfigDict:
    """The configuration, or its variant of a name."""
    config = retraining.cifar100(retraining.nasbench201())
    return base.variant(config, variant, smoke=retraining.smoke, all=retraining.on_all)
