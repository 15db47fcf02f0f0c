"""This project's methods in NAS-Bench-201: ``--config=nasbench201_cifar10[:proxy]``."""

from collections.abc import Iterator

from ml_collections import ConfigDict

from experiments.configs.entry import Entry
from experiments.configs.papers import base

_NAME = "nasbench201_cifar10"
_NOTE = """
SD-DARTS Table 4, STC-NAS Table 6, and their baselines: six methods, three seeds each,
looked up in the benchmark's table. The papers report, as test accuracy on CIFAR-10 /
CIFAR-100 / ImageNet16-120: DARTS 54.30 / 15.61 / 16.32, GDAS 93.61 / 70.70 / 41.71,
SD-DARTS 93.91 / 71.88 / 46.03, STC-NAS 93.41 / 70.43 / 45.03 per cent. MSG-DAS has no
figure there.

The full variant has the papers' settings, of baselines the benchmark's; those of
MSG-DAS, whose paper has no search there, are an assumption. It was not run here. The
proxy is sized for two cores, a narrow and shallow supernet on a part of the images: its
figures say nothing of the papers' own.
"""
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
    "analysis/eigenvalue": "min",
    "analysis/discretization/gap": "min",
    "analysis/ranking/kendall_tau": "max",
    "result/valid_accuracy": "max",
    "seconds": "",
}
#: Of all cells, measured after the last epoch; the eigenvalue where alpha is a mixture.
_ANALYSIS = ("analysis.discretization=1000", "analysis.ranking=1000")


def _full() -> ConfigDict:
    """The papers' settings, of baselines the benchmark's."""
    return base.study(
        "NAS-Bench-201 on CIFAR-10",
        cells={
            name: base.cell(
                label,
                f"{name}_{_NAME}",
                *(("analysis.eigenvalue=5",) if "darts" in name else ()),
            )
            for name, label in _LABELS.items()
        },
        metrics=_METRICS,
        overrides=_ANALYSIS,
        baseline="random",
        about="The papers' settings, of baselines the benchmark's.",
    )


#: Images, width, depth and epochs that two cores can do; alpha's rate makes up for
#: the steps there are fewer of.
_PROXY = (
    "data.max_examples=5120",
    "supernet.channels=8",
    "supernet.num_cells=1",
    "search.batch_size=32",
    "search.arch_learning_rate=0.003",
    "search.evaluate_every=4",
)
_EPOCHS = "search.epochs=8"
#: After the teachers' warm-up and at the end, on few images.
_CURVATURE = ("analysis.eigenvalue=4", "analysis.eigenvalue_batches=2")


def _proxy(config: ConfigDict) -> ConfigDict:
    """The six methods on a part of the images, as many steps for each but random.

    A step of random search takes about a fifth of a mixture's time, so it has five
    times the epochs: equal cost to DARTS, more than the sampling methods have.
    """
    config.title += ", proxy"
    config.about = (
        "A proxy, not the papers' setting: 5,120 images of CIFAR-10, a supernet of 8 "
        "channels and one cell a stage, 32 images a batch, 8 epochs (random search "
        "40, about the time that DARTS takes). The cells found are looked up in the "
        "benchmark's table, where they were trained in full."
    )
    config.overrides = (*_ANALYSIS, *_PROXY)
    overrides = {
        "darts": (_EPOCHS, *_CURVATURE),
        # Of the epochs, the share that the paper's setting has of its own.
        "sd_darts": (_EPOCHS, "method.warmup=4", *_CURVATURE),
        "msg_das": (_EPOCHS,),
        "stc_nas": (_EPOCHS, "method.arch_start=2"),
        "gdas": (_EPOCHS,),
        "random": (
            "search.epochs=40",
            "method.candidates=100",
            "method.finalists=5",
        ),
    }
    for name, own in overrides.items():
        config.cells[name].overrides = own
    return config


def entries() -> Iterator[Entry]:
    """The one study."""
    yield Entry(
        "study",
        _NAME,
        "NAS-Bench-201 on CIFAR-10: the papers' methods and their baselines.",
        _NOTE.strip(),
        _full,
        {"proxy": _proxy},
        needs="TFDS_DATA_DIR=DIR NASJAX_NASBENCH201=accuracies.csv",
    )
