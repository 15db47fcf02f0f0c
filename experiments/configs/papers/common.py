"""What the papers' studies share: kinds of study, recipes, and sizes of their proxies.

A `Study` has two scales, each made by one of the functions below of its rows. A row
is ``(label, search, *overrides)``, the search by the name of its configuration.
Full variants have the papers' settings, but for what docs/reproduction.md lists. A
proxy is sized for two cores and is one of two kinds: searches in the NAS-Bench-201
space on a part of CIFAR-10, whose cells are looked up in the benchmark's table
(`looked_up`), or searches in the DARTS space on scikit-learn's digits, whose cells are
trained there (`on_digits`). Neither reproduces a paper's figure; both run every part
that the full variant runs.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from experiments.configs.entry import Entry
from experiments.configs.papers import base

#: Label, name of the search's configuration, overrides.
Row = tuple[str, ...]
#: Rows by short name.
Rows = Mapping[str, Row]
#: ``(title, paper's figures) -> study``.
Scale = Callable[[str, Mapping[str, str]], ConfigDict]


class Study(NamedTuple):
    """A table or a figure of a paper.

    Attributes:
      file: what is left of its name, ``PAPER_PART_FILE``.
      title: the paper and its table or figure.
      note: what it compares, and what is run of it.
      paper: the paper's figure of each row that has one.
      full: the paper's settings.
      proxy: what two cores can do.
      needs: variables of its command.
    """

    file: str
    title: str
    note: str
    paper: Mapping[str, str]
    full: Scale
    proxy: Scale
    needs: str = "TFDS_DATA_DIR=DIR NASJAX_NASBENCH201=accuracies.csv"


def entries(paper: str, studies: Mapping[str, Study]) -> Iterator[Entry]:
    """The studies of a paper, each as ``PAPER_PART_FILE`` and as ``PAPER:PART``."""
    for part, one in studies.items():
        yield Entry(
            "study",
            f"{paper}_{part}_{one.file}",
            f"{one.title}.",
            one.note.strip(),
            partial(one.full, one.title, one.paper),
            {"proxy": partial(_proxy, one)},
            also=f"{paper}:{part}",
            needs=one.needs,
        )


def _proxy(one: Study, full: ConfigDict) -> ConfigDict:
    del full
    return one.proxy(one.title, one.paper)


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
    paper: Mapping[str, str],
    *,
    rows: Rows,
    metrics: Mapping[str, str],
    about: str = "The paper's settings.",
    retrain: str = "",
    retrain_overrides: tuple[str, ...] = (),
    retrain_epochs: tuple[int, ...] = (),
    overrides: tuple[str, ...] = (),
    seeds: tuple[int, ...] = (0, 1, 2),
) -> ConfigDict:
    """A study, with the paper's figures of its rows in what is said about it.

    Args:
      title: the paper and its table or figure.
      paper: the paper's figure of each row that has one.
      rows: what is run, by short name.
      metrics: columns (`base.study`).
      about: the scale; one that is a proxy says so first.
      retrain: name of the configuration that trains what was found, and its variant.
      retrain_overrides: fields of it.
      retrain_epochs: of every search, whose cells are trained too (`base.cell`).
      overrides: of every search, before its own.
      seeds: of every row.
    """
    cells = {
        name: base.cell(
            label,
            search,
            *_rested(search, (*overrides, *own)),
            *own,
            retrain=retrain,
            retrain_overrides=retrain_overrides,
            retrain_epochs=retrain_epochs,
        )
        for name, (label, search, *own) in rows.items()
    }
    told = "; ".join(
        f"{rows[name][0]} {figure}" for name, figure in paper.items() if name in rows
    )
    return base.study(
        f"{title}, proxy" if about.startswith("A proxy") else title,
        cells=cells,
        metrics=metrics,
        seeds=seeds,
        overrides=overrides,
        about=f"{about} The paper reports: {told}." if told else about,
    )


def vary(search: str, cases: Mapping[str, Sequence[str]], *more: str) -> Rows:
    """A row of one search for each case, its label and its overrides.

    >>> vary("darts", {"many": ("long", "search.epochs=9")}, "data.pad=2")
    {'many': ('long', 'darts', 'search.epochs=9', 'data.pad=2')}
    """
    return {
        name: (label, search, *overrides, *more)
        for name, (label, *overrides) in cases.items()
    }


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


# --- scales ------------------------------------------------------------------------


def trained(
    rows: Rows,
    *,
    recipe: str,
    dataset: str = "cifar10",
    metrics: Mapping[str, str] = {},
    **settings: Any,
) -> Scale:
    """The full variant in the DARTS space: search, then train on all images.

    Args:
      rows: of the study.
      recipe: paper whose training it is: darts, sd_darts, msg_das or stc_nas.
      dataset: of the training: cifar10, cifar100 or imagenet.
      metrics: beside those of a training.
      **settings: of `study`.
    """
    if dataset == "imagenet":  # MSG-DAS alone has a recipe of its own
        retrain = "retrain_imagenet" + (":msg_das" if recipe == "msg_das" else "")
        settings["retrain_overrides"] = ("data.valid_fraction=0.0",)
    else:
        retrain = f"retrain_{dataset}:{recipe}"
    measured = {**TRAINED, **metrics}
    return partial(study, rows=rows, metrics=measured, retrain=retrain, **settings)


def searched(rows: Rows, *, metrics: Mapping[str, str], **settings: Any) -> Scale:
    """A search alone; see `study` for the arguments."""
    return partial(study, rows=rows, metrics=metrics, **settings)


def looked_up(
    rows: Rows,
    *,
    overrides: tuple[str, ...] = (),
    metrics: Mapping[str, str] = {},
    epochs: int = 10,
) -> Scale:
    """The proxy in the NAS-Bench-201 space, with accuracies of the benchmark's table.

    Args:
      rows: of the study.
      overrides: of every search, after `SMALL`.
      metrics: beside those of a look-up.
      epochs: that the rows have.
    """
    about = (
        "A proxy, not the paper's setting: the NAS-Bench-201 space, 5,120 images of "
        "CIFAR-10, a supernet of 8 channels and one cell a stage, "
        f"{epochs} epochs of batch 32; accuracies are those of the benchmark's table."
    )
    measured = {**LOOKED_UP, **metrics}
    overrides = (*SMALL, *overrides)
    return searched(rows, metrics=measured, about=about, overrides=overrides)


def on_digits(rows: Rows, *, seeds: tuple[int, ...] = (0, 1, 2)) -> Scale:
    """The proxy in the DARTS space: search and training on scikit-learn's digits.

    Args:
      rows: of the study.
      seeds: of every row.
    """
    about = (
        "A proxy, not the paper's setting: scikit-learn's 8×8 digits, a supernet of 8 "
        "channels and 4 cells, 30 epochs; what is found is trained on the digits, 6 "
        "cells of 16 channels, for 20 epochs."
    )
    return searched(
        rows,
        metrics=TRAINED,
        about=about,
        retrain="retrain_digits",
        retrain_overrides=_QUICK,
        seeds=seeds,
    )


def transferred(rows: Rows) -> Scale:
    """The proxy of ImageNet's tables: cells found elsewhere, trained on CIFAR-10."""
    about = (
        "A proxy, not the paper's setting: what is found is trained on 2,560 images of "
        "CIFAR-10, 5 cells of 8 channels, for 10 epochs."
    )
    return searched(
        rows,
        metrics=TRAINED,
        about=about,
        retrain="retrain_cifar10",
        retrain_overrides=(
            "data.max_examples=2560",
            "network.channels=8",
            "network.num_cells=5",
            "train.epochs=10",
            "train.batch_size=64",
        ),
    )
