"""The fields of every retraining, and the recipes of the papers.

As in `experiments.configs.base`, a configuration determines the run; each field is
documented where the library takes it: ``network`` in `nasjax.retrain.Net`, ``train``
in `nasjax.retrain.Recipe`.
"""

from ml_collections import ConfigDict, config_dict


def darts_cifar() -> ConfigDict:
    """DARTS's training on CIFAR (arXiv 1806.09055), a tenth of the images held out.

    20 cells of 36 channels, 600 epochs of batch 96, cutout 16, auxiliary head 0.4,
    drop path rising to 0.2.
    """
    return ConfigDict(
        {
            "seed": 0,
            "data": {
                "name": "cifar10",  # digits, cifar10, cifar100, npz, folder
                "data_dir": config_dict.placeholder(str),  # of TFDS's data sets
                "path": config_dict.placeholder(str),  # of npz and folder
                "image_size": config_dict.placeholder(int),  # of folder, pixels
                "max_examples": config_dict.placeholder(int),  # of a split; all
                # Held out where there is no split valid; 0 trains on all, as papers do.
                "valid_fraction": 0.1,
                "pad": 4,  # pixels around the image before the random crop
                "flip": True,
                "cutout": 16,  # side in pixels
            },
            "network": {
                "space": "darts",  # that the genotype is of: darts, nasbench201
                "dataset": "cifar10",  # stem and auxiliary head: or imagenet
                "channels": 36,
                "num_cells": 20,  # a stage, in nasbench201
                "dtype": "float32",  # of the activations; or bfloat16
                "depthwise": "auto",  # auto, banded, grouped, shift
                "remat": False,  # compute cells again in the backward pass
                "loop": True,  # equal cells as a loop: compiles faster, runs slower
                "synchronised": True,  # batch norm over all devices, or of each
            },
            "train": {
                "epochs": 600,
                "batch_size": 96,
                "micro_batches": 1,
                "learning_rate": 0.025,
                "learning_rate_end": 0.0,
                "decay": "cosine",  # cosine, linear, exponential, constant
                "decay_rate": 0.97,  # of exponential, an epoch
                "decay_every": "epoch",  # or step
                "warmup_epochs": 0,
                "momentum": 0.9,
                "nesterov": False,
                "weight_decay": 3e-4,
                "clip_norm": 5.0,
                "label_smoothing": 0.0,
                "auxiliary_weight": 0.4,
                "drop_path_rate": 0.2,
                "ema_decay": 0.0,
                "evaluate_every": 1,  # epochs
                "steps_per_dispatch": 50,
            },
        }
    )


def cifar100(config: ConfigDict) -> ConfigDict:
    """The same on CIFAR-100."""
    config.data.name = "cifar100"
    config.network.dataset = "cifar100"
    return config


# --- as the papers have it: on all training images --------------------------------


def on_all(config: ConfigDict) -> ConfigDict:
    """The same on all training images; DARTS's own setting."""
    config.data.valid_fraction = 0.0
    return config


def sd_darts(config: ConfigDict) -> ConfigDict:
    """SD-DARTS: drop path 0.3."""
    config.train.drop_path_rate = 0.3
    return on_all(config)


def msg_das(config: ConfigDict) -> ConfigDict:
    """MSG-DAS: batch 64."""
    config.train.batch_size = 64
    return on_all(config)


#: STC-NAS has DARTS's settings.
PAPERS = {
    "darts": on_all,
    "sd_darts": sd_darts,
    "msg_das": msg_das,
    "stc_nas": on_all,
}


# --- ImageNet ---------------------------------------------------------------------


