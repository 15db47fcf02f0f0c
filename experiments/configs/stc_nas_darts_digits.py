r"""STC-NAS in the DARTS space on scikit-learn's digits.

    python -m experiments.search \
        --config=experiments/configs/stc_nas_darts_digits.py

The launcher's default. 61 s on two cores of an AMD EPYC with nothing compiled before,
32 s of them to the first step. Seed 0 ends at 91.3 % validation accuracy of the sampled
supernet path, six seeds at 93.3 ± 1.6 %; no paper has this search.

``:smoke`` touches every part within a minute on two cores.
"""

from ml_collections import ConfigDict

from experiments.configs import base


def get_config(variant: str | None = None) -> ConfigDict:
    """The configuration, or its variant of a name."""
    config = base.on_digits(base.stc_nas())
    return base.variant(config, variant)
