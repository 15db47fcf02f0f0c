"""Search for an architecture.

    python -m experiments.search [--config=NAME[:variant]]
        [--workdir=DIR] [--config.any.field=value]

Without flags: STC-NAS on scikit-learn's handwritten digits, offline. The same
command again goes on where it was stopped; a finished run says so and changes
nothing. Several processes, on one machine or many, make one run by this command and
the flags of `experiments.launch.processes`. Exit codes: 0 done, 1 it cannot go on (the
loss is no number any more, no room on the disk, no memory), 2 bad input, 143 or 130
stopped by SIGTERM or SIGINT after a checkpoint.

``--config.search.num_seeds=S`` searches S seeds in one program, each into a folder of
its own below the workdir (`experiments.launch.seeds`).

In the space of NAS-Bench-201, ``--nasbench201=accuracies.csv`` (or the variable
``NASJAX_NASBENCH201``) looks up what is found: printed, in ``lookup.json`` and in the
report.
"""

from experiments.launch import environment

if __name__ == "__main__":
    environment.ready()

import os
import sys
import time
from collections.abc import Sequence
from typing import Any

from absl import flags

from experiments.launch import app, build, processes, runs, seeds
from experiments.launch.signals import StopRequest
from nasjax import search, tabular
from nasjax.analysis.probes import Analysis
from nasjax.base import InputError
from nasjax.genotype import Genotype
from nasjax.report import collapse, read_run
from nasjax.runtime import budget as budgets
from nasjax.runtime.progress import ConsoleProgress
from nasjax.runtime.workdir import Workdir, write_atomically

flags.adopt_module_key_flags(runs)  # --help tells of them too
flags.adopt_module_key_flags(processes)
_DEFAULT = "stc_nas_darts_digits"

# Other launchers have this flag too; tests import several of them together.
_TABLE = flags.DEFINE_string(
    "nasbench201",
    None,
    "Table of NAS-Bench-201 as CSV, to look up what is found; $NASJAX_NASBENCH201 by "
    "default, empty for none.",
    allow_override=True,
)
_TABLE_VARIABLE = "NASJAX_NASBENCH201"


def main(argv: Sequence[str]) -> int:
    """Run the search the flags describe."""
    del argv
    with processes.joined():
        return _main()


def _main() -> int:
    started = time.perf_counter()
    config, plan = seeds.plan(runs.CONFIG.value.to_dict())
    if plan.number > 1:
        processes.refuse("a search of several seeds")
        return seeds.search_all(config, plan, table=_table, tell=_tell)
    default = runs.default_workdir(
        runs.config_file(), seed=config["seed"], fields=runs.overridden()
    )
    workdir = runs.open_workdir(runs.WORKDIR.value or default)

    def tell() -> None:
        genotype = Genotype.from_json(workdir.genotype.read_text())
        _tell(workdir, genotype, _table(genotype.space))

    if runs.is_finished(workdir, config, tell=tell):
        return 0
    with runs.preparing(workdir.folder):
        task, budget, table, analyses = _prepare(config)
    primitives = list(task.net.space.primitives)
    runs.begin(workdir, config, budget, started=started, primitives=primitives)
    return _search(
        task,
        workdir,
        config,
        table,
        analyses,
        minutes=runs.MINUTES.value,
        needed=budget.peak_bytes,
    )


def _prepare(
    config: dict[str, Any],
) -> tuple[
    search.Search, budgets.Budget, tabular.NASBench201 | None, Sequence[Analysis]
]:
    """Check every field, compile, and measure."""
    parts = build.all_parts(config, num_devices=runs.DEVICES.value)
    table = _table(parts.net.space.name)
    analyses = build.analyses(config, table)
    runs.tell_read(parts.reading)
    task, budget = search.prepare(
        parts.net,
        parts.method,
        parts.data,
        optimizers=build.both_optimizers(config),
        epochs=config["search"]["epochs"],
        num_devices=parts.devices.number,
        seed=config["seed"],
        augmentation=build.augmentation(config),
    )
    return task, budget, table, analyses


