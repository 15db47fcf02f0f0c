"""From a study's configuration to its runs, everything checked before one starts."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.configs import catalogue
from experiments.configs.references import is_reference
from experiments.launch import build
from experiments.launch.fields import missing_field
from experiments.launch.folders import name_of
from experiments.launch.jobs import Job, chain, retrain_command, search_command
from nasjax.analysis.statistics import Summary
from nasjax.base import InputError
from nasjax.report.study import split_epoch
from nasjax.tabular import NASBench201, headline

_RANDOM = "an architecture drawn at random, no search"


def default_workdir(config_file: str, fields: Mapping[str, Any] = {}) -> Path:
    """Where a study goes when no folder is given.

    Of the fields that were overridden those count that change a run: more seeds and
    other rows are of the same study.

    >>> str(default_workdir("experiments/configs/papers/a_b.py:proxy"))
    'runs/studies/a_b-proxy'
    >>> str(default_workdir("a.py", {"seeds": (0, 1), "cells.one.config": "b"}))
    'runs/studies/a-cells.one.config=b'
    """
    deciding = {
        name: value
        for name, value in fields.items()
        if name == "overrides" or name.startswith("cells.")
    }
    return Path("runs/studies") / name_of(config_file, fields=deciding)


def jobs_of(config: Mapping[str, Any], folder: Path) -> list[Job]:
    """The runs of a study, seed by seed: an early table has every cell.

    Raises:
      InputError: a field of the study that is not of its form.
    """
    _check(config)
    jobs = []
    for seed in config["seeds"]:
        for name in config["rows"]:
            cell = config["cells"][name]
            place = folder / f"{name}-seed{seed}"
            overrides = (*config["overrides"], *cell["overrides"])
            command = search_command(
                cell["config"], folder=place, seed=seed, overrides=overrides
            )
            if cell["retrain"]:
                trainings = [
                    retrain_command(
                        cell["retrain"],
                        folder=place,
                        seed=seed,
                        overrides=cell["retrain_overrides"],
                        epoch=epoch,
                    )
                    for epoch in (None, *cell["retrain_epochs"])
                ]
                command = chain(command, *trainings)
            jobs.append(Job(name, cell["label"], seed, place, command))
    return jobs


def _check(config: Mapping[str, Any]) -> None:
    seeds = config["seeds"]
    good = all(isinstance(seed, int) and seed >= 0 for seed in seeds)
    if not seeds or not good or len(set(seeds)) < len(seeds):
        raise InputError(f"seeds is {seeds!r}; it lists different numbers from 0 on")
    for field, block in (("rows", "cells"), ("columns", "metrics")):
        unknown = sorted(set(config[field]) - set(config[block]))
        if unknown or not config[field]:
            raise InputError(
                f"{field} is {config[field]!r}; it lists some of the {block} "
                f"{', '.join(config[block]) or '(there are none)'}"
            )
    for name, better in config["metrics"].items():
        if better not in ("max", "min", ""):
            raise InputError(f"metrics.{name} is {better!r}; it must be max, min or ''")
        with build.named(f"metrics.{name}"):
            split_epoch(name)
    if config["baseline"] not in ("", *config["cells"]):
        raise InputError(
            f"baseline is {config['baseline']!r}; it must be one of the cells "
            f"{', '.join(config['cells'])}, or empty"
        )
    for name, cell in config["cells"].items():
        if not re.fullmatch(r"[A-Za-z0-9_.+-]+", name):
            raise InputError(f"cells.{name}: a name has letters, digits and _ . + -")
        try:
            overrides = (*config["overrides"], *cell["overrides"])
            search = _check_overrides(cell["config"], overrides)
            if cell["retrain"]:
                _check_overrides(cell["retrain"], cell["retrain_overrides"])
            for field in ("retrain_overrides", "retrain_epochs"):
                if cell[field] and not cell["retrain"]:
                    raise InputError(f"{field} without a configuration in retrain")
            _check_epochs(cell["retrain_epochs"], search, overrides)
        except InputError as error:
            raise InputError(f"cells.{name}: {error}") from None


def _check_epochs(epochs: Any, search: Any, overrides: Sequence[str]) -> None:
    """Refuse epochs that a search does not pass through."""
    given = [o.partition("=")[2] for o in overrides if o.startswith("search.epochs=")]
    end = int(given[-1]) if given and given[-1].isdecimal() else search.search.epochs
    good = all(isinstance(epoch, int) and 0 <= epoch < end for epoch in epochs)
    if not good or len(set(epochs)) < len(epochs):
        raise InputError(
            f"retrain_epochs is {epochs!r}; it lists different epochs from 0 to "
            f"{end - 1}, and what the search ends with after {end} is trained anyway"
        )


def _check_overrides(config: str, overrides: Sequence[str]) -> Any:
    """Refuse a configuration that is not there and fields that it does not have.

    Returns:
      The configuration, without the overrides.
    """
    given = [o.removeprefix("method.name=") for o in overrides]
    own = [name for name, o in zip(given, overrides, strict=True) if name != o]
    try:
        method = own[-1] if own and is_reference(own[-1]) else ""
        found: Any = catalogue.load(config, method=method)
    except OSError:
        raise InputError(f"config {config} does not exist") from None
    for override in overrides:
        path, equals, _ = override.partition("=")
        if not equals:
            raise InputError(f"override {override!r} is not of the form field=value")
        missing = missing_field(found, path)
        if missing:
            raise InputError(f"override {override!r}: {missing}")
    if any(override.startswith("seed=") for override in overrides):
        raise InputError("an override of seed: a study's seeds are its own field")
    return found


def references(
    metrics: Mapping[str, str], table: NASBench201 | None
) -> dict[str, dict[str, Summary]]:
    """What the table says of all its architectures, for its metrics of a study.

    An architecture drawn at random is what a search has to beat at the least.
    """
    if table is None:
        return {}
    figures = {}
    some = next(iter(table.columns))
    rows = table.lookups(table.best(*some).arch_str)
    for row in headline(rows):
        values = table.accuracies(
            dataset=row.dataset, split=row.split, epochs=row.epochs
        )
        for kind, array in (("lookup", values), ("regret", values.max() - values)):
            if f"{kind}/{row.dataset}" in metrics:
                figures[f"{kind}/{row.dataset}"] = _of_all(array)
    return {_RANDOM: figures} if figures else {}


def _of_all(values: np.ndarray) -> Summary:
    """Of all there is, so that there is nothing to estimate."""
    return Summary(
        size=len(values),
        mean=float(values.mean()),
        sd=float(values.std()),
        low=float(values.min()),
        high=float(values.max()),
        interval=None,
    )
