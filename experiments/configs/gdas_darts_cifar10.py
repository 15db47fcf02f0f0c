r"""GDAS in the DARTS space on CIFAR-10.

    python -m experiments.search \
        --config=experiments/configs/gdas_darts_cifar10.py

The full variant has the paper's settings, but for the order of the two updates and tau
by steps (`nasjax.methods.gdas`), and was not run here. Its search takes 0.21 GPU-days
as other papers cite it and its cells reach 2.93 % test error when retrained.
``--config.method.fixed_reduction=True`` is GDAS (FRC).

``:smoke`` touches every part within a minute on two cores.
"""

from ml_collections import ConfigDict

from experiments.configs import base


def get_config(variant: str | None = None) -> ConfigDict:
    """The configuration, or its variant of a name."""
    config = base.gdas()
    return base.variant(config, variant)
