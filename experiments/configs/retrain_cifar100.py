r"""A cell of the DARTS space on CIFAR-100, by DARTS's recipe.

    python -m experiments.retrain --genotype=DARTS_V2 \
        --config=experiments/configs/retrain_cifar100.py

Variants and hardware as of ``retrain_cifar10``. Published test error: STC-NAS 16.71 ±
0.19 %. Not run here at its full length.
"""

from ml_collections import ConfigDict

from experiments.configs import base, retraining


def get_config(variant: str | None = None) -> ConfigDict:
    """The configuration, or its variant of a name."""
    config = retraining.cifar100(retraining.darts_cifar())
    return base.variant(config, variant, smoke=retraining.smoke, **retraining.PAPERS)
