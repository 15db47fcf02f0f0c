r"""NAS-Bench-201 on CIFAR-10: SD-DARTS Table 4, STC-NAS Table 6, and their baselines.

    TFDS_DATA_DIR=DIR NASJAX_NASBENCH201=accuracies.csv python -m experiments.study \
        --config=experiments/configs/papers/nasbench201_cifar10.py:proxy

Six methods, three seeds each, looked up in the benchmark's table. The papers report, as
test accuracy on CIFAR-10 / CIFAR-100 / ImageNet16-120: DARTS 54.30 / 15.61 / 16.32,
GDAS 93.61 / 70.70 / 41.71, SD-DARTS 93.91 / 71.88 / 46.03, STC-NAS 93.41 / 70.43 /
45.03 per cent. MSG-DAS has no figure there.

The full variant has the papers' settings and was not run here. ``:proxy`` is sized for
two cores, a narrow and shallow supernet on a part of the images: its figures say
nothing of the papers' own.
"""

from ml_collections import ConfigDict

from experiments.configs.papers import base

_FOLDER = "experiments/configs/"
_LABELS = {
    "darts": "DARTS, first order",
    "sd_darts": "SD-DARTS",
    "msg_das": "MSG-DAS",
    "stc_nas": "STC-NAS",
    "gdas": "GDAS",
    "random": "random search, weights shared",
}
_METRICS = {
    "lookup/cifar10": "max",
    "lookup/cifar100": "max",
    "lookup/imagenet16_120": "max",
    "regret/cifar10": "min",
    "skips/cell": "",
    "result/valid_accuracy": "max",
    "seconds": "",
}


def full() -> ConfigDict:
    """The papers' settings."""
    return base.study(
        "NAS-Bench-201 on CIFAR-10",
        cells={
            name: base.cell(label, f"{_FOLDER}{name}_nasbench201_cifar10.py")
            for name, label in _LABELS.items()
        },
        metrics=_METRICS,
        baseline="random",
        about="The papers' settings.",
    )


#: Images, width, depth and epochs that two cores can do; alpha's rate makes up for
#: the steps there are fewer of.
_PROXY = (
    "data.max_examples=10000",
    "supernet.channels=8",
    "supernet.num_cells=1",
    "search.batch_size=64",
    "search.epochs=12",
    "search.arch_learning_rate=0.0015",
)


def proxy() -> ConfigDict:
    """The same six methods on a part of the images, each for the same steps."""
    config = full()
    config.title += ", proxy"
    config.about = (
        "A proxy: 10,000 images, a supernet of 8 channels and one cell a stage, 12 "
        "epochs of 64 images a batch."
    )
    config.overrides = _PROXY
    # Of the epochs, the share that the paper's setting has of its own.
    config.cells.sd_darts.overrides = ("method.warmup=6",)
    return config


def get_config(variant: str | None = None) -> ConfigDict:
    """The study, or its variant of a name."""
    return base.variant(variant, full, proxy=proxy)
