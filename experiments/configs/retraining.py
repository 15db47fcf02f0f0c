"""The fields of every retraining, the recipes of the papers, and their configurations.

As in `experiments.configs.base`, a configuration determines the run; each field is
documented where the library takes it: ``network`` in `nasjax.retrain.Net`, ``train``
in `nasjax.retrain.Recipe`.
"""

from collections.abc import Callable, Iterator, Mapping

from ml_collections import ConfigDict

from experiments.configs import base
from experiments.configs.base import Field
from experiments.configs.entry import Entry

_Change = Callable[[ConfigDict], ConfigDict]

#: DARTS's training on CIFAR (arXiv 1806.09055).
FIELDS: base.Fields = {
    "data": {
        "name": Field("cifar10", "digits, cifar10, cifar100, npz, folder"),
        "data_dir": Field(str, "of TFDS's data sets"),
        "path": Field(str, "of npz and folder"),
        "image_size": Field(int, "of folder, pixels"),
        "max_examples": Field(int, "of a split; all"),
        "valid_fraction": Field(0.1, "held out, without a split valid", 0, 1),
        "pad": Field(4, "pixels around the image before the random crop", 0, 1025),
        "flip": Field(True, "mirror images at random"),
        "cutout": Field(16, "side in pixels", 0, 1025),
    },
    "network": {
        "space": Field("darts", "that the genotype is of: darts, nasbench201"),
        "dataset": Field("cifar10", "stem and auxiliary head: or imagenet"),
        "channels": Field(36, "C of the first cells"),
        "num_cells": Field(20, "cells; of a stage, in nasbench201"),
        "dtype": Field("float32", "of the activations; or bfloat16"),
        "depthwise": Field("auto", "auto, banded, grouped, shift"),
        "remat": Field(False, "compute cells again in the backward pass"),
        "loop": Field(True, "equal cells as a loop: compiles faster, runs slower"),
        "synchronised": Field(True, "batch norm over all devices, or of each"),
    },
    "train": {
        "epochs": Field(600, "of the training images"),
        "batch_size": Field(96, "B", 1),
        "micro_batches": Field(1, "parts of a batch, one after the other"),
        "learning_rate": Field(0.025, "at its highest"),
        "learning_rate_end": Field(0.0, "of cosine and linear"),
        "decay": Field("cosine", "cosine, linear, exponential, constant"),
        "decay_rate": Field(0.97, "of exponential, an epoch"),
        "decay_every": Field("epoch", "or step"),
        "warmup_epochs": Field(0, "in which the rate rises"),
        "momentum": Field(0.9, "of SGD"),
        "nesterov": Field(False, "Nesterov's momentum"),
        "weight_decay": Field(3e-4, "of the weights"),
        "clip_norm": Field(5.0, "of the gradient; 0 for none"),
        "label_smoothing": Field(0.0, "of the loss"),
        "auxiliary_weight": Field(0.4, "of the auxiliary head's loss; 0 for no head"),
        "drop_path_rate": Field(0.2, "at the end, from 0"),
        "ema_decay": Field(0.0, "of averaged weights; 0 for none"),
        "evaluate_every": Field(1, "epochs", 1),
        "steps_per_dispatch": Field(50, "steps between two words with the host", 1),
    },
}
#: ``data`` of ImageNet, read as a stream.
STREAM: Mapping[str, Field] = {
    "name": Field("imagenet2012"),
    "data_dir": Field(str, "of TFDS's data sets"),
    "image_size": Field(224, "pixels"),
    "max_examples": Field(int, "of each split; all of them"),
    "valid_fraction": Field(0.01, "held out; 0 trains on all, as the papers do", 0, 1),
    "min_area": Field(0.08, "share of the image in the smallest random crop"),
    "color_jitter": Field(
        (0.4, 0.4, 0.4, 0.2),
        "brightness, contrast, saturation, hue, as DARTS's code; zeros for none",
    ),
    "num_workers": Field(0, "processes that decode; 0: threads"),
    "num_threads": Field(2, "of each worker, or of this process"),
}


def darts_cifar() -> ConfigDict:
    """DARTS's training on CIFAR, a tenth of the images held out."""
    return base.of_fields(FIELDS)


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
    config = base.of_fields({**FIELDS, "data": STREAM})
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


# --- the configurations -----------------------------------------------------------


def _entry(
    name: str,
    title: str,
    note: str,
    full: Callable[[], ConfigDict],
    variants: Mapping[str, _Change],
    flags: str = "--genotype=DARTS_V2",
) -> Entry:
    return Entry(
        "retrain", name, title, note.strip(), full, variants, tuple(flags.split())
    )


