r"""SD-DARTS in the NAS-Bench-201 space on CIFAR-10.

    python -m experiments.search \
        --config=experiments/configs/sd_darts_nasbench201_cifar10.py

The full variant has the settings of DARTS there, as the paper says, with the paper's
teachers, and was not run here. They are taken to be the benchmark's
(`base.on_nasbench201`; an assumption). The paper reports 93.91 ± 0.08 / 71.88 ± 0.76 /
46.03 ± 0.59 % test accuracy on CIFAR-10 / CIFAR-100 / ImageNet16-120.

``:smoke`` touches every part within a minute on two cores.
"""

from ml_collections import ConfigDict

from experiments.configs import base


def get_config(variant: str | None = None) -> ConfigDict:
    """The configuration, or its variant of a name."""
    config = base.on_nasbench201(base.sd_darts())
    return base.variant(config, variant)
