r"""DARTS, second order, in the NAS-Bench-201 space on CIFAR-10.

    python -m experiments.search \
        --config=experiments/configs/darts2nd_nasbench201_cifar10.py

The full variant has the benchmark's settings (`base.on_nasbench201`), its code's but
for the weights' own step, which clips and is Nesterov's here (``method.inner_clip``),
and what else docs/reproduction.md lists, and was not run here. The benchmark reports
29,902 s on one GPU.

``:smoke`` touches every part within a minute on two cores.
"""

from ml_collections import ConfigDict

from experiments.configs import base


def get_config(variant: str | None = None) -> ConfigDict:
    """The configuration, or its variant of a name."""
    config = base.on_nasbench201(base.darts(order=2))
    return base.variant(config, variant)
