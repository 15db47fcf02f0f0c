"""Reading a run's workdir, also one that is still written or was cut off."""

import json
import math
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nasjax.base import InputError
from nasjax.genotype import Genotype
from nasjax.tabular import Lookup, from_json

Curves = dict[str, tuple[list[float], list[float]]]

#: Names of arrays of edge parameters end with it (`pc_darts.edge_name`).
EDGES = "_edges"
_HOLDS = "config.json, metrics.jsonl, alphas.npz and genotype.json"


class Row(NamedTuple):
    """One line of metrics.jsonl."""

    step: int
    epoch: int
    phase: str
    values: Mapping[str, float]


class Run(NamedTuple):
    """What a workdir tells about its run; parts that are absent are empty.

    Attributes:
      name: of the workdir.
      config: as launched; of a run that nobody launched, what decides it.
      rows: metrics by phase and step; a step that was run again counts once.
      alphas: ``{cell type: [T + 1, E, O]}``.
      edges: ``{cell type: [T + 1, E]}`` parameters of edges, where a method has them.
      genotype: what was found, once the search is through; what a training trains.
      environment: versions, device, start.
      lookups: of what was found in NAS-Bench-201, where the run looked it up.
      problems: what could not be read, a sentence each.
    """

    name: str
    config: Mapping[str, Any]
    rows: tuple[Row, ...]
    alphas: Mapping[str, np.ndarray]
    edges: Mapping[str, np.ndarray]
    genotype: Genotype | None
    environment: Mapping[str, Any]
    lookups: tuple[Lookup, ...]
    problems: tuple[str, ...]

    def curves(self, phase: str) -> Curves:
        """``{name: (steps, values)}`` of a phase."""
        found: Curves = {}
        for row in self.rows:
            if row.phase == phase:
                for name, value in row.values.items():
                    steps, values = found.setdefault(name, ([], []))
                    steps.append(row.step)
                    values.append(value)
        return found

    def figures(self, phase: str) -> dict[str, float]:
        """The last value of every name of a phase."""
        return {name: values[-1] for name, (_, values) in self.curves(phase).items()}

    def epochs(self, phase: str, name: str) -> list[int]:
        """Epoch of each point of a curve, the first epoch being 1, as for alpha."""
        counted = [row.epoch for row in self.rows if row.phase in ("train", "valid")]
        first = min(counted, default=0)
        return [
            row.epoch - first + 1
            for row in self.rows
            if row.phase == phase and name in row.values
        ]

    @property
    def is_training(self) -> bool:
        """Whether it trains a genotype that was given, and does not search for one."""
        return "network" in self.config and "method" not in self.config

    @property
    def finished(self) -> bool:
        """Whether it ended with a result."""
        found = self.genotype is not None and not self.is_training
        return found or "result" in self.phases

    @property
    def phases(self) -> tuple[str, ...]:
        """Phases in the order they first appear."""
        return tuple(dict.fromkeys(row.phase for row in self.rows))


def read_run(workdir: str | Path) -> Run:
    """Read everything readable in a workdir.

    Raises:
      InputError: no folder of that name, or nothing of a run in it.
    """
    folder = Path(workdir)
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; a workdir holds {_HOLDS}")
    problems: list[str] = []
    genotype = _read_genotype(folder / "genotype.json", problems)
    alphas, edges = _read_alphas(folder / "alphas.npz", problems)
    run = Run(
        name=folder.resolve().name,
        config=_read_object(folder / "config.json", problems)
        or _read_object(folder / "run.json", problems).get("run", {}),
        rows=_read_rows(folder / "metrics.jsonl", problems),
        alphas=alphas,
        edges=edges,
        genotype=genotype,
        environment=_read_object(folder / "environment.json", problems),
        lookups=_read_lookups(folder / "lookup.json", genotype, problems),
        problems=tuple(problems),
    )
    if not (run.config or run.rows or run.alphas or run.genotype or run.environment):
        raise InputError(
            f"{folder} has nothing of a run to read; a workdir holds {_HOLDS}"
        )
    return run


