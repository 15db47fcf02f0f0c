"""Search for an architecture.

    python -m experiments.search [--config=experiments/configs/NAME.py[:variant]]
        [--workdir=DIR] [--config.any.field=value]

Without flags: STC-NAS on scikit-learn's handwritten digits, offline. The same
command again goes on where it was stopped; a finished run says so and changes
nothing. Exit codes: 0 done, 1 it cannot go on (the loss is no number any more, no room
on the disk, no memory), 2 bad input, 143 or 130 stopped by SIGTERM or SIGINT after a
checkpoint.

In the space of NAS-Bench-201, ``--nasbench201=accuracies.csv`` (or the variable
``NASJAX_NASBENCH201``) looks up what is found: printed, in ``lookup.json`` and in the
report.
"""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import config_flags

from experiments import app, build
from experiments.signals import StopRequest
from nasjax import budget as budgets
from nasjax import search, tabular
from nasjax.analysis.probes import Analysis
from nasjax.base import InputError
from nasjax.genotype import Genotype
from nasjax.progress import ConsoleProgress
from nasjax.report import collapse, read_run, write_report
from nasjax.workdir import Workdir, safe_name, write_atomically

_DEFAULT = "experiments/configs/stc_nas_darts_digits.py"

_CONFIG = config_flags.DEFINE_config_file("config", None, lock_config=True)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of the run; runs/CONFIG[-VARIANT]-seedSEED by default."
)
_CACHE = flags.DEFINE_string(
    "compilation_cache",
    str(Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "nasjax" / "xla"),
    "Folder of compiled programs, kept between runs; empty for none.",
)
_DEVICES = flags.DEFINE_integer(
    "num_devices",
    None,
    "Devices that share each batch; by default as many as can. A run may go on with "
    "another number.",
)
# Other launchers have this flag too; tests import several of them together.
_TABLE = flags.DEFINE_string(
    "nasbench201",
    None,
    "Table of NAS-Bench-201 as CSV, to look up what is found; $NASJAX_NASBENCH201 by "
    "default, empty for none.",
    allow_override=True,
)
_MINUTES = flags.DEFINE_float(
    "checkpoint_minutes",
    10.0,
    "A checkpoint is saved after each epoch, and within one after so many minutes.",
    lower_bound=0.0,
    allow_override=True,
)
_TABLE_VARIABLE = "NASJAX_NASBENCH201"


def default_workdir(config_file: str, seed: int) -> Path:
    """Where a run goes when no folder is given.

    >>> str(default_workdir("experiments/configs/a_b.py:smoke", 3))
    'runs/a_b-smoke-seed3'
    """
    file, _, variant = config_file.partition(":")
    parts = filter(None, (Path(file).stem, variant, f"seed{seed}"))
    return Path("runs") / safe_name("-".join(parts))


def main(argv: Sequence[str]) -> int:
    """Run the search the flags describe."""
    del argv
    started = time.perf_counter()
    config: dict[str, Any] = _CONFIG.value.to_dict()
    config_file = config_flags.get_config_filename(flags.FLAGS["config"])
    workdir = Workdir(_WORKDIR.value or default_workdir(config_file, config["seed"]))
    workdir.check(config)
    if workdir.finished:
        if not _is_told(workdir):
            genotype = Genotype.from_json(workdir.genotype.read_text())
            _tell(workdir, genotype, _table(genotype.space))
            return 0
        print(f"{workdir.folder} holds the finished run; nothing to do")
        return 0
    if _CACHE.value:
        build.use_compilation_cache(os.path.expanduser(_CACHE.value))
    with budgets.told():
        task, budget, table, analyses = _prepare(config)
    is_new = workdir.open(config)
    try:
        print(budget)
        if is_new:
            workdir.describe(
                config_file=config_file, primitives=list(task.net.space.primitives)
            )
            ready = time.perf_counter() - started
            values = budget._asdict() | {"ready_seconds": ready}
            workdir.log("budget", step=0, epoch=0, values=values)
        with budgets.told(budget.peak_bytes):
            minutes = _MINUTES.value
            return _search(task, workdir, config, table, analyses, minutes=minutes)
    finally:
        workdir.close()


def _prepare(
    config: dict[str, Any],
) -> tuple[
    search.Search, budgets.Budget, tabular.NASBench201 | None, Sequence[Analysis]
]:
    """Check every field, compile, and measure."""
    parts = build.all_parts(config, num_devices=_DEVICES.value)
    table = _table(parts.net.space.name)
    analyses = build.analyses(config, table)
    task, budget = search.prepare(
        parts.net,
        parts.method,
        parts.data,
        optimizers=build.both_optimizers(config, parts.data),
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
) -> int:
    block = config["search"]
    try:
        with StopRequest() as stop:
            genotype = search.run(
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
    except search.NotFiniteError as error:
        print(
            f"error: {error}; lower search.learning_rate ({block['learning_rate']}) or "
            f"search.clip_norm ({block['clip_norm']}); the last checkpoint is sound",
            file=sys.stderr,
        )
        return app.FAILED
    if genotype is None:
        write_report(workdir.folder)
        print(
            f"stopped after a checkpoint in {workdir.folder}; the same command goes on"
        )
        return stop.exit_code
    _tell(workdir, genotype, table)
    return 0


def _is_told(workdir: Workdir) -> bool:
    """Whether the report of a finished run is written: one may be killed before."""
    report = workdir.folder / "report.html"
    ended = workdir.genotype.stat().st_mtime_ns
    return report.exists() and report.stat().st_mtime_ns >= ended


def _tell(
    workdir: Workdir, genotype: Genotype, table: tabular.NASBench201 | None
) -> None:
    """Look the result up, write the report, and print both."""
    lookups = table.lookups(genotype.arch_str) if table else ()
    if lookups:
        text = tabular.to_json(genotype.arch_str, lookups) + "\n"
        write_atomically(workdir.folder / "lookup.json", text)
    report = write_report(workdir.folder)
    _print_result(genotype, lookups)
    for reason in collapse(read_run(workdir.folder)):
        print(f"warning: the search may have collapsed: {reason}", file=sys.stderr)
    print(f"genotype {workdir.genotype}\nreport   {report}")


def _print_result(genotype: Genotype, lookups: Sequence[tabular.Lookup]) -> None:
    for name, cell in genotype.cells.items():
        edges = ", ".join(f"{operation}←{source}" for operation, source in cell)
        print(f"{name}: {edges}")
    if genotype.arch_str:
        print(genotype.arch_str)
    if lookups:
        print(tabular.format_lookups(tabular.headline(lookups)))


if __name__ == "__main__":
    app.run(main, defaults={"config": _DEFAULT})
