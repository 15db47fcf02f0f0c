"""The files of a run: configuration, metrics, alphas, genotype.

Every file is complete or absent: it is written beside its name and moved there.
`metrics.jsonl` alone grows by lines, and a resumed run cuts off what came after its
checkpoint.
"""

import json
import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tensorboardX

from nasjax.base import InputError
from nasjax.genotype import Genotype

_PACKAGES = ("nasjax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def write_atomically(path: Path, data: str | bytes) -> None:
    """Write a file so that a reader sees the old one or the new one, whole."""
    part = path.with_name(path.name + ".part")
    part.write_bytes(data.encode() if isinstance(data, str) else data)
    os.replace(part, path)


def differences(
    there: Mapping[str, Any], here: Mapping[str, Any], prefix: str = ""
) -> list[str]:
    """Fields in which two nested configurations differ, with both values."""
    found = []
    for name in sorted({*there, *here}):
        old, new = there.get(name), here.get(name)
        if old == new:
            continue
        if all(value is None or isinstance(value, Mapping) for value in (old, new)):
            found += differences(old or {}, new or {}, f"{prefix}{name}.")
        else:
            found.append(f"{prefix}{name} is {old!r} there and {new!r} here")
    return found


class Workdir:
    """A run's folder. Nothing is written before `open`."""

    def __init__(self, folder: Path | str, *, result: str = "genotype.json"):
        """Name the folder, and the file that a finished run leaves there."""
        self.folder = Path(folder)
        self._result = result
        self._events: Any = None

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
        return (self.folder / self._result).exists()

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
        usable = above.is_dir() and os.access(above, os.W_OK | os.X_OK)
        if not (usable or self.finished):
            raise InputError(f"workdir {self.folder} cannot be written below {above}")
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

    def open(self, config: Mapping[str, Any]) -> bool:
        """Make the folder and write what the run is.

        Returns:
          Whether it is a new run.

        Raises:
          InputError: the folder cannot be written.
        """
        is_new = not (self.folder / "metrics.jsonl").exists()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            text = json.dumps(config, indent=2) + "\n"
            write_atomically(self.folder / "config.json", text)
        except OSError as error:
            raise InputError(
                f"workdir {self.folder} cannot be written: {error.strerror}"
            ) from None
        self._events = tensorboardX.SummaryWriter(str(self.folder), flush_secs=10)
        return is_new

    def describe(self, **facts: Any) -> None:
        """Write the environment: versions, device, and facts of the run."""
        device = jax.devices()[0]
        environment = {
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "python": platform.python_version(),
            "platform": platform.platform(),
            "cpu_count": os.cpu_count(),
            "device": device.device_kind,
            "num_devices": jax.device_count(),
            **{name: metadata.version(name) for name in _PACKAGES},
            **facts,
        }
        text = json.dumps(environment, indent=2) + "\n"
        write_atomically(self.folder / "environment.json", text)

    def log(
        self, phase: str, *, step: int, epoch: int, values: Mapping[str, float]
    ) -> None:
        """Append one line to `metrics.jsonl`, and to the TensorBoard events."""
        line = {"step": step, "epoch": epoch, "phase": phase, "values": dict(values)}
        with (self.folder / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        for name, value in values.items():
            self._events.add_scalar(f"{phase}/{name}", value, step)

    def rewind(self, step: int, epoch: int) -> list[dict[str, np.ndarray]]:
        """Drop what was written after a checkpoint.

        Args:
          step: of the checkpoint; metrics after it go.
          epoch: epochs that were complete at the checkpoint.

        Returns:
          The alphas at the start and after each complete epoch.
        """
        path = self.folder / "metrics.jsonl"
        if path.exists():
            kept = [
                line for line in path.read_text().splitlines() if _is_of(line, step)
            ]
            write_atomically(path, "".join(line + "\n" for line in kept))
        alphas = self.folder / "alphas.npz"
        if not alphas.exists():
            return []
        with np.load(alphas, allow_pickle=False) as stored:
            history = {name: stored[name][: epoch + 1] for name in stored.files}
        length = min(map(len, history.values()))
        return [{name: a[i] for name, a in history.items()} for i in range(length)]

    def write_alphas(self, history: list[dict[str, np.ndarray]]) -> None:
        """Write `alphas.npz`: per cell type ``[epochs + 1, E, O]``."""
        part = self.folder / "alphas.npz.part"
        with part.open("wb") as file:
            stacked = {
                name: np.stack([a[name] for a in history]) for name in history[0]
            }
            np.savez(file, allow_pickle=False, **stacked)
        os.replace(part, self.folder / "alphas.npz")

    def write_genotype(self, genotype: Genotype) -> None:
        """Write the genotype."""
        write_atomically(self.genotype, genotype.to_json() + "\n")

    def close(self) -> None:
        """Flush the TensorBoard events."""
        if self._events is not None:
            self._events.close()


def _is_of(line: str, step: int) -> bool:
    """Whether a line of metrics is whole and not later than a step."""
    try:
        return bool(json.loads(line)["step"] <= step)
    except (ValueError, KeyError, TypeError):
        return False
