r"""MSG-DAS in the NAS-Bench-201 space on CIFAR-10.

    python -m experiments.search \
        --config=experiments/configs/msg_das_nasbench201_cifar10.py

The full variant has the paper's settings and was not run here. The paper has no figure
for this space.

``:smoke`` touches every part within a minute on two cores.
"""

from ml_collections import ConfigDict

from experiments.configs import base


def get_config(variant: str | None = None) -> ConfigDict:
    """The configuration, or its variant of a name."""
    config = base.on_nasbench201(base.msg_das())
    return base.variant(config, variant)
