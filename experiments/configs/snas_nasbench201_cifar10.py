r"""SNAS in the NAS-Bench-201 space on CIFAR-10.

    python -m experiments.search \
        --config=experiments/configs/snas_nasbench201_cifar10.py

SNAS's paper has no search here. The full variant has the settings of the benchmark's
own baselines (`base.on_nasbench201`) for SNAS's 150 epochs, an assumption, and was not
run here. Other papers cite 92.77 / 69.34 / 43.16 % test accuracy on CIFAR-10 /
CIFAR-100 / ImageNet16-120.

``:smoke`` touches every part within a minute on two cores.
"""

from ml_collections import ConfigDict

from experiments.configs import base


def get_config(variant: str | None = None) -> ConfigDict:
    """The configuration, or its variant of a name."""
    config = base.on_nasbench201(base.snas())
    return base.variant(config, variant)
