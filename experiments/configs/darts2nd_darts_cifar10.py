r"""DARTS, second order, in the DARTS space on CIFAR-10.

    python -m experiments.search \
        --config=experiments/configs/darts2nd_darts_cifar10.py

The full variant has the paper's settings, but for clipping in the weights' own step
(``method.inner_clip``), and was not run here. The paper's search takes 1.0 GPU-days as
other papers cite it and its cells reach 2.76 ± 0.09 % test error when retrained.

``:smoke`` took 49 s with compiled programs kept from an earlier run, 118 s without,
on two cores of an Intel Xeon (2.3 GHz).
"""

from ml_collections import ConfigDict

from experiments.configs import base


def get_config(variant: str | None = None) -> ConfigDict:
    """The configuration, or its variant of a name."""
    config = base.darts(order=2)
    return base.variant(config, variant)
