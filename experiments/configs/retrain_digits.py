r"""A cell of the DARTS space on scikit-learn's digits: the launcher's default.

    python -m experiments.retrain --genotype=runs/stc_nas_darts_digits-seed0 \
        --config=experiments/configs/retrain_digits.py

No paper has this training. NUMBERS

``:smoke`` touches every part.
"""

from ml_collections import ConfigDict

from experiments.configs import base, retraining


def get_config(variant: str | None = None) -> ConfigDict:
    """The configuration, or its variant of a name."""
    config = retraining.on_digits(retraining.darts_cifar())
    return base.variant(config, variant, smoke=retraining.smoke)