def _table(space: str) -> tabular.NASBench201 | None:
    """The table to look up in, if one is named.

    The flag must be right. The variable is set once for many commands: a search of
    another space passes over it, and where it is wrong the search goes on without.

    Raises:
      InputError: a flag that is of no use.
    """
    flag, variable = _TABLE.value, os.environ.get(_TABLE_VARIABLE)
    if flag:
        if space != "nasbench201":
            raise InputError(f"flag --nasbench201 is for its space, not for {space}")
        try:
            return _read_table(flag)
        except InputError as error:
            raise InputError(f"flag --nasbench201: {error}") from None
    if flag is None and variable and space == "nasbench201":
        try:
            return _read_table(variable)
        except InputError as error:
            print(f"warning: no look-up: {_TABLE_VARIABLE}: {error}", file=sys.stderr)
    return None


def _read_table(path: str) -> tabular.NASBench201:
    table = tabular.NASBench201.load(path)
    if not table.in_memory:
        raise InputError(
            f"{path} is an archive, which takes minutes to rank in; keep it as CSV: "
            f"python -m experiments.lookup --nasbench201={path} --save=FILE.csv"
        )
    return table


def _search(
    task: search.Search,
    workdir: Workdir,
    config: dict[str, Any],
    table: tabular.NASBench201 | None = None,
    analyses: Sequence[Analysis] = (),
    *,
    minutes: float = 10.0,
    needed: int = 0,
) -> int:
    block = config["search"]

    def run(stop: StopRequest) -> Genotype | None:
        return search.run(
            task,
            workdir,
            progress=ConsoleProgress(),
            steps_per_dispatch=block["steps_per_dispatch"],
            evaluate_every=block["evaluate_every"],
            analyses=analyses,
            checkpoint_minutes=minutes,
            source=f"{config['method']['name']}, {config['data']['name']}, "
            f"seed {config['seed']}",
            stop=stop,
        )

    def tell(genotype: Genotype) -> None:
        _tell(workdir, genotype, table)

    def last(genotype: Genotype) -> str:
        return result_line(workdir, genotype)

    return runs.finish(workdir, config, "search", run, tell, needed=needed, last=last)


def result_line(workdir: Workdir, genotype: Genotype) -> str:
    """What was found, in a line: the cells, and the supernet's accuracy."""
    accuracy = read_run(workdir.folder).figures("result").get("valid_accuracy")
    found = genotype.arch_str or "; ".join(_cell_lines(genotype))
    judged = f"; supernet valid accuracy {100 * accuracy:.2f} %" if accuracy else ""
    return f"result   {found}{judged}"


def _tell(
    workdir: Workdir, genotype: Genotype, table: tabular.NASBench201 | None
) -> None:
    """Look the result up, and print both."""
    lookups = table.lookups(genotype.arch_str) if table else ()
    if lookups:
        text = tabular.to_json(genotype.arch_str, lookups) + "\n"
        write_atomically(workdir.folder / "lookup.json", text)
    _print_result(genotype, lookups)
    for reason in collapse(read_run(workdir.folder)):
        print(f"warning: the search may have collapsed: {reason}", file=sys.stderr)
    print(f"genotype {workdir.genotype}")


def _cell_lines(genotype: Genotype) -> list[str]:
    return [
        f"{name}: {', '.join(f'{operation}←{source}' for operation, source in cell)}"
        for name, cell in genotype.cells.items()
    ]


def _print_result(genotype: Genotype, lookups: Sequence[tabular.Lookup]) -> None:
    for line in _cell_lines(genotype):
        print(line)
    if genotype.arch_str:
        print(genotype.arch_str)
    if lookups:
        print(tabular.format_lookups(tabular.headline(lookups)))


if __name__ == "__main__":
    app.run(main, defaults={"config": _DEFAULT})
