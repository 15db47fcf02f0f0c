"""The form of a study: cells (a configuration each) × seeds, and what is compared.

    config = base.study(
        "SD-DARTS, Fig. 6: window of the teachers",
        cells={
            "window1": base.cell("K = 1", SD_DARTS, "method.window=1"),
            "window2": base.cell("K = 2", SD_DARTS, "method.window=2"),
        },
        seeds=(0, 1, 2),
        metrics={"result/valid_accuracy": "max", "analysis/eigenvalue": "min"},
    )

Run by ``python -m experiments.study --config=NAME[:variant]``, a file of one's own that
has a function ``get_config``, or a study of this catalogue. Single fields are given
on the command line as for a search: ``--config.seeds="(0, 1)"``, a part of the table by
``--config.rows="('window1',)"``, and for one cell
``--config.cells.window1.overrides="('data.pad=2',)"``.
"""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict


def cell(
    label: str,
    config: str,
    *overrides: str,
    retrain: str = "",
    retrain_overrides: tuple[str, ...] = (),
    retrain_epochs: tuple[int, ...] = (),
) -> dict[str, Any]:
    """One row of the table.

    Args:
      label: what the table calls it.
      config: configuration of the search, ``NAME[:variant]`` or ``FILE.py[:variant]``.
      *overrides: fields of it as on the command line, ``"search.epochs=10"``.
      retrain: configuration by which ``experiments.retrain`` then trains what was
        found, with the same seed; empty for a search alone.
      retrain_overrides: fields of that one.
      retrain_epochs: of the search, whose cells are trained likewise, one after the
        other, after that of its end.
    """
    return {
        "label": label,
        "config": config,
        "overrides": overrides,
        "retrain": retrain,
        "retrain_overrides": retrain_overrides,
        "retrain_epochs": retrain_epochs,
    }


def study(
    title: str,
    *,
    cells: Mapping[str, Mapping[str, Any]],
    metrics: Mapping[str, str],
    seeds: tuple[int, ...] = (0, 1, 2),
    overrides: tuple[str, ...] = (),
    baseline: str = "",
    about: str = "",
) -> ConfigDict:
    """A study.

    Args:
      title: heading of its table.
      cells: `cell` by short name, of which the workdirs are named: ``NAME-seedS``.
      metrics: columns of the table, each ``"max"`` or ``"min"`` (what is best of the
        seeds) or ``""``. A name is ``PHASE/NAME`` for the last such value of
        metrics.jsonl (``result/valid_accuracy``, ``analysis/eigenvalue``),
        ``retrain/NAME`` for a value of the training's ``result.json``
        (``retrain/test_accuracy``, ``retrain/params``), ``lookup/DATASET`` and
        ``regret/DATASET`` for test accuracy and regret in NAS-Bench-201,
        ``skips/CELL`` for skip connections of what was found, and ``seconds`` for
        the time that the search's steps took. ``NAME@EPOCH`` is any of these as it
        was after an epoch of the search: of the cell that alpha stood for then, looked
        up or, by ``retrain_epochs``, trained. All epochs of a name make one table.
      seeds: of every cell.
      overrides: of every cell, before its own.
      baseline: name of the cell that the others are compared with, such as random
        search at equal cost; empty for none.
      about: what the figures are worth (full scale, or a proxy), for the page.
    """
    return ConfigDict(
        {
            "title": title,
            "about": about,
            # A ConfigDict has no order of its own.
            "rows": tuple(cells),
            "cells": {name: dict(block) for name, block in cells.items()},
            "seeds": seeds,
            "overrides": overrides,
            "columns": tuple(metrics),
            "metrics": dict(metrics),
            "baseline": baseline,
        }
    )
