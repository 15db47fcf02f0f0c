"""What the papers' studies share: kinds of study, recipes, and sizes of their proxies.

A row is ``(label, search, *overrides)``, the search by the name of its configuration.
Full variants have the papers' settings, but for what docs/reproduction.md lists. A
proxy is sized for two cores and is one of two kinds: searches in the NAS-Bench-201
space on a part of CIFAR-10, whose cells are looked up in the benchmark's table
(`looked_up`), or searches in the DARTS space on scikit-learn's digits, whose cells are
trained there (`on_digits`). Neither reproduces a paper's figure; both run every part
that the full variant runs.
"""

from collections.abc import Mapping, Sequence

from ml_collections import ConfigDict

from experiments.configs.papers import base

#: Label, name of the search's configuration, overrides.
Row = tuple[str, ...]

_FOLDER = "experiments/configs/"
#: Columns where what was found is trained, and where it is looked up.
TRAINED = {
    "retrain/test_accuracy": "max",
    "retrain/params": "",
    "result/valid_accuracy": "max",
    "skips/normal": "",
    "skips/reduce": "",
    "seconds": "",
}
LOOKED_UP = {
    "lookup/cifar10": "max",
    "lookup/cifar100": "max",
    "lookup/imagenet16_120": "max",
    "regret/cifar10": "min",
    "skips/cell": "",
    "seconds": "",
}
#: Of `looked_up`; alpha's rate makes up for the steps there are fewer of. SD-DARTS
#: takes ``WARMUP`` with it, the paper's share of the epochs.
SMALL = (
    "data.max_examples=5120",
    "supernet.channels=8",
    "supernet.num_cells=1",
    "search.batch_size=32",
    "search.arch_learning_rate=0.002",
    "search.epochs=10",
)
WARMUP = "method.warmup=5"
#: How long alpha rests in STC-NAS in NAS-Bench-201, as a share of the epochs.
_REST = 12 / 50
#: A narrow supernet over the whole data set and the whole schedule: hours on two cores.
NARROW = ("supernet.channels=8", "supernet.num_cells=1")
#: Depth consistency of STC-NAS: the search's network is the training's.
DEEP = (
    "supernet.num_cells=20",
    "supernet.channels=36",
    "search.batch_size=96",
)
#: A search in the DARTS space on a part of CIFAR-10 that two cores can do.
TINY = (
    "data.max_examples=1280",
    "supernet.channels=4",
    "supernet.num_cells=3",
    "search.batch_size=32",
    "search.arch_learning_rate=0.003",
    "search.epochs=8",
)
#: Of `on_digits`: the training of what was found.
_QUICK = ("train.epochs=20", "network.num_cells=6")


def study(
    title: str,
    rows: Mapping[str, Row],
    *,
    metrics: Mapping[str, str],
    paper: Mapping[str, str],
    about: str,
    retrain: str = "",
    retrain_overrides: tuple[str, ...] = (),
    retrain_epochs: tuple[int, ...] = (),
    overrides: tuple[str, ...] = (),
    seeds: tuple[int, ...] = (0, 1, 2),
) -> ConfigDict:
    """A study, with the paper's figures of its rows in what is said about it.

    Args:
      title: the paper and its table or figure.
      rows: what is run, by short name.
      metrics: columns (`base.study`).
      paper: the paper's figure of each row that has one.
      about: the scale.
      retrain: name of the configuration that trains what was found, and its variant.
      retrain_overrides: fields of it.
      retrain_epochs: of every search, whose cells are trained too (`base.cell`).
      overrides: of every search, before its own.
      seeds: of every row.
    """
    cells = {
        name: base.cell(
            label,
            f"{_FOLDER}{search}.py",
            *_rested(search, (*overrides, *own)),
            *own,
            retrain=_file(retrain),
            retrain_overrides=retrain_overrides,
            retrain_epochs=retrain_epochs,
        )
        for name, (label, search, *own) in rows.items()
    }
    told = "; ".join(f"{rows[name][0]} {figure}" for name, figure in paper.items())
    return base.study(
        title,
        cells=cells,
        metrics=metrics,
        seeds=seeds,
        overrides=overrides,
        about=f"{about} The paper reports: {told}." if told else about,
    )


def at_epochs(metrics: Mapping[str, str], epochs: Sequence[int]) -> dict[str, str]:
    """Metrics after each of some epochs, as `base.study` names them."""
    return {f"{m}@{at}": better for m, better in metrics.items() for at in epochs}


