r"""A cell of the DARTS space on ImageNet, in the mobile setting.

    python -m experiments.retrain --genotype=DARTS_V2 \
        --config=experiments/configs/retrain_imagenet.py \
        --config.data.data_dir=DIR --config.data.num_workers=16 \
        --config.network.dtype=bfloat16

Needs ``imagenet2012`` prepared (`experiments.prepare`). 14 cells of 48 channels, 250
epochs of batch 1024, learning rate 0.5 after 5 epochs of warm-up, then cosine to 0,
label smoothing 0.1, auxiliary head 0.4, colour jitter as in DARTS's code: STC-NAS,
SD-DARTS, which name neither warm-up nor smoothing (`retraining.imagenet`).
``:msg_das`` has MSG-DAS's batch 256, 0.1 × 0.97 an epoch and weight decay 3e-4. A
hundredth of the training images is held out, the test split is what ImageNet calls
validation; the papers hold nothing out (``--config.data.valid_fraction=0``).

Decoding wants as many workers as keep the accelerator busy (``experiments.streaming``
tells how many images a second they make). Published top-1 errors: DARTS_V2 26.7 %,
SD-DARTS 25.0 %, MSG-DAS 24.8 %, STC-NAS 24.2 %. Not run at full scale.

``:smoke`` touches every part on two cores; any prepared ``imagenet2012`` will do.
"""

from ml_collections import ConfigDict

from experiments.configs import base, retraining


def get_config(variant: str | None = None) -> ConfigDict:
    """The configuration, or its variant of a name."""
    return base.variant(
        retraining.imagenet(),
        variant,
        smoke=retraining.smoke_imagenet,
        msg_das=retraining.msg_das_imagenet,
    )
