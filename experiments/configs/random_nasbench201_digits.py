r"""Random search with weight sharing in the NAS-Bench-201 space on the digits.

    python -m experiments.search \
        --config=experiments/configs/random_nasbench201_digits.py

No paper has it: a small search to look at. The full variant was not timed.

``:smoke`` touches every part within a minute on two cores.
"""

from ml_collections import ConfigDict

from experiments.configs import base


def get_config(variant: str | None = None) -> ConfigDict:
    """The configuration, or its variant of a name."""
    config = base.on_digits(base.on_nasbench201(base.random_sampling()))
    return base.variant(config, variant)
