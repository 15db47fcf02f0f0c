r"""PC-DARTS in the DARTS space on scikit-learn's digits.

    python -m experiments.search \
        --config=experiments/configs/pc_darts_darts_digits.py

No paper has it: a small search to look at. The full variant was not timed.

``:smoke`` touches every part within a minute on two cores.
"""

from ml_collections import ConfigDict

from experiments.configs import base


def get_config(variant: str | None = None) -> ConfigDict:
    """The configuration, or its variant of a name."""
    config = base.on_digits(base.pc_darts())
    return base.variant(config, variant)
