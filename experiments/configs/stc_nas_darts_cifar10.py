r"""STC-NAS in the DARTS space on CIFAR-10.

    python -m experiments.search \
        --config=experiments/configs/stc_nas_darts_cifar10.py

The full variant has the paper's settings (without depth consistency) and was not run
here. The paper reports 0.059 GPU-days on a V100 and, retrained, 2.48 ± 0.03 % test
error.

``:smoke`` touches every part within a minute on two cores.
"""

from ml_collections import ConfigDict

from experiments.configs import base


def get_config(variant: str | None = None) -> ConfigDict:
    """The configuration, or its variant of a name."""
    config = base.stc_nas()
    return base.variant(config, variant)
