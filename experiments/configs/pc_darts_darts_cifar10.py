r"""PC-DARTS in the DARTS space on CIFAR-10.

    python -m experiments.search \
        --config=experiments/configs/pc_darts_darts_cifar10.py

The full variant has the paper's settings and was not run here. Its search takes 0.1
GPU-days as other papers cite it and its cells reach 2.57 ± 0.07 % test error when
retrained.

``:smoke`` touches every part within a minute on two cores.
"""

from ml_collections import ConfigDict

from experiments.configs import base


def get_config(variant: str | None = None) -> ConfigDict:
    """The configuration, or its variant of a name."""
    config = base.pc_darts()
    return base.variant(config, variant)
