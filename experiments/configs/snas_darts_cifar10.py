r"""SNAS in the DARTS space on CIFAR-10.

    python -m experiments.search \
        --config=experiments/configs/snas_darts_cifar10.py

The full variant has DARTS's settings for the paper's 150 epochs, alpha on the
validation half (`nasjax.methods.snas`), and was not run here. Its search takes 1.5
GPU-days as other papers cite it and its cells reach 2.85 ± 0.02 % test error when
retrained.

``:smoke`` touches every part within a minute on two cores.
"""

from ml_collections import ConfigDict

from experiments.configs import base


def get_config(variant: str | None = None) -> ConfigDict:
    """The configuration, or its variant of a name."""
    config = base.snas()
    return base.variant(config, variant)
