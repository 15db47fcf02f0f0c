r"""SD-DARTS in the DARTS space on CIFAR-10.

    python -m experiments.search \
        --config=experiments/configs/sd_darts_darts_cifar10.py

The full variant has the paper's settings and was not run here. The paper's search takes
0.37 GPU-days on an RTX 3090; its cells reach 2.58 ± 0.11 % test error when retrained,
2.44 % at best.

``:smoke`` touches every part within a minute on two cores.
"""

from ml_collections import ConfigDict

from experiments.configs import base


def get_config(variant: str | None = None) -> ConfigDict:
    """The configuration, or its variant of a name."""
    config = base.sd_darts()
    return base.variant(config, variant)
