r"""MSG-DAS in the DARTS space on CIFAR-10.

    python -m experiments.search \
        --config=experiments/configs/msg_das_darts_cifar10.py

The full variant has the paper's settings and was not run here. The paper's search takes
0.5 GPU-days on a GTX 1080 Ti; its cells reach 2.57 ± 0.05 % test error when retrained.

``:smoke`` touches every part within a minute on two cores.
"""

from ml_collections import ConfigDict

from experiments.configs import base


def get_config(variant: str | None = None) -> ConfigDict:
    """The configuration, or its variant of a name."""
    config = base.msg_das()
    return base.variant(config, variant)
