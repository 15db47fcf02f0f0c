r"""STC-NAS's sampling with SD-DARTS's teachers in NAS-Bench-201 on the digits.

    python -m experiments.search \
        --config=experiments/configs/stc_nas_sd_nasbench201_digits.py

No paper has it: a small search to look at. The full variant was not timed.

``:smoke`` touches every part within a minute on two cores.
"""

from ml_collections import ConfigDict

from experiments.configs import base


def get_config(variant: str | None = None) -> ConfigDict:
    """The configuration, or its variant of a name."""
    config = base.on_digits(base.on_nasbench201(base.stc_nas_sd()))
    return base.variant(config, variant)
