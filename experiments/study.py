"""Run a study: methods × spaces × seeds, and one table of what they found.

    python -m experiments.study --config=NAME[:variant]
        [--workdir=DIR] [--parallel=N] [--gather] [--config.any.field=value]
        [--launcher=slurm --slurm=slurm_partition=gpu --slurm=timeout_min=240]

Each run is ``experiments.search`` in a process and a workdir of its own, below the
study's. The same command again keeps what is finished, goes on with what was stopped
and tries again what failed. The table (mean, deviation, extremes, every seed, failures)
is printed, and written to ``study.csv``, ``study.json``, ``study.md`` and
``study.html``, also while the study runs. ``--launcher=slurm`` submits the runs as one
SLURM array and leaves; ``--gather`` makes the table from the workdirs and runs nothing.

Exit codes: 0 every run has a result, 1 some have none, 2 bad input, 143 or 130 stopped.
"""

from experiments.launch import environment

if __name__ == "__main__":
    environment.ready()

import ast
import os
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from absl import flags

from experiments.launch import app, config_flag, devices, epochs, folders, jobs, plan
from experiments.launch.signals import StopRequest
from nasjax import tabular
from nasjax.base import InputError
from nasjax.report import comparison, forms
from nasjax.report import study as tables
from nasjax.runtime.workdir import write_atomically

# Other launchers have these flags too; tests import several of them together.
_CONFIG = config_flag.define(allow_override=True)
_WORKDIR = flags.DEFINE_string(
    "workdir",
    None,
    "Folder of the study; below runs/studies by default, named by the flags.",
    allow_override=True,
)
_TABLE = flags.DEFINE_string(
    "nasbench201",
    None,
    "Table of NAS-Bench-201 as CSV; $NASJAX_NASBENCH201 by default.",
    allow_override=True,
)
_PARALLEL = flags.DEFINE_integer(
    "parallel", 1, "Runs at a time on this machine.", lower_bound=1
)
_GATHER = flags.DEFINE_bool("gather", False, "Make the table and run nothing.")
_LAUNCHER = flags.DEFINE_enum(
    "launcher", "local", ["local", "slurm"], "Where the runs are run."
)
_SLURM = flags.DEFINE_multi_string(
    "slurm", [], "SETTING=VALUE of submitit's executor; may be given again."
)


def main(argv: Sequence[str]) -> int:
    """Run, submit or gather the study that the flags describe."""
    del argv
    if _CONFIG.value is None:
        raise InputError("flag --config=FILE[:variant] is missing: the study to run")
    config: dict[str, Any] = _CONFIG.value.to_dict()
    default = plan.default_workdir(folders.config_file(), folders.overridden())
    folder = Path(_WORKDIR.value or default)
    every = plan.jobs_of(config, folder)
    table = _table()
    if _GATHER.value:
        return _conclude(config, folder, every, table)
    waiting = [job for job in every if not job.kept]
    print(f"{len(every)} runs, {len(every) - len(waiting)} finished before")
    if _LAUNCHER.value == "slurm":
        return _submit(waiting, folder)
    if waiting:
        print(devices.line_of_children(), flush=True)
    return _run(config, folder, every, waiting, table)


def _table() -> tabular.NASBench201 | None:
    """The table of architectures, for the runs and for what to compare them with."""
    path = _TABLE.value or os.environ.get("NASJAX_NASBENCH201")
    if not path:
        return None
    jobs.use_table(path)
    try:
        table = tabular.NASBench201.load(path)
    except InputError as error:
        if _TABLE.value:
            raise InputError(f"flag --nasbench201: {error}") from None
        print(f"warning: NASJAX_NASBENCH201: {error}", file=sys.stderr)
        return None
    return table if table.in_memory else None


def _submit(waiting: Sequence[jobs.Job], folder: Path) -> int:
    if not waiting:
        print("nothing to submit")
        return 0
    settings = dict(map(_setting, _SLURM.value))
    numbers = jobs.submit(waiting, folder / "slurm", **settings)
    print(f"submitted {len(numbers)} jobs: {numbers[0]} to {numbers[-1]}")
    print("gather the table with the same command and --gather")
    return 0


def _setting(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"flag --slurm={text}: it must be SETTING=VALUE")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


def _run(
    config: Mapping[str, Any],
    folder: Path,
    every: Sequence[jobs.Job],
    waiting: Sequence[jobs.Job],
    table: tabular.NASBench201 | None,
) -> int:
    ended = len(every) - len(waiting)

    def tell(job: jobs.Job, failure: str) -> None:
        nonlocal ended
        ended += 1
        print(f"{ended}/{len(every)} {job.name}: {failure or 'done'}", flush=True)
        _write(config, folder, every, table)

    with StopRequest() as stop:
        jobs.run_here(waiting, parallel=_PARALLEL.value, stop=stop, tell=tell)
        if stop():
            print(f"stopped; the same command goes on in {folder}")
            return stop.exit_code
    return _conclude(config, folder, every, table)


def _conclude(
    config: Mapping[str, Any],
    folder: Path,
    every: Sequence[jobs.Job],
    table: tabular.NASBench201 | None,
) -> int:
    found = _write(config, folder, every, table)
    print(forms.to_text(found))
    print(f"\ntable  {folder / 'study.csv'}, {folder / 'study.json'}")
    print(f"report {folder / 'study.html'}")
    return int(any(line.failures for line in found.lines))


def _write(
    config: Mapping[str, Any],
    folder: Path,
    every: Sequence[jobs.Job],
    table: tabular.NASBench201 | None,
) -> tables.Table:
    """Write the table in its three forms, from what the workdirs hold now."""
    metrics = {name: config["metrics"][name] for name in config["columns"]}
    outcomes = [
        tables.outcome(
            job.folder,
            cell=job.cell,
            label=job.label,
            seed=job.seed,
            metrics=tuple(metrics),
            failure=job.failure,
            as_of=partial(epochs.as_of, table=table),
        )
        for job in every
    ]
    found = tables.tabulate(
        outcomes,
        title=config["title"],
        about=config["about"],
        metrics=metrics,
        baseline=config["baseline"],
        references=plan.references(metrics, table),
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / "study.csv", forms.to_csv(outcomes, tuple(metrics)))
        write_atomically(folder / "study.json", forms.to_json(found, outcomes) + "\n")
        write_atomically(folder / "study.md", forms.to_markdown(found))
        page = comparison.render(found, outcomes)
        write_atomically(folder / "study.html", page)
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error.strerror}") from None
    return found


if __name__ == "__main__":
    app.run(main)