_FOUND = "--genotype=runs/stc_nas_nasbench201_cifar10-seed0"
_BENCHMARK: dict[str, _Change] = {"smoke": smoke, "all": on_all}
_ENTRIES = (
    _entry(
        "retrain_cifar10",
        "A cell of the DARTS space on CIFAR-10, by DARTS's recipe.",
        """
A tenth of the training images is held out; ``:darts``, ``:sd_darts``, ``:msg_das`` and
``:stc_nas`` train on all, each as its paper has it. Published test errors: DARTS_V2
2.76 ± 0.09 %, SD-DARTS 2.58 ± 0.11 %, MSG-DAS 2.57 ± 0.05 %, STC-NAS 2.46 ± 0.04 %.
For a GPU, with ``--config.network.dtype=bfloat16 --config.network.loop=False``; the
full length was not run here. The smoke variant takes 72 s on two cores of an AMD EPYC
with other work, nothing compiled before.
""",
        darts_cifar,
        {"smoke": smoke, **PAPERS},
    ),
    _entry(
        "retrain_cifar100",
        "A cell of the DARTS space on CIFAR-100, by DARTS's recipe.",
        """
Variants and hardware as of ``retrain_cifar10``. Published test error: STC-NAS 16.71 ±
0.19 %. Not run here at its full length.
""",
        lambda: cifar100(darts_cifar()),
        {"smoke": smoke, **PAPERS},
    ),
    _entry(
        "retrain_digits",
        "A cell of the DARTS space on scikit-learn's digits: the launcher's default.",
        """
No paper has this training. Four cells of 16 channels, 20 epochs: 2 min 17 s on two
cores of an AMD EPYC that had other work too, with nothing compiled before, 62 s of it
compilation; 57 s the second time. The cell that ``experiments.search`` finds (seed 0)
then has 99.4 % test accuracy (seed 0; 355 images, one run).
""",
        lambda: on_digits(darts_cifar()),
        {"smoke": smoke},
        "--genotype=runs/stc_nas_darts_digits-seed0",
    ),
    _entry(
        "retrain_imagenet",
        "A cell of the DARTS space on ImageNet, in the mobile setting.",
        """
Needs ``imagenet2012`` prepared (`experiments.prepare`). 14 cells of 48 channels, 250
epochs of batch 1024, learning rate 0.5 after 5 epochs of warm-up, then cosine to 0,
label smoothing 0.1, auxiliary head 0.4, colour jitter as in DARTS's code: STC-NAS,
SD-DARTS, which name neither warm-up nor smoothing (`retraining.imagenet`).
``:msg_das`` has MSG-DAS's batch 256, 0.1 × 0.97 an epoch and weight decay 3e-4. A
hundredth of the training images is held out, the test split is what ImageNet calls
validation; the papers hold nothing out (``--config.data.valid_fraction=0``).

Decoding wants as many workers as keep the accelerator busy (``experiments.benchmark
--what=streaming`` tells how many images a second they make). Published top-1 errors:
DARTS_V2 26.7 %, SD-DARTS 25.0 %, MSG-DAS 24.8 %, STC-NAS 24.2 %. Not run at full scale.
The smoke variant takes any prepared ``imagenet2012``.
""",
        imagenet,
        {"smoke": smoke_imagenet, "msg_das": msg_das_imagenet},
        "--genotype=DARTS_V2 --config.data.data_dir=DIR --config.data.num_workers=16 "
        "--config.network.dtype=bfloat16",
    ),
    _entry(
        "retrain_nasbench201_cifar10",
        "A cell of NAS-Bench-201 on CIFAR-10, by the benchmark's own recipe.",
        """
A tenth of the training images is held out; ``:all`` trains on all of them, as the
benchmark does for its test figures (best cell of the table: 94.37 %). For a GPU; not
run here at its full length.
""",
        nasbench201,
        _BENCHMARK,
        _FOUND,
    ),
    _entry(
        "retrain_nasbench201_cifar100",
        "A cell of NAS-Bench-201 on CIFAR-100, by the benchmark's own recipe.",
        """
Variants and hardware as of ``retrain_nasbench201_cifar10``; the best cell of the table
has 73.51 %. Not run here at its full length.
""",
        lambda: cifar100(nasbench201()),
        _BENCHMARK,
        _FOUND,
    ),
    _entry(
        "retrain_nasbench201_digits",
        "A cell of NAS-Bench-201 on scikit-learn's digits.",
        """
The benchmark's recipe with a network and a training of the digits' size. No paper has
it.
""",
        lambda: on_digits(nasbench201()),
        {"smoke": smoke},
        "--genotype=runs/stc_nas_nasbench201_digits-seed0",
    ),
)


def entries() -> Iterator[Entry]:
    """Every retraining there is."""
    return iter(_ENTRIES)
