"""The files of a run: configuration, metrics, alphas, genotype.

Every file is complete or absent: it is written beside its name and moved there.
`metrics.jsonl` alone grows by lines, and a resumed run cuts off what came after its
checkpoint. One process at a time holds the folder.
"""

import contextlib
import json
import os
import socket
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nasjax.base import InputError, RunError
from nasjax.genotype import Genotype
from nasjax.runtime import environment, locks
from nasjax.runtime.events import Events
from nasjax.runtime.files import PART, replacing
from nasjax.runtime.files import safe_name as safe_name
from nasjax.runtime.files import write_atomically as write_atomically
from nasjax.runtime.identity import Identity, check
from nasjax.runtime.identity import differences as differences

_LOCK = ".lock"


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Tell a write that fails in one line."""
    try:
        yield
    except OSError as error:
        raise RunError(
            f"{path} cannot be written: {error.strerror}; the last checkpoint is "
            "sound, and once this is mended the same command goes on"
        ) from error


class Workdir:
    """A run's folder. Nothing is written before `open`.

    Attributes:
      folder: of the run.
      result: the file that a finished run leaves.
      started: `time.perf_counter` when this process began on the run.
      writes: whether this process writes the files.
    """

    writes = True

    def __init__(self, folder: Path | str, *, result: str = "genotype.json"):
        """Name the folder, and the file that a finished run leaves there."""
        self.folder = Path(folder)
        self.result = self.folder / result
        self.config: dict[str, Any] = {}
        self.started = time.perf_counter()
        self._events = Events(self.folder)
        self._complete = False
        self._lock: int | None = None

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.folder / "checkpoints"

    @property
    def genotype(self) -> Path:
        """The genotype's file."""
        return self.folder / "genotype.json"

    @property
    def finished(self) -> bool:
        """Whether the run ended with a result."""
        return self.result.exists()

    def check(self, config: Mapping[str, Any]) -> None:
        """Refuse a folder of another configuration, or one that cannot be used.

        Raises:
          InputError: naming the fields that differ, or what stands in the way.
        """
        if self.folder.exists() and not self.folder.is_dir():
            raise InputError(f"workdir {self.folder} is a file, not a folder")
        above = next(
            p for p in (self.folder, *self.folder.absolute().parents) if p.exists()
        )
        if not (self.finished or _is_writable(above)):
            raise InputError(f"workdir {self.folder} cannot be written below {above}")
        if self._lock is None and (holder := _holder(self.folder / _LOCK)):
            raise InputError(_in_use(self.folder, holder))
        path = self.folder / "config.json"
        if not path.exists():
            return
        try:
            there = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise InputError(f"{path} cannot be read: {error}") from None
        if not isinstance(there, dict):
            raise InputError(f"{path} cannot be read: it holds no configuration")
        found = differences(there, json.loads(json.dumps(config)))
        if found:
            raise InputError(
                f"workdir {self.folder} holds another run: {'; '.join(found[:3])}; "
                "give another --workdir"
            )

    def open(
        self, config: Mapping[str, Any] | None = None, *, complete: bool = False
    ) -> bool:
        """Make the folder, hold it until `close`, and write what the run is.

        Args:
          config: what its readers should know; it need not say what decides the run,
            which is written and compared by itself (`claim`).
          complete: whether the configuration decides the run, as that of a launch
            does: then its code may change while it goes on.

        Returns:
          Whether it is a new run.

        Raises:
          InputError: the folder cannot be written, or another process holds it.
        """
        config = config or {}
        self.config = json.loads(json.dumps(config))
        self._complete = complete
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._hold()
            for part in self.folder.glob(f"*{PART}"):  # of a process that was killed
                part.unlink()
            text = json.dumps(config, indent=2) + "\n"
            write_atomically(self.folder / "config.json", text)
            is_new = not _has_line(self._metrics)
            if is_new:
                self._metrics.unlink(missing_ok=True)
        except OSError as error:
            self.close()
            raise InputError(
                f"workdir {self.folder} cannot be written: {error.strerror}"
            ) from None
        return is_new

    def claim(self, identity: Identity) -> None:
        """Write what decides the run, or refuse a folder of another run.

        Raises:
          InputError: naming what differs, or that the folder does not say.
        """
        path = self.folder / "run.json"
        if path.exists():
            check(identity, path, programs=not self._complete)
            return
        begun = self.finished or any(self.checkpoints.glob("*"))
        if begun and not self._complete:
            raise InputError(
                f"workdir {self.folder} holds a run that does not say what it is of: "
                f"it has no {path.name}; give another folder"
            )
        with _writing(path):
            write_atomically(path, identity.to_json() + "\n")

    @property
    def _metrics(self) -> Path:
        return self.folder / "metrics.jsonl"

    def _hold(self) -> None:
        """Take the lock; the system gives it back when the process ends, however."""
        if self._lock is not None:
            return
        path = self.folder / _LOCK
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            if not locks.take(lock):
                os.close(lock)
                raise InputError(_in_use(self.folder, _told(path)))
        except OSError as error:  # a file system or a system that has no locks
            print(
                f"warning: {self.folder} cannot be locked ({error.strerror}); no other "
                "process may use it meanwhile",
                file=sys.stderr,
            )
        self._lock = lock
        os.truncate(lock, 0)
        os.write(lock, f"process {os.getpid()} on {socket.gethostname()}\n".encode())

    def describe(self, **facts: Any) -> None:
        """Write the environment: versions, device, and facts of the run."""
        path = self.folder / "environment.json"
        with _writing(path):
            told = {**environment.describe(), **facts}
            write_atomically(path, json.dumps(told, indent=2) + "\n")

    def end(self) -> None:
        """Add to the environment when this process ended, and how long it took."""
        path = self.folder / "environment.json"
        try:
            told = json.loads(path.read_text())
            before = float(told.get("seconds", 0.0))
        except (OSError, ValueError, TypeError, AttributeError):
            return
        now = time.perf_counter()
        seconds, self.started = round(before + now - self.started, 1), now
        told |= {"ended": environment.now(), "seconds": seconds}
        with _writing(path):
            write_atomically(path, json.dumps(told, indent=2) + "\n")

    def log(
        self, phase: str, *, step: int, epoch: int, values: Mapping[str, float]
    ) -> None:
        """Append one line to `metrics.jsonl`, and to the TensorBoard events."""
        line = {"step": step, "epoch": epoch, "phase": phase, "values": dict(values)}
        with _writing(self._metrics), self._metrics.open("a") as file:
            file.write(json.dumps(line) + "\n")
        self._events.add({f"{phase}/{name}": v for name, v in values.items()}, step)

    def rewind(self, step: int, epoch: int) -> list[dict[str, np.ndarray]]:
        """Drop what was written after a checkpoint.

        Args:
          step: of the checkpoint; metrics after it go.
          epoch: epochs that were complete at the checkpoint.

        Returns:
          The alphas at the start and after each complete epoch; none where no alpha
          was ever written.

        Raises:
          InputError: alphas that are damaged, or of fewer epochs.
        """
        if self._metrics.exists():
            lines = self._metrics.read_text(errors="replace").splitlines()
            kept = [line for line in lines if _is_before(line, step)]
            with _writing(self._metrics):
                write_atomically(self._metrics, "".join(f"{line}\n" for line in kept))
            self._events.purge_after(step)
        return self._read_alphas(epoch)

    def _read_alphas(self, epoch: int) -> list[dict[str, np.ndarray]]:
        path = self.folder / "alphas.npz"
        if not path.exists():
            return []
        try:
            with np.load(path, allow_pickle=False) as stored:
                history = {name: stored[name][: epoch + 1] for name in stored.files}
            length = min(map(len, history.values()), default=0)
            if length < epoch + 1:
                raise ValueError(f"it holds {length} of {epoch + 1} alphas")
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise InputError(
                f"{path} cannot be read ({' '.join(str(error).split())}), and the run "
                f"cannot go on without; remove {self.folder} to start again"
            ) from None
        return [{name: a[i] for name, a in history.items()} for i in range(length)]

    def write_alphas(self, history: list[dict[str, np.ndarray]]) -> None:
        """Write `alphas.npz`: per cell type ``[epochs + 1, E, O]``."""
        path = self.folder / "alphas.npz"
        stacked = {name: np.stack([a[name] for a in history]) for name in history[0]}
        with _writing(path), replacing(path) as file:
            np.savez(file, allow_pickle=False, **stacked)

    def write_genotype(self, genotype: Genotype) -> None:
        """Write the genotype."""
        with _writing(self.genotype):
            write_atomically(self.genotype, genotype.to_json() + "\n")

    def close(self) -> None:
        """Flush the TensorBoard events, and give the folder back."""
        self._events.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


