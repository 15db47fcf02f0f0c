r"""A cell of NAS-Bench-201 on scikit-learn's digits.

    python -m experiments.retrain --genotype=runs/stc_nas_nasbench201_digits-seed0 \
        --config=experiments/configs/retrain_nasbench201_digits.py

The benchmark's recipe with a network and a training of the digits' size. No paper has
it. ``:smoke`` touches every part.
"""

from ml_collections import ConfigDict

from experiments.configs import base, retraining


def get_config(variant: str | None = None) -> ConfigDict:
    """The configuration, or its variant of a name."""
    config = retraining.on_digits(retraining.nasbench201())
    return base.variant(config, variant, smoke=retraining.smoke)
