r"""STC-NAS's sampling with SD-DARTS's teachers in the NAS-Bench-201 space on CIFAR-10.

    python -m experiments.search \
        --config=experiments/configs/stc_nas_sd_nasbench201_cifar10.py

The full variant has these settings in full and was not run here. No paper has it: a
composition, at STC-NAS's settings there.

``:smoke`` touches every part within a minute on two cores.
"""

from ml_collections import ConfigDict

from experiments.configs import base


def get_config(variant: str | None = None) -> ConfigDict:
    """The configuration, or its variant of a name."""
    config = base.on_nasbench201(base.stc_nas_sd())
    return base.variant(config, variant)
