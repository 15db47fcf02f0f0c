"""Many seeds in one launch of ``experiments.search``: ``--config.search.num_seeds=S``.

Seeds ``seed`` to ``seed + S - 1`` are searched by one compiled program over one data
set on the device. Each has a folder of its own, ``seedN`` below the workdir, with all
that a search of that seed leaves and with its configuration: a launch of one seed alone
goes on with it, and a launch of more seeds keeps those that are finished.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from experiments.launch import app, build, runs
from experiments.launch.signals import StopRequest
from nasjax import search
from nasjax.analysis.probes import Analysis
from nasjax.base import InputError
from nasjax.genotype import Genotype
from nasjax.report import read_run, write_report
from nasjax.report.seeds import seeds_to_text
from nasjax.report.study import outcome
from nasjax.runtime import budget as budgets
from nasjax.runtime.loop import NotFiniteError
from nasjax.runtime.progress import ConsoleProgress
from nasjax.runtime.workdir import Workdir
from nasjax.search import Search
from nasjax.search import seeds as seeds_lib
from nasjax.tabular import NASBench201, headline

_Table = Callable[[str], NASBench201 | None]
_Tell = Callable[[Workdir, Genotype, NASBench201 | None], None]


class Plan(NamedTuple):
    """How many seeds are searched, and how: no part of what a search is.

    Attributes:
      number: S.
      mapped: see `nasjax.search.seeds.is_batched`.
    """

    number: int
    mapped: str


class OfSeed(NamedTuple):
    """A seed's search: its number, folder and configuration."""

    seed: int
    workdir: Workdir
    config: Mapping[str, Any]

    @property
    def source(self) -> str:
        """Where its genotype comes from."""
        names = self.config["method"]["name"], self.config["data"]["name"]
        return f"{', '.join(names)}, seed {self.seed}"


def plan(config: Mapping[str, Any]) -> tuple[dict[str, Any], Plan]:
    """A configuration without what is said of several seeds, and that.

    Raises:
      InputError: a number or a word that is not allowed.
    """
    block = dict(config["search"])
    found = Plan(block.pop("num_seeds"), block.pop("seeds_mapped"))
    if found.number < 1:
        raise InputError(f"search.num_seeds is {found.number}; it must be at least 1")
    if found.number > 1 and config["seed"] < 2**32 < config["seed"] + found.number:
        raise InputError(
            f"search.num_seeds is {found.number}; from seed {config['seed']} on there "
            f"are {2**32 - config['seed']}"
        )
    if found.mapped not in seeds_lib.MAPPED:
        known = ", ".join(seeds_lib.MAPPED)
        raise InputError(
            f"search.seeds_mapped is {found.mapped!r}; it must be one of {known}"
        )
    return {**config, "search": block}, found


def search_all(
    config: Mapping[str, Any], plan: Plan, *, table: _Table, tell: _Tell
) -> int:
    """Search every seed that is not finished, and print a table of all.

    Args:
      config: of the first seed, without the plan.
      plan: which seeds.
      table: of architectures, for a space.
      tell: what is written and printed of a seed's genotype.

    Returns:
      The exit code: 1 where a seed broke, 143 or 130 where all were stopped.
    """
    started = time.perf_counter()
    every = [
        OfSeed(seed, Workdir(_folder(config) / f"seed{seed}"), {**config, "seed": seed})
        for seed in range(config["seed"], config["seed"] + plan.number)
    ]
    waiting = [one for one in every if not _is_finished(one, table, tell)]
    code = 0
    if waiting:
        with runs.preparing(_folder(config)):
            prepared = _prepare(waiting, plan, table)
        try:
            code = _run(waiting, prepared, tell, started=started)
        finally:
            for one in waiting:
                one.workdir.close()
    print(_summary(every))
    return code


def _folder(config: Mapping[str, Any]) -> Path:
    """Where the seeds' folders are.

    Raises:
      InputError: it is a search's own.
    """
    default = runs.default_workdir(
        runs.config_file(), seed=config["seed"], fields=runs.overridden()
    )
    name = default.name.removesuffix(f"seed{config['seed']}") + "seeds"
    folder = Path(runs.WORKDIR.value or default.with_name(name))
    if (folder / "config.json").exists():
        raise InputError(
            f"workdir {folder} holds the search of one seed; give another --workdir"
        )
    return folder


def _is_finished(one: OfSeed, table: _Table, tell: _Tell) -> bool:
    def told() -> None:
        genotype = Genotype.from_json(one.workdir.genotype.read_text())
        tell(one.workdir, genotype, table(genotype.space))

    return runs.is_finished(one.workdir, one.config, tell=told)