def _read_text(path: Path, problems: list[str]) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        problems.append(f"{path.name} cannot be read: {error.strerror}.")
        return None


def _read_object(path: Path, problems: list[str]) -> Mapping[str, Any]:
    text = _read_text(path, problems)
    if text is None:
        return {}
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        problems.append(f"{path.name} is not a complete JSON object and is left out.")
        return {}
    return data


def _read_genotype(path: Path, problems: list[str]) -> Genotype | None:
    text = _read_text(path, problems)
    if text is None:
        return None
    try:
        return Genotype.from_json(text)
    except (InputError, RecursionError) as error:
        problems.append(f"{path.name} is left out: {error}.")
        return None


def _read_lookups(
    path: Path, genotype: Genotype | None, problems: list[str]
) -> tuple[Lookup, ...]:
    """Look-ups of the run's genotype; those of another are none of it."""
    text = _read_text(path, problems)
    if text is None:
        return ()
    try:
        arch_str, lookups = from_json(text)
    except InputError as error:
        problems.append(f"{path.name} is left out: {error}.")
        return ()
    if genotype is None or genotype.arch_str != arch_str:
        problems.append(f"{path.name} is left out: it is not of genotype.json.")
        return ()
    return lookups


def _read_rows(path: Path, problems: list[str]) -> tuple[Row, ...]:
    text = _read_text(path, problems) or ""
    lines = [line for line in text.split("\n") if line.strip()]
    rows: dict[tuple[str, int], Row] = {}
    bad = []
    for index, line in enumerate(lines):
        row = _row(line)
        if row is None:
            bad.append(index)
            continue
        # A resumed run logs the steps after its checkpoint again: the later counts.
        before = rows.get((row.phase, row.step))
        values = {**(before.values if before else {}), **row.values}
        rows[row.phase, row.step] = row._replace(values=values)
    if bad == [len(lines) - 1]:
        problems.append(f"The last line of {path.name} is cut off and left out.")
    elif bad:
        problems.append(f"{len(bad)} lines of {path.name} are damaged and left out.")
    return tuple(sorted(rows.values(), key=lambda row: row.step))


def _row(line: str) -> Row | None:
    """A line of metrics, or None if it is not one."""
    try:
        data = json.loads(line)
        step, epoch, phase = data["step"], data.get("epoch", 0), data["phase"]
        values = data["values"].items()
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return None
    if not (isinstance(step, int) and isinstance(epoch, int) and abs(step) < 1e15):
        return None
    figures = {name: _figure(value) for name, value in values}
    kept = {name: value for name, value in figures.items() if value is not None}
    return Row(step, epoch, str(phase), kept)


def _figure(value: Any) -> float | None:
    """A number; also written as text, as for JSON without NaN."""
    if isinstance(value, str):
        words = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
        return words.get(value.lower().replace("infinity", "inf"))
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


_Arrays = dict[str, np.ndarray]


def _read_alphas(path: Path, problems: list[str]) -> tuple[_Arrays, _Arrays]:
    """Alpha of every cell type, and the parameters of edges beside it."""
    found: _Arrays = {}
    edges: _Arrays = {}
    if not path.is_file():
        return found, edges
    try:
        with np.load(path, allow_pickle=False) as archive:
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise ValueError("not an archive")
            for name in archive.files:
                array = archive[name]
                numbers = array.size and array.dtype.kind in "fiu"
                if array.ndim == 3 and numbers:
                    found[name] = array.astype(np.float64)
                elif array.ndim == 2 and numbers and name.endswith(EDGES):
                    edges[name.removesuffix(EDGES)] = array.astype(np.float64)
                else:
                    problems.append(
                        f"{name} in {path.name} is left out: {array.dtype} of shape "
                        f"{array.shape} is not [T + 1, E, O]."
                    )
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        problems.append(f"{path.name} cannot be read in full: {error}.")
    return found, edges
