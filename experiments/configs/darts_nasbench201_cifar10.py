r"""DARTS, first order, in the NAS-Bench-201 space on CIFAR-10.

    python -m experiments.search \
        --config=experiments/configs/darts_nasbench201_cifar10.py

The full variant has the benchmark's settings (`base.on_nasbench201`), its code's but
for the order of the two updates and what else docs/reproduction.md lists, and was not
run here. The benchmark reports 10,890 s on one GPU and a collapse to skip connections:
54.30 / 15.61 / 16.32 % test accuracy on CIFAR-10 / CIFAR-100 / ImageNet16-120.

``:smoke`` touches every part within a minute on two cores.
"""

from ml_collections import ConfigDict

from experiments.configs import base


def get_config(variant: str | None = None) -> ConfigDict:
    """The configuration, or its variant of a name."""
    config = base.on_nasbench201(base.darts(order=1))
    return base.variant(config, variant)
