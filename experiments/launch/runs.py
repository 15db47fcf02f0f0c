"""Flags and steps that the launches of runs share."""

import contextlib
import gc
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from absl import flags

from experiments.launch import app, compilation_cache, config_flag, devices
from experiments.launch.folders import config_file, name_of, overridden, words
from experiments.launch.signals import StopAtOnce, StopRequest
from experiments.launch.stages import Stages
from nasjax.data.reading import Reading
from nasjax.report import write_report
from nasjax.runtime import loop
from nasjax.runtime import processes as agreement
from nasjax.runtime.budget import Budget, explain_out_of_memory
from nasjax.runtime.workdir import Bystander, Workdir

Result = TypeVar("Result")
#: Fields that do not make another run, or are named by themselves.
_NO_PART = ("seed", "search.num_seeds", "search.seeds_mapped")

CONFIG = config_flag.define()
WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of the run; below runs/ by default, named by the flags."
)
CACHE = flags.DEFINE_string(
    "compilation_cache",
    os.environ.get("JAX_COMPILATION_CACHE_DIR")
    or str(Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "nasjax" / "xla"),
    "Folder of compiled programs, kept between runs; $JAX_COMPILATION_CACHE_DIR by "
    "default; empty for none.",
)
DEVICES = flags.DEFINE_integer(
    "num_devices",
    None,
    "Devices that share each batch; by default as many as can. A run may go on with "
    "another number.",
)
MINUTES = flags.DEFINE_float(
    "checkpoint_minutes",
    10.0,
    "A checkpoint is saved after each epoch, and within one after so many minutes.",
    lower_bound=0.0,
    allow_override=True,
)


def default_workdir(
    file: str, *names: str, seed: int, fields: Mapping[str, Any] = {}
) -> Path:
    """Where a run goes when no folder is given.

    Args:
      file: of the configuration, with its variant.
      *names: of what else the run is of.
      seed: of the run.
      fields: that were overridden; those that are no part of a run are passed over.

    >>> str(default_workdir("experiments/configs/a_b.py:smoke", seed=3))
    'runs/a_b-smoke-seed3'
    >>> str(default_workdir("a_b.py", seed=0, fields={"seed": 0, "data.pad": 2}))
    'runs/a_b-data.pad=2-seed0'
    """
    deciding = {name: fields[name] for name in fields if name not in _NO_PART}
    return Path("runs") / f"{name_of(file, *names, fields=deciding)}-seed{seed}"


def open_workdir(folder: Path | str, **settings: Any) -> Workdir:
    """The folder of a run, for the one process that writes there or for another."""
    kind = Workdir if agreement.is_first() else Bystander
    return kind(folder, **settings)


def tell_read(reading: Reading) -> None:
    """Print what a run reads, once for all its processes."""
    if agreement.is_first():
        print(reading, flush=True)


def is_finished(
    workdir: Workdir,
    config: Mapping[str, Any],
    *,
    tell: Callable[[], None] = lambda: None,
) -> bool:
    """Whether there is nothing to do, which is said; else compiled programs are kept.

    Args:
      workdir: of the run.
      config: of the run.
      tell: what comes before the report, for a run that was killed before it was
        written.

    Raises:
      InputError: the folder holds another run, or cannot be used.
    """
    workdir.check(config)
    if not agreement.any_of(workdir.finished):
        compilation_cache.use_cache(Path(CACHE.value) if CACHE.value else None)
        return False
    if not workdir.writes:
        return True
    report = workdir.folder / "report.html"
    ended = workdir.result.stat().st_mtime_ns
    if report.exists() and report.stat().st_mtime_ns >= ended:
        print(f"{workdir.folder} holds the finished run; nothing to do")
    else:
        tell()
        print(f"report   {write_report(workdir.folder)}")
    return True


@contextlib.contextmanager
def preparing(folder: Path) -> Iterator[None]:
    """Say what starts, and how long tracing and compilation take.

    The first line names the devices. Until the end of the context a signal ends the
    process at once, since there is nothing of it to save.

    Args:
      folder: of the run.

    Raises:
      RunError: memory runs out.
    """
    with (
        Stages(_say) as stages,
        StopAtOnce(lambda: stages.doing),
        explain_out_of_memory(),
    ):
        _say(devices.line())
        _say(f"config   {' '.join([config_file(), *words(overridden())])}")
        _say(f"folder   {folder}")
        # Tracing makes a million objects that stay: to look for garbage among them
        # takes a fifth of its time.
        gc.disable()
        try:
            yield
        finally:
            gc.enable()


def _say(text: str) -> None:
    print(text, flush=True)


def begin(
    workdir: Workdir,
    config: Mapping[str, Any],
    budget: Budget,
    *,
    started: float,
    shown: bool = True,
    **facts: Any,
) -> None:
    """Open the folder, print the budget, and of a new run write both down.

    Args:
      workdir: of the run.
      config: of the run.
      budget: of `prepare`.
      started: `time.perf_counter` at the launch.
      shown: whether the budget is printed.
      **facts: of the run, beside its environment.
    """
    is_new = workdir.open(config, complete=True)
    workdir.started = started
    if shown:
        print(budget)
    if is_new:
        workdir.describe(config_file=config_file(), **facts)
        values = budget._asdict() | {"ready_seconds": time.perf_counter() - started}
        workdir.log("budget", step=0, epoch=0, values=values)


def finish(
    workdir: Workdir,
    config: Mapping[str, Any],
    block: str,
    run: Callable[[StopRequest], Result | None],
    tell: Callable[[Result], None],
    *,
    needed: int = 0,
    last: Callable[[Result], str] | None = None,
) -> int:
    """Run to the end or to a signal, and write the report.

    Args:
      workdir: opened; closed here.
      config: of the run.
      block: of the config, which has the learning rate.
      run: the run, asked to stop by its argument; None where it was stopped.
      tell: what to write and print of the result, before the report is written.
      needed: bytes of a step, told where memory runs out.
      last: the result in the line that is printed last.

    Returns:
      The exit code.
    """
    try:
        with StopRequest() as stop, explain_out_of_memory(needed):
            result = run(stop)
        workdir.end()
        number = agreement.largest(stop.signal or 0)
        if not workdir.writes:
            return 0 if result is not None else 128 + number
        if result is None:
            tell_stopped(workdir)
            return 128 + number
        tell(result)
        print(f"report   {write_report(workdir.folder)}")
        if last is not None:
            print(last(result))
    except loop.NotFiniteError as error:
        workdir.end()
        tell_not_finite(error, config, block)
        return app.FAILED
    finally:
        workdir.close()
    return 0


def tell_stopped(workdir: Workdir) -> None:
    """Write the report of a run that was stopped, and say so."""
    write_report(workdir.folder)
    print(f"stopped after a checkpoint in {workdir.folder}; the same command goes on")


def tell_not_finite(
    error: loop.NotFiniteError, config: Mapping[str, Any], block: str
) -> None:
    """Say what broke, and what may help."""
    print(
        f"error: {error}; lower {block}.learning_rate "
        f"({config[block]['learning_rate']}) or {block}.clip_norm "
        f"({config[block]['clip_norm']}); the last checkpoint is sound",
        file=sys.stderr,
    )