class Bystander(Workdir):
    """The folder for a process that leaves it, unseen, to the first of several."""

    writes = False

    @property
    def finished(self) -> bool:
        """Not for this process to tell."""
        return False

    def check(self, config: Mapping[str, Any]) -> None:
        """Nothing: the first process looks."""

    def open(
        self, config: Mapping[str, Any] | None = None, *, complete: bool = False
    ) -> bool:
        """Remember the configuration; the run is not new to this process."""
        self.config = json.loads(json.dumps(config or {}))
        return False

    def claim(self, identity: Identity) -> None:
        """Nothing: the first process looks."""

    def describe(self, **facts: Any) -> None:
        """Nothing."""

    def end(self) -> None:
        """Nothing."""

    def log(
        self, phase: str, *, step: int, epoch: int, values: Mapping[str, float]
    ) -> None:
        """Nothing."""

    def rewind(self, step: int, epoch: int) -> list[dict[str, np.ndarray]]:
        """Nothing: a history of no epochs."""
        return []

    def write_alphas(self, history: list[dict[str, np.ndarray]]) -> None:
        """Nothing."""

    def write_genotype(self, genotype: Genotype) -> None:
        """Nothing."""


def _is_writable(folder: Path) -> bool:
    """Whether something can be made in a folder; rights alone do not tell."""
    try:
        with tempfile.TemporaryDirectory(prefix=".", dir=folder):
            return True
    except OSError:
        return False


def _is_before(line: str, step: int) -> bool:
    """Whether a line of metrics is whole, and of what a checkpoint's step has seen.

    The result is written after the last checkpoint, and then again.
    """
    try:
        row = json.loads(line)
        return bool(row["step"] <= step) and row["phase"] != "result"
    except (ValueError, KeyError, TypeError):
        return False


def _has_line(path: Path) -> bool:
    """Whether a file of metrics has a whole line."""
    return path.exists() and b"\n" in path.read_bytes()


def _holder(lock: Path) -> str:
    """Which process holds a folder; an empty text for none."""
    try:
        file = os.open(lock, os.O_RDONLY)
    except OSError:
        return ""
    try:
        return _told(lock) if locks.is_held(file) else ""
    finally:
        os.close(file)


def _told(lock: Path) -> str:
    return lock.read_text(errors="replace").strip() or "another process"


def _in_use(folder: Path, holder: str) -> str:
    return (
        f"workdir {folder} is in use by {holder}; wait for its end or give another "
        "--workdir"
    )
