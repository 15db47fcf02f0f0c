r"""MSG-DAS in the NAS-Bench-201 space on CIFAR-10.

    python -m experiments.search \
        --config=experiments/configs/msg_das_nasbench201_cifar10.py

The paper has no search in this space. The full variant has the settings of its search
in the DARTS space, an assumption, and was not run here.

``:smoke`` touches every part within a minute on two cores.
"""

from ml_collections import ConfigDict

from experiments.configs import base


def get_config(variant: str | None = None) -> ConfigDict:
    """The configuration, or its variant of a name."""
    config = base.on_nasbench201(base.msg_das())
    return base.variant(config, variant)