def imagenet() -> ConfigDict:
    """The papers' training on ImageNet, read as a stream (STC-NAS, section 4.3).

    The paper names neither the linear warm-up of 5 epochs nor label smoothing 0.1, nor
    does SD-DARTS's, which trains "the same as DARTS": the smoothing is that of DARTS's
    code, whose rate falls by 0.97 an epoch and not by a cosine; the warm-up is that of
    PC-DARTS's (assumptions).
    """
    config = darts_cifar()
    config.data = ConfigDict(
        {
            "name": "imagenet2012",
            "data_dir": config_dict.placeholder(str),  # of TFDS's data sets
            "image_size": 224,  # pixels
            "max_examples": config_dict.placeholder(int),  # of each split; all of them
            "valid_fraction": 0.01,  # held out; 0 trains on all, as the papers do
            "min_area": 0.08,  # share of the image in the smallest random crop
            # Brightness, contrast, saturation, hue, as DARTS's code; zeros for none.
            "color_jitter": (0.4, 0.4, 0.4, 0.2),
            "num_workers": 0,  # processes that decode; 0: threads
            "num_threads": 2,  # of each worker, or of this process
        }
    )
    config.network.dataset = "imagenet"
    config.network.channels = 48
    config.network.num_cells = 14
    config.train.epochs = 250
    config.train.batch_size = 1024
    config.train.learning_rate = 0.5
    config.train.warmup_epochs = 5
    config.train.weight_decay = 3e-5
    config.train.label_smoothing = 0.1
    config.train.drop_path_rate = 0.0
    return config


def msg_das_imagenet(config: ConfigDict) -> ConfigDict:
    """MSG-DAS (section 4.2): batch 256, 0.1 × 0.97 an epoch, weight decay 3e-4.

    The paper names no warm-up, nor the strength of the label smoothing that it has.
    """
    config.train.batch_size = 256
    config.train.learning_rate = 0.1
    config.train.weight_decay = 3e-4
    config.train.decay = "exponential"
    config.train.warmup_epochs = 0
    return config


def smoke_imagenet(config: ConfigDict) -> ConfigDict:
    """Every part for a few steps; the auxiliary head fits no smaller images."""
    config = smoke(config)
    config.data.max_examples = 40
    config.data.valid_fraction = 0.2
    config.train.batch_size = 8
    return config


# --- other data, other spaces -----------------------------------------------------


def nasbench201() -> ConfigDict:
    """NAS-Bench-201's own training (arXiv 2001.00326, section 2.2 and table 1).

    15 cells of 16 to 64 channels, 200 epochs of batch 256, Nesterov momentum, no
    cutout, drop path nor auxiliary head. The benchmark holds half of CIFAR-10 out for
    its validation figures and nothing for those of the test split.
    """
    config = darts_cifar()
    config.data.cutout = 0
    config.network.space = "nasbench201"
    config.network.channels = 16
    config.network.num_cells = 5
    config.train.epochs = 200
    config.train.batch_size = 256
    config.train.learning_rate = 0.1
    config.train.nesterov = True
    config.train.weight_decay = 5e-4
    config.train.clip_norm = 0.0
    config.train.auxiliary_weight = 0.0
    config.train.drop_path_rate = 0.0
    return config


def on_digits(config: ConfigDict) -> ConfigDict:
    """Scikit-learn's 8×8 digits, and a network and a training of their size.

    An auxiliary head does not fit so small an image, nor does cutout 16.
    """
    config.data.name = "digits"
    config.data.pad = 1
    config.data.flip = False  # a mirrored digit is another sign
    config.data.cutout = 0
    small = config.network.space == "nasbench201"
    config.network.channels = 8 if small else 16
    config.network.num_cells = 1 if small else 4
    config.train.epochs = 20
    config.train.batch_size = 32
    config.train.auxiliary_weight = 0.0
    config.train.drop_path_rate = 0.0 if small else 0.1
    return config


def smoke(config: ConfigDict) -> ConfigDict:
    """Every part for a few steps."""
    config.data.max_examples = 200
    config.network.channels = 4
    config.network.num_cells = 1 if config.network.space == "nasbench201" else 3
    config.train.epochs = 2
    config.train.batch_size = 32
    config.train.steps_per_dispatch = 2
    # What begins after some epochs begins here.
    config.train.warmup_epochs = min(1, config.train.warmup_epochs)
    return config
