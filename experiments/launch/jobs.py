"""The runs of a study as processes: on this machine, or as an array of SLURM jobs."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from nasjax.base import InputError
from nasjax.runtime.workdir import write_atomically

_POLL_SECONDS = 0.2


class Job(NamedTuple):
    """One run of a study.

    Attributes:
      cell: short name of what is run.
      label: what the table calls it.
      seed: of the run.
      folder: its workdir; a process of its own, so that a crash is its own.
      command: arguments of the interpreter.
    """

    cell: str
    label: str
    seed: int
    folder: Path
    command: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name of the workdir."""
        return self.folder.name

    def log(self, kind: str) -> Path:
        """``out`` and ``err``, what the process printed; ``json``, how it ended."""
        return self.folder.parent / "logs" / f"{self.name}.{kind}"

    @property
    def kept(self) -> bool:
        """Whether this very command has been run to its end."""
        ended = self._record()
        finished = (self.folder / "genotype.json").exists()
        same = ended.get("command") == list(self.command)
        return finished and same and ended.get("code") == 0

    @property
    def failure(self) -> str:
        """Why the last run ended early, in one line; "" where it did not."""
        return str(self._record().get("failure", ""))

    def _record(self) -> dict[str, Any]:
        try:
            found = json.loads(self.log("json").read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def start(self) -> "subprocess.Popen[bytes]":
        """The process, which goes on where an earlier one was stopped."""
        self.log("out").parent.mkdir(parents=True, exist_ok=True)
        self.log("json").unlink(missing_ok=True)
        with self.log("out").open("wb") as out, self.log("err").open("wb") as err:
            return subprocess.Popen(
                [sys.executable, *self.command], stdout=out, stderr=err
            )

    def end(self, code: int) -> str:
        """Record how the process ended; returns the reason of a failure, or ""."""
        failure = "" if code == 0 else self._reason(code)
        record = {"command": self.command, "code": code, "failure": failure}
        write_atomically(self.log("json"), json.dumps(record, indent=2) + "\n")
        return failure

    def _reason(self, code: int) -> str:
        if code < 0:
            return f"killed by {signal.Signals(-code).name}"
        if code in (128 + signal.SIGTERM, 128 + signal.SIGINT):
            return "stopped after a checkpoint"
        text = self.log("err").read_text(errors="replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        said = lines[-1].removeprefix("error: ") if lines else "nothing on stderr"
        return f"exit code {code}: {said[:300]}"

    def __call__(self) -> int:
        """Run to the end: what a SLURM job does."""
        code = self.start().wait()
        self.end(code)
        return code

    def checkpoint(self, *arguments: Any) -> Any:
        """The same run again, for a job that SLURM takes off its machine."""
        from submitit.helpers import DelayedSubmission

        # A named tuple's call is hidden from the type checker.
        return DelayedSubmission(cast(Callable[..., Any], self), *arguments)


def run_here(
    jobs: Iterable[Job],
    *,
    parallel: int,
    stop: Callable[[], bool],
    tell: Callable[[Job, str], None],
) -> None:
    """Run jobs on this machine, a few at a time.

    Args:
      jobs: to be run, in this order.
      parallel: how many at a time.
      stop: asked all the time; the processes are then asked to stop, too, and save.
      tell: called with each job that ended and the reason of its failure, or "".
    """
    waiting = list(jobs)
    running: dict[Job, subprocess.Popen[bytes]] = {}
    try:
        while running or (waiting and not stop()):
            while waiting and len(running) < parallel and not stop():
                job = waiting.pop(0)
                running[job] = job.start()
            if stop():
                _ask_to_stop(running.values())
            for job, process in list(running.items()):
                code = process.poll()
                if code is not None:
                    del running[job]
                    tell(job, job.end(code))
            time.sleep(_POLL_SECONDS)
    finally:
        _ask_to_stop(running.values())


def _ask_to_stop(processes: Iterable["subprocess.Popen[bytes]"]) -> None:
    for process in processes:
        if process.poll() is None and not getattr(process, "asked", False):
            process.terminate()
            process.asked = True  # type: ignore[attr-defined]


def submit(jobs: Sequence[Job], folder: Path, **settings: Any) -> list[str]:
    """Submit the jobs as one SLURM array.

    Args:
      jobs: one array task each.
      folder: for submitit's files: the script, the pickled jobs, what they print.
      **settings: of `submitit.SlurmExecutor`, such as ``slurm_partition``.

    Returns:
      The numbers of the jobs.

    Raises:
      InputError: submitit is not installed, SLURM is not there, or it refuses.
    """
    try:
        import submitit
    except ImportError:
        raise InputError(
            '--launcher=slurm needs submitit: pip install "nasjax[slurm]"'
        ) from None
    try:
        executor = submitit.AutoExecutor(folder=folder, cluster="slurm")
        executor.update_parameters(**settings)
        tasks = cast(Sequence[Callable[[], int]], jobs)
        submitted: list[Any] = executor.submit_array(tasks)
    except (NameError, AssertionError) as error:  # of a setting
        raise InputError(f"flag --slurm: {' '.join(str(error).split())}") from None
    except submitit.core.utils.FailedJobError as error:
        raise InputError(f"sbatch: {' '.join(str(error).split())}") from None
    except RuntimeError as error:  # no srun
        raise InputError(f"--launcher=slurm: {' '.join(str(error).split())}") from None
    return [job.job_id for job in submitted]


def search_command(
    config: str, *, folder: Path, seed: int, overrides: Sequence[str]
) -> tuple[str, ...]:
    """Arguments of the interpreter for a search.

    Args:
      config: file, with its variant.
      folder: workdir.
      seed: of the run, which no override changes.
      overrides: ``field=value``.
    """
    fields = [*overrides, f"seed={seed}"]
    return (
        "-m",
        "experiments.search",
        f"--config={config}",
        f"--workdir={folder}",
        *(f"--config.{field}" for field in fields),
    )


def retrain_command(
    config: str,
    *,
    folder: Path,
    seed: int,
    overrides: Sequence[str],
    epoch: int | None = None,
) -> tuple[str, ...]:
    """Arguments of the interpreter for the training of what a search found.

    Args:
      config: file, with its variant.
      folder: of the search; the training's workdir is ``retrain`` in it, or
        ``retrain-epochN``.
      seed: of the training, which no override changes.
      overrides: ``field=value``.
      epoch: N, of the search, after which the cell is taken; None for its end.
    """
    fields = [*overrides, f"seed={seed}"]
    found, place = (
        (f"{folder}", "retrain")
        if epoch is None
        else (f"{folder}@{epoch}", f"retrain-epoch{epoch}")
    )
    return (
        "-m",
        "experiments.retrain",
        f"--config={config}",
        f"--genotype={found}",
        f"--workdir={folder / place}",
        *(f"--config.{field}" for field in fields),
    )


def chain(*commands: Sequence[str]) -> tuple[str, ...]:
    """Arguments of the interpreter for commands one after another."""
    joined = [argument for command in commands for argument in ("+", *command)]
    return ("-m", "experiments.launch.run_sequence", *joined[1:])


def use_table(path: str) -> None:
    """Let the children look up in a table."""
    os.environ["NASJAX_NASBENCH201"] = path
