"""What the runs of a study found: one table, failures included."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from nasjax.analysis.statistics import Summary, difference, summarise
from nasjax.base import InputError
from nasjax.report import ranks
from nasjax.report.ranks import Agreement
from nasjax.report.workdir import Run, read_run
from nasjax.tabular import headline


class Outcome(NamedTuple):
    """One run of a study.

    Attributes:
      cell: short name of what was run.
      label: what the table calls it.
      seed: of the run.
      folder: its workdir.
      values: its figures by metric; a figure it does not have is absent.
      failure: why it has no result, in one line; "" if it has.
    """

    cell: str
    label: str
    seed: int
    folder: str
    values: Mapping[str, float]
    failure: str = ""


class Entry(NamedTuple):
    """A cell's figures of one metric.

    Attributes:
      by_seed: value by seed.
      summary: of them; None without any.
      best: the largest or smallest, whichever is better; None where neither is.
      versus: mean minus that of the baseline, and its interval; None without one.
    """

    by_seed: Mapping[int, float]
    summary: Summary | None
    best: float | None
    versus: tuple[float, tuple[float, float] | None] | None


class Line(NamedTuple):
    """A cell's line of the table."""

    cell: str
    label: str
    runs: int
    failures: Mapping[int, str]
    entries: Mapping[str, Entry]


class Table(NamedTuple):
    """The table of a study.

    Attributes:
      title: of the study.
      about: what its figures are worth.
      metrics: "max", "min" or "" by name.
      baseline: the cell the others are compared with, or "".
      lines: of the cells.
      references: what no run of the study found, such as random architectures, by
        label: figures by metric.
      ranks: how metrics rank the runs, against the first metric (`ranks`): those of
        all cells under "", of each cell under its name.
    """

    title: str
    about: str
    metrics: Mapping[str, str]
    baseline: str
    lines: tuple[Line, ...]
    references: Mapping[str, Mapping[str, Summary]] = {}
    ranks: Mapping[str, Mapping[str, Agreement]] = {}


def split_epoch(metric: str) -> tuple[str, int | None]:
    """A metric's name, and the epoch that it asks for after ``@``.

    >>> split_epoch("skips/normal@25"), split_epoch("seconds")
    (('skips/normal', 25), ('seconds', None))

    Raises:
      ValueError: what follows ``@`` is no epoch.
    """
    name, at, epoch = metric.rpartition("@")
    if not at:
        return metric, None
    if not epoch.isdecimal():
        raise ValueError(f"{metric!r} is not of the form METRIC@EPOCH")
    return name, int(epoch)


def plain(table: Table) -> list[str]:
    """The metrics that do not ask for an epoch."""
    return [name for name in table.metrics if split_epoch(name)[1] is None]


def by_epoch(table: Table) -> dict[str, dict[int, str]]:
    """Those that do: ``{metric: {epoch: its name in the table}}``, epochs rising."""
    found: dict[str, dict[int, str]] = {}
    for name in table.metrics:
        metric, epoch = split_epoch(name)
        if epoch is not None:
            found.setdefault(metric, {})[epoch] = name
    return {metric: dict(sorted(epochs.items())) for metric, epochs in found.items()}


def figure(run: Run, metric: str) -> float | None:
    """A figure of a run by its name; None where the run does not have it.

    The names are those of ``experiments.configs.papers.base.study``.
    """
    first, _, rest = metric.partition("/")
    if metric == "seconds":
        return training_seconds(run)
    if first in ("lookup", "regret"):
        found = {row.dataset: row for row in headline(run.lookups)}.get(rest)
        field = "accuracy" if first == "lookup" else "regret"
        return None if found is None else float(getattr(found, field))
    if first == "skips":
        skips = run.genotype.skip_connects if run.genotype else {}
        return float(skips[rest]) if rest in skips else None
    value = run.figures(first).get(rest, math.nan)
    return value if math.isfinite(value) else None


def training_seconds(run: Run) -> float | None:
    """Time that the steps took, from the throughput logged with them."""
    # Both halves pass through the network in a step of a search.
    block, halves = ("train", 1) if run.is_training else ("search", 2)
    found = run.config.get(block)
    batch = found.get("batch_size") if isinstance(found, Mapping) else None
    steps, values = run.curves("train").get("images_per_second", ([], []))
    if not steps or not isinstance(batch, int):
        return None
    taken = [last - first for first, last in zip([0, *steps], steps, strict=False)]
    images = [halves * batch * n for n in taken]
    return sum(n / v for n, v in zip(images, values, strict=True) if v)


