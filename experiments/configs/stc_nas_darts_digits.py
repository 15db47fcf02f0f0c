r"""STC-NAS in the DARTS space on scikit-learn's digits.

    python -m experiments.search \
        --config=experiments/configs/stc_nas_darts_digits.py

The launcher's default. 62 s on two cores of an Intel Xeon (2.3 GHz) with nothing
compiled before, 33 s of them to the first step. Seed 0 ends at 96.8 % validation
accuracy of the sampled supernet path; no paper has this search.

``:smoke`` touches every part within a minute on two cores.
"""

from ml_collections import ConfigDict

from experiments.configs import base


def get_config(variant: str | None = None) -> ConfigDict:
    """The configuration, or its variant of a name."""
    config = base.on_digits(base.stc_nas())
    return base.variant(config, variant)
