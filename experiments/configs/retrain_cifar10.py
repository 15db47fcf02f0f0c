r"""A cell of the DARTS space on CIFAR-10, by DARTS's recipe.

    python -m experiments.retrain --genotype=DARTS_V2 \
        --config=experiments/configs/retrain_cifar10.py

A tenth of the training images is held out; ``:darts``, ``:sd_darts``, ``:msg_das`` and
``:stc_nas`` train on all, each as its paper has it. Published test errors: DARTS_V2
2.76 ± 0.09 %, SD-DARTS 2.58 ± 0.11 %, MSG-DAS 2.57 ± 0.05 %, STC-NAS 2.46 ± 0.04 %.
For a GPU, with ``--config.network.dtype=bfloat16 --config.network.loop=False``; the
full length was not run here.

``:smoke`` touches every part: 72 s on two cores of an AMD EPYC with other work, nothing
compiled before.
"""

from ml_collections import ConfigDict

from experiments.configs import base, retraining


def get_config(variant: str | None = None) -> ConfigDict:
    """The configuration, or its variant of a name."""
    config = retraining.darts_cifar()
    return base.variant(config, variant, smoke=retraining.smoke, **retraining.PAPERS)