def outcome(
    folder: str | Path,
    *,
    cell: str,
    label: str,
    seed: int,
    metrics: Sequence[str],
    failure: str = "",
    as_of: Callable[[Run, Path, int], Run] | None = None,
) -> Outcome:
    """What a workdir holds of a run.

    Args:
      folder: of the run.
      cell: its short name.
      label: what the table calls it.
      seed: of the run.
      metrics: figures wanted; ``METRIC@EPOCH`` for one after an epoch of the search.
      failure: why the run ended early, where that is known.
      as_of: ``(run, folder, epoch) -> run`` as it was after an epoch; without it, or
        where it raises an InputError, a figure of an epoch is absent.
    """
    folder = Path(folder)
    values: dict[str, float] = {}
    try:
        run = read_run(folder)
    except InputError:
        return Outcome(cell, label, seed, str(folder), {}, failure or "not run yet")
    if run.genotype is None:
        failure = failure or "not finished"
    elif not failure:
        asked = {split_epoch(name)[1] for name in metrics}
        for epoch in asked:
            try:
                found = _figures(run, folder, metrics, epoch, as_of)
            except InputError:
                continue
            values |= {
                name: value for name, value in found.items() if value is not None
            }
        values = {name: values[name] for name in metrics if name in values}
    return Outcome(cell, label, seed, str(folder), values, failure)


def _figures(
    run: Run,
    folder: Path,
    metrics: Sequence[str],
    epoch: int | None,
    as_of: Callable[[Run, Path, int], Run] | None,
) -> dict[str, float | None]:
    """The figures of the metrics that ask for this epoch, or for none."""
    wanted = {n: name for n in metrics for name, at in [split_epoch(n)] if at == epoch}
    training = folder / "retrain"
    if epoch is not None:
        if as_of is None:
            return {}
        run = as_of(run, folder, epoch)
        own = folder / f"retrain-epoch{epoch}"  # the last epoch's has no number
        is_last = epoch == run.config.get("search", {}).get("epochs")
        training = training if is_last and not own.exists() else own
    found = {metric: figure(run, name) for metric, name in wanted.items()}
    return found | _retrained(training / "result.json", wanted)


def _retrained(path: Path, wanted: Mapping[str, str]) -> dict[str, float]:
    """Figures ``retrain/NAME``, of the training of what a search found."""
    names = {
        metric: name.removeprefix("retrain/")
        for metric, name in wanted.items()
        if name.startswith("retrain/")
    }
    try:
        result = json.loads(path.read_text())
        return {m: float(result[name]) for m, name in names.items() if name in result}
    except (OSError, ValueError, TypeError):
        return {}


def tabulate(
    outcomes: Sequence[Outcome],
    *,
    title: str,
    metrics: Mapping[str, str],
    baseline: str = "",
    about: str = "",
    references: Mapping[str, Mapping[str, Summary]] | None = None,
) -> Table:
    """The table of a study's runs, cells in the order of their first run.

    A failed run counts as a failure and into no mean.
    """
    cells = dict.fromkeys(one.cell for one in outcomes)
    base = {name: _by_seed(outcomes, baseline, name) for name in metrics}
    lines = []
    for cell in cells:
        own = [one for one in outcomes if one.cell == cell]
        entries = {
            name: _entry(
                _by_seed(own, cell, name),
                better,
                base[name] if cell != baseline else {},
            )
            for name, better in metrics.items()
        }
        failures = {one.seed: one.failure for one in own if one.failure}
        lines.append(Line(cell, own[0].label, len(own), failures, entries))
    table = Table(title, about, metrics, baseline, tuple(lines), references or {})
    runs = {"": outcomes} | {c: [o for o in outcomes if o.cell == c] for c in cells}
    found = {
        cell: ranks.rank_agreement([one.values for one in own], plain(table))
        for cell, own in runs.items()
    }
    return table._replace(ranks={cell: own for cell, own in found.items() if own})


def _by_seed(outcomes: Sequence[Outcome], cell: str, metric: str) -> dict[int, float]:
    return {
        one.seed: one.values[metric]
        for one in outcomes
        if one.cell == cell and metric in one.values
    }


def _entry(
    by_seed: Mapping[int, float], better: str, baseline: Mapping[int, float]
) -> Entry:
    values = list(by_seed.values())
    if not values:
        return Entry(by_seed, None, None, None)
    choose: Callable[..., float] | None = {"max": max, "min": min}.get(better)
    versus = difference(values, list(baseline.values())) if baseline else None
    return Entry(by_seed, summarise(values), choose(values) if choose else None, versus)