def _rested(search: str, overrides: tuple[str, ...]) -> tuple[str, ...]:
    """How long alpha rests in STC-NAS where the overrides give other epochs.

    >>> _rested("stc_nas_nasbench201_cifar10", ("search.epochs=10",))
    ('method.arch_start=2',)
    """
    epochs = [text for text in overrides if text.startswith("search.epochs=")]
    if not search.startswith("stc_nas_nasbench201") or not epochs:
        return ()
    number = int(epochs[-1].partition("=")[2])
    return (f"method.arch_start={int(number * _REST)}",)


def _file(name: str) -> str:
    file, colon, variant = name.partition(":")
    return f"{_FOLDER}{file}.py{colon}{variant}" if name else ""


def trained(
    title: str,
    rows: Mapping[str, Row],
    *,
    recipe: str,
    paper: Mapping[str, str],
    dataset: str = "cifar10",
    overrides: tuple[str, ...] = (),
    seeds: tuple[int, ...] = (0, 1, 2),
    metrics: Mapping[str, str] | None = None,
    retrain_epochs: tuple[int, ...] = (),
) -> ConfigDict:
    """The full variant in the DARTS space: search, then train on all images.

    Args:
      title: as for `study`, and so are the rest.
      rows: likewise.
      recipe: paper whose training it is: darts, sd_darts, msg_das or stc_nas.
      paper: likewise.
      dataset: of the training: cifar10, cifar100 or imagenet.
      overrides: likewise.
      seeds: likewise.
      metrics: beside those of a training.
      retrain_epochs: as for `study`.
    """
    retrain = f"retrain_{dataset}:{recipe}"
    on_all: tuple[str, ...] = ()
    if dataset == "imagenet":  # MSG-DAS alone has a recipe of its own
        retrain = "retrain_imagenet" + (":msg_das" if recipe == "msg_das" else "")
        on_all = ("data.valid_fraction=0.0",)
    return study(
        title,
        rows,
        metrics={**TRAINED, **(metrics or {})},
        paper=paper,
        about="The paper's settings.",
        retrain=retrain,
        retrain_overrides=on_all,
        retrain_epochs=retrain_epochs,
        overrides=overrides,
        seeds=seeds,
    )


def looked_up(
    title: str,
    rows: Mapping[str, Row],
    *,
    paper: Mapping[str, str],
    overrides: tuple[str, ...] = (),
    metrics: Mapping[str, str] | None = None,
) -> ConfigDict:
    """The proxy in the NAS-Bench-201 space, with accuracies of the benchmark's table.

    Args:
      title: as for `study`, and so are the rest.
      rows: likewise.
      paper: likewise.
      overrides: of every search, after `SMALL`.
      metrics: beside those of a look-up.
    """
    return study(
        f"{title}, proxy",
        rows,
        metrics={**LOOKED_UP, **(metrics or {})},
        paper=paper,
        about=(
            "A proxy, not the paper's setting: the NAS-Bench-201 space, 5,120 images "
            "of CIFAR-10, a supernet of 8 channels and one cell a stage, 10 epochs of "
            "batch 32; accuracies are those of the benchmark's table."
        ),
        overrides=(*SMALL, *overrides),
    )


def on_digits(
    title: str,
    rows: Mapping[str, Row],
    *,
    paper: Mapping[str, str],
    overrides: tuple[str, ...] = (),
    seeds: tuple[int, ...] = (0, 1, 2),
) -> ConfigDict:
    """The proxy in the DARTS space: search and training on scikit-learn's digits.

    Args:
      title: as for `study`, and so are the rest.
      rows: likewise.
      paper: likewise.
      overrides: likewise.
      seeds: likewise.
    """
    return study(
        f"{title}, proxy",
        rows,
        metrics=TRAINED,
        paper=paper,
        about=(
            "A proxy, not the paper's setting: scikit-learn's 8×8 digits, a supernet "
            "of 8 channels and 4 cells, 30 epochs; what is found is trained on the "
            "digits, 6 cells of 16 channels, for 20 epochs."
        ),
        retrain="retrain_digits",
        retrain_overrides=_QUICK,
        overrides=overrides,
        seeds=seeds,
    )


def transferred(
    title: str, rows: Mapping[str, Row], *, paper: Mapping[str, str]
) -> ConfigDict:
    """The proxy of ImageNet's tables: cells found elsewhere, trained on CIFAR-10.

    Args:
      title: as for `study`, and so are the rest.
      rows: likewise.
      paper: likewise.
    """
    return study(
        f"{title}, proxy",
        rows,
        metrics=TRAINED,
        paper=paper,
        about=(
            "A proxy, not the paper's setting: what is found is trained on 2,560 "
            "images of CIFAR-10, 5 cells of 8 channels, for 10 epochs."
        ),
        retrain="retrain_cifar10",
        retrain_overrides=(
            "data.max_examples=2560",
            "network.channels=8",
            "network.num_cells=5",
            "train.epochs=10",
            "train.batch_size=64",
        ),
    )
