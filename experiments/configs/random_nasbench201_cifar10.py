r"""Random search with weight sharing in the NAS-Bench-201 space on CIFAR-10.

    python -m experiments.search \
        --config=experiments/configs/random_nasbench201_cifar10.py

The full variant has the benchmark's settings (`base.on_nasbench201`), but for the
choice at the end: of more candidates, on more batches. It was not run here.

``:smoke`` touches every part within a minute on two cores.
"""

from ml_collections import ConfigDict

from experiments.configs import base


def get_config(variant: str | None = None) -> ConfigDict:
    """The configuration, or its variant of a name."""
    config = base.on_nasbench201(base.random_sampling())
    return base.variant(config, variant)
