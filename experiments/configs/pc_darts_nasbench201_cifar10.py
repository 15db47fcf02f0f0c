r"""PC-DARTS in the NAS-Bench-201 space on CIFAR-10.

    python -m experiments.search \
        --config=experiments/configs/pc_darts_nasbench201_cifar10.py

PC-DARTS's paper has no search here. The full variant has the settings of the
benchmark's own baselines (`base.on_nasbench201`), not PC-DARTS's batch and learning
rates, an assumption, and was not run here. Other papers cite 93.41 / 67.48 / 41.31 %
test accuracy on CIFAR-10 / CIFAR-100 / ImageNet16-120.

``:smoke`` touches every part within a minute on two cores.
"""

from ml_collections import ConfigDict

from experiments.configs import base


def get_config(variant: str | None = None) -> ConfigDict:
    """The configuration, or its variant of a name."""
    config = base.on_nasbench201(base.pc_darts())
    return base.variant(config, variant)