class _Prepared(NamedTuple):
    """What is compiled, and what is looked up or measured for each seed."""

    seeds: seeds_lib.Seeds
    budget: budgets.Budget
    batched: bool
    table: NASBench201 | None
    analyses: Sequence[Sequence[Analysis]]


def _prepare(waiting: Sequence[OfSeed], plan: Plan, table: _Table) -> _Prepared:
    """Check every field, compile, and measure."""
    config = waiting[0].config
    if (runs.DEVICES.value or 1) > 1 or jax.process_count() > 1:
        raise InputError(
            f"search.num_seeds is {plan.number}; several seeds run in one process on "
            "one device: give --num_devices=1, or each seed a launch"
        )
    numbers = [one.seed for one in waiting]
    parts = build.all_parts(config, num_devices=1, seeds=numbers)
    with build.named("search.seeds_mapped"):
        batched = seeds_lib.is_batched(
            parts.method, parts.net.space, mapped=plan.mapped
        )
    found = table(parts.net.space.name)
    # What a measure has compiled it keeps for one search.
    analyses = [build.analyses(config, found) for _ in waiting]
    runs.tell_read(parts.reading)
    prepared, budget = seeds_lib.prepare(
        parts.net,
        parts.method,
        parts.by_seed,
        seeds=numbers,
        optimizers=build.both_optimizers(config),
        epochs=config["search"]["epochs"],
        augmentation=build.augmentation(config),
        batched=batched,
    )
    return _Prepared(prepared, budget, batched, found, analyses)


def _run(
    waiting: Sequence[OfSeed], prepared: _Prepared, tell: _Tell, *, started: float
) -> int:
    """Run the seeds to their ends or to a signal, and write what each found."""
    how = "one batch" if prepared.batched else "in turns"
    numbers = ", ".join(str(one.seed) for one in waiting)
    space = prepared.seeds.searches[0].net.space
    for one in waiting:
        runs.begin(
            one.workdir,
            one.config,
            prepared.budget,
            started=started,
            shown=one is waiting[0],
            primitives=list(space.primitives),
            seeds=f"{numbers}, {how}",
        )
    print(f"seeds {numbers}: {how}; memory and times are of all")
    broken: list[int] = []

    def tell_broken(seed: int, error: NotFiniteError) -> None:
        broken.append(seed)
        told = NotFiniteError(f"seed {seed}: {error}")
        runs.tell_not_finite(told, waiting[0].config, "search")

    needed = prepared.budget.peak_bytes
    with StopRequest() as stop, budgets.explain_out_of_memory(needed):
        running = _searches(waiting, prepared, stop)
        found = seeds_lib.run(prepared.seeds, running, broken=tell_broken)
    for one in waiting:
        one.workdir.end()
    for one, genotype in zip(waiting, found, strict=True):
        if genotype is not None:
            print(f"seed {one.seed}:")
            tell(one.workdir, genotype, prepared.table)
            print(f"report   {write_report(one.workdir.folder)}")
        elif one.seed not in broken:
            runs.tell_stopped(one.workdir)
    if broken:
        return app.FAILED
    return stop.exit_code if None in found else 0


def _searches(
    waiting: Sequence[OfSeed], prepared: _Prepared, stop: Callable[[], bool]
) -> list[search.Running]:
    """The search of each seed in its folder."""
    first = ConsoleProgress(name=f"seed {waiting[0].seed}")
    shown = [first, *(first.beside(f"seed {one.seed}") for one in waiting[1:])]

    def of(
        one: OfSeed,
        searched: Search,
        analyses: Sequence[Analysis],
        progress: ConsoleProgress,
    ) -> search.Running:
        block = one.config["search"]
        return search.Running(
            searched,
            one.workdir,
            progress=progress,
            steps_per_dispatch=block["steps_per_dispatch"],
            evaluate_every=block["evaluate_every"],
            analyses=analyses,
            checkpoint_minutes=runs.MINUTES.value,
            source=one.source,
            stop=stop,
        )

    return list(map(of, waiting, prepared.seeds.searches, prepared.analyses, shown))


def _summary(every: Sequence[OfSeed]) -> str:
    """A table of what the seeds found."""
    metrics = ["result/valid_accuracy"]
    for one in every:
        if one.workdir.finished:
            lookups = headline(read_run(one.workdir.folder).lookups)
            metrics += [f"lookup/{row.dataset}" for row in lookups]
    metrics = list(dict.fromkeys(metrics))
    name = every[0].config["method"]["name"]
    outcomes = [
        outcome(
            one.workdir.folder,
            cell=name,
            label=name,
            seed=one.seed,
            metrics=metrics,
        )
        for one in every
    ]
    return seeds_to_text(outcomes, metrics)
