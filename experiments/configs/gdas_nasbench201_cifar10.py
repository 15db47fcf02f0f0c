r"""GDAS in the NAS-Bench-201 space on CIFAR-10.

    python -m experiments.search \
        --config=experiments/configs/gdas_nasbench201_cifar10.py

The full variant has the benchmark's settings (`base.on_nasbench201`), its code's
gradient of what was not chosen among them, but for the order of the two updates, tau
by steps and what else docs/reproduction.md lists, and was not run here. Other papers
cite 93.61 / 70.70 / 41.71 % test accuracy on CIFAR-10 / CIFAR-100 / ImageNet16-120.

``:smoke`` touches every part within a minute on two cores.
"""

from ml_collections import ConfigDict

from experiments.configs import base


def get_config(variant: str | None = None) -> ConfigDict:
    """The configuration, or its variant of a name."""
    config = base.on_nasbench201(base.gdas())
    return base.variant(config, variant)
