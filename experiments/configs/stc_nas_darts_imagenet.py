r"""STC-NAS in the DARTS space on a fifth of ImageNet.

    python -m experiments.search \
        --config=experiments/configs/stc_nas_darts_imagenet.py \
        --config.data.data_dir=DIR --config.supernet.dtype=bfloat16

Needs ``imagenet2012`` prepared (`experiments.prepare`). A tenth of the images of each
class trains the weights, as much trains alpha; both are decoded once, to 224 pixels,
and kept in device memory, where the search loop reads them: 39 GB (``data.image_size``
160: 20 GB), and as much again on the first of several devices while they are shared
out. The search is the target network's own: 14 cells, 48 channels.

The paper's settings, except for what it leaves open (`base.on_imagenet`); not run at
full scale. The paper reports 0.625 GPU-days on a V100 and, retrained, 24.2 % top-1
and 7.3 % top-5 error.

``:smoke`` touches every part within a minute on two cores; any prepared
``imagenet2012`` will do that has 64 images or more.
"""

from ml_collections import ConfigDict

from experiments.configs import base


def get_config(variant: str | None = None) -> ConfigDict:
    """The configuration, or its variant of a name."""
    return base.variant(base.on_imagenet(base.stc_nas()), variant)
