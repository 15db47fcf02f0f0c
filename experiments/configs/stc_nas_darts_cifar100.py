r"""STC-NAS in the DARTS space on CIFAR-100.

    python -m experiments.search \
        --config=experiments/configs/stc_nas_darts_cifar100.py

The full variant has the paper's settings (without depth consistency) and was not run
here, for lack of the data. The paper reports, retrained, 17.01 ± 0.29 % test error.

``:smoke`` touches every part within a minute on two cores.
"""

from ml_collections import ConfigDict

from experiments.configs import base


def get_config(variant: str | None = None) -> ConfigDict:
    """The configuration, or its variant of a name."""
    config = base.stc_nas()
    config.data.name = "cifar100"
    return base.variant(config, variant)
