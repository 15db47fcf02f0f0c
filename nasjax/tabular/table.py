"""NAS-Bench-201 look-ups: the published accuracy of what a search found.

    table = NASBench201.load("accuracies.csv")
    table.query(genotype.arch_str)                   # per cent
    table.lookup(genotype.arch_str).regret           # per cent points

Source: Dong and Yang, arXiv 2001.00326; NATS-Bench, arXiv 2009.00437. The benchmark
trained isomorphic cells each for itself, so their rows differ and are not merged.
"""

import csv
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nasjax.base import InputError
from nasjax.genotype import parse_arch_str
from nasjax.genotype_text import read_json
from nasjax.tabular.sources import (
    NUM_ARCHITECTURES,
    SPACE,
    Archive,
    Column,
    Source,
    Table,
    read_csv,
)

_FORM = "|op~0|+|op~0|op~1|+|op~0|op~1|op~2|"


class Lookup(NamedTuple):
    """One answer of the table.

    Attributes:
      accuracy: per cent, mean of the benchmark's seeds.
      dataset: as in `Column`, like split and epochs.
      split: see `Column`.
      epochs: see `Column`.
      version: of the benchmark, or the file's name and checksum where it tells none.
      rank: 1 for the best of all architectures; equals share the better rank.
      regret: the best accuracy of the table minus this one, per cent points.
    """

    accuracy: float
    dataset: str
    split: str
    epochs: int
    version: str
    rank: int
    regret: float


class Best(NamedTuple):
    """The best of a column; of equals the first in the table."""

    accuracy: float
    arch_str: str


class NASBench201:
    """The table: 15,625 architectures, each with its accuracies.

    Made by `load`. Every method raises `InputError` for an architecture, a data set,
    a split or epochs that the table does not have, and says what it has.
    """

    def __init__(self, source: Source):
        """Look up in a source."""
        self._source = source
        self._rows = {arch_str: row for row, arch_str in enumerate(source.arch_strs)}

    @staticmethod
    def load(path: str | Path) -> "NASBench201":
        """Read the table.

        Args:
          path: a CSV file (``.csv`` or ``.tsv``) with a column ``arch`` and columns
            such as ``cifar10_test_200`` (per cent), or a folder with such an
            ``accuracies.csv``: read in a fifth of a second. Other columns are
            passed over. Or an archive of
            NATS-Bench's topology space, read through the package ``nats_bench``:
            a folder is read as it is asked, a file at once (minutes, above 10 GB of
            memory). All of an archive is read for the first rank, regret or best;
            `save` keeps it as CSV. Its files are pickles, which run what they
            contain: load only what comes from NATS-Bench itself.

        Raises:
          InputError: a file that is absent, of another form, not complete, or whose
            accuracies are fractions or errors; an archive without ``nats_bench``
            installed.
        """
        path = Path(path)
        if (path / "accuracies.csv").is_file():
            path = path / "accuracies.csv"
        if not path.exists():
            raise InputError(f"{path} does not exist")
        if path.suffix.lower() in (".csv", ".tsv"):
            return NASBench201(read_csv(path))
        if (path / "meta.pickle.pbz2").is_file() or path.name.endswith(".pickle.pbz2"):
            return NASBench201(Archive(path))
        raise InputError(
            f"{path} is neither a .csv file nor an archive of NATS-Bench (the unpacked "
            "folder NATS-tss-…-simple or the file NATS-tss-….pickle.pbz2)"
        )

    @property
    def version(self) -> str:
        """Of the benchmark, or the file's name and checksum where it tells none."""
        return self._source.version

    @property
    def columns(self) -> tuple[Column, ...]:
        """What can be asked for."""
        return self._source.columns

    @property
    def in_memory(self) -> bool:
        """Whether every answer comes at once; an archive is read for minutes."""
        return isinstance(self._source, Table)

    def query(
        self,
        arch_str: str,
        *,
        dataset: str = "cifar10",
        split: str = "test",
        epochs: int = 200,
    ) -> float:
        """Accuracy of an architecture, per cent, mean of the benchmark's seeds."""
        column = self._column(dataset, split, epochs)
        return self._source.accuracy(self._row(arch_str), column)

    def lookup(
        self,
        arch_str: str,
        *,
        dataset: str = "cifar10",
        split: str = "test",
        epochs: int = 200,
    ) -> Lookup:
        """The accuracy with its rank, its regret, and what it is of."""
        column, row = self._column(dataset, split, epochs), self._row(arch_str)
        values = self._source.arrays()[column]
        return Lookup(
            accuracy=float(values[row]),
            **column._asdict(),
            version=self.version,
            rank=1 + int((values > values[row]).sum()),
            regret=float(values.max() - values[row]),
        )

    def lookups(
        self, arch_str: str, columns: Sequence[Column] | None = None
    ) -> tuple[Lookup, ...]:
        """A look-up in some columns (`select`), or in every one of the table."""
        columns = self.columns if columns is None else columns
        return tuple(self.lookup(arch_str, **column._asdict()) for column in columns)

    def select(
        self, dataset: str | None, split: str | None, epochs: int | None
    ) -> tuple[Column, ...]:
        """The columns of a data set, a split and epochs; None for any.

        Raises:
          InputError: there is none; it tells what there is instead of the first
            field amiss.
        """
        if dataset is not None:
            dataset = str(dataset).lower().replace("-", "_")
        left, known = self.columns, ""
        for field, value in (
            ("dataset", dataset),
            ("split", split),
            ("epochs", epochs),
        ):
            if value is None:
                continue
            allowed = dict.fromkeys(getattr(column, field) for column in left)
            if value not in allowed:
                raise InputError(
                    f"{field} is {value!r}; the table {self.version} has "
                    f"{', '.join(map(str, allowed))}{known}"
                )
            left = tuple(column for column in left if getattr(column, field) == value)
            known = f"{known or ' for'} {value}"
        return left

    def best(
        self, dataset: str = "cifar10", split: str = "test", epochs: int = 200
    ) -> Best:
        """The best architecture of a column."""
        values = self._source.arrays()[self._column(dataset, split, epochs)]
        row = int(values.argmax())
        return Best(float(values[row]), self._source.arch_strs[row])

    def accuracies(
        self, *, dataset: str = "cifar10", split: str = "test", epochs: int = 200
    ) -> np.ndarray:
        """A column as float64 ``[15,625]``, per cent: that of all architectures."""
        return self._source.arrays()[self._column(dataset, split, epochs)].copy()

    def save(self, path: str | Path) -> None:
        """Write the table as CSV, which `load` reads at once.

        Raises:
          InputError: a name without ``.csv``, or a file that cannot be written.
        """
        path = Path(path)
        if path.suffix != ".csv":
            raise InputError(f"{path} must end in .csv")
        if not path.parent.is_dir():  # said before minutes are spent on an archive
            raise InputError(f"{path} cannot be written: {path.parent} is no folder")
        arrays = self._source.arrays()
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        names = ("_".join(map(str, column)) for column in self.columns)
        writer.writerow(("index", "arch", *names, "version"))
        for row, arch_str in enumerate(self._source.arch_strs):
            values = (repr(float(arrays[column][row])) for column in self.columns)
            writer.writerow((row, arch_str, *values, self.version))
        part = path.with_name(path.name + ".part")
        try:
            part.write_text(text.getvalue())
            os.replace(part, path)
        except OSError as error:
            raise InputError(f"{path} cannot be written: {error.strerror}") from None

    def _row(self, arch_str: str) -> int:
        if isinstance(arch_str, str) and arch_str in self._rows:
            return self._rows[arch_str]
        return self._rows[check_arch_str(arch_str)]

    def _column(self, dataset: str, split: str, epochs: int) -> Column:
        """The column meant; the errors of `select`."""
        return self.select(str(dataset), str(split), epochs)[0]


def check_arch_str(arch_str: str) -> str:
    """An architecture string, as it is, if the space has it.

    Raises:
      InputError: of another form, with other operations or with other nodes.
    """
    if not isinstance(arch_str, str):
        raise InputError(f"an architecture is a text {_FORM}, not {arch_str!r}")
    edges = parse_arch_str(arch_str)
    if len(edges) != SPACE.num_edges:
        raise InputError(
            f"{arch_str!r} is no cell of NAS-Bench-201, which has three nodes after "
            f"its input: {_FORM}"
        )
    for operation, _ in edges:
        if operation not in SPACE.primitives:
            raise InputError(
                f"operation {operation!r} of {arch_str!r} is not one of "
                f"{', '.join(SPACE.primitives)}"
            )
    return arch_str


def headline(lookups: Sequence[Lookup]) -> tuple[Lookup, ...]:
    """The figures that papers print: test accuracy after the longest training."""
    tests = [lookup for lookup in lookups if lookup.split == "test"]
    longest = max((lookup.epochs for lookup in tests), default=0)
    return tuple(lookup for lookup in tests if lookup.epochs == longest)


def format_lookups(lookups: Sequence[Lookup]) -> str:
    """Look-ups as a table for a terminal, and which table they come from.

    >>> row = Lookup(93.66, "cifar10", "test", 200, "NATS-tss-v1_0-3ffb9", 1234, 0.71)
    >>> print(format_lookups([row]))
    data set        split  epochs  accuracy %  regret  rank of 15,625
    cifar10         test      200       93.66    0.71           1,234
    NAS-Bench-201: NATS-tss-v1_0-3ffb9
    """
    lines = [
        f"{'data set':14}  split  epochs  accuracy %  regret  "
        f"rank of {NUM_ARCHITECTURES:,}"
    ]
    for row in lookups:
        lines.append(
            f"{row.dataset:14}  {row.split:5}  {row.epochs:6}  {row.accuracy:10.2f}  "
            f"{row.regret:6.2f}  {row.rank:14,}"
        )
    versions = dict.fromkeys(row.version for row in lookups)
    return "\n".join([*lines, *(f"NAS-Bench-201: {version}" for version in versions)])


def to_json(arch_str: str, lookups: Sequence[Lookup]) -> str:
    """Look-ups of an architecture as one JSON object, the form of lookup.json."""
    rows = [lookup._asdict() for lookup in lookups]
    return json.dumps({"arch_str": arch_str, "lookups": rows}, indent=2)


def from_json(text: str) -> tuple[str, tuple[Lookup, ...]]:
    """Read `to_json`'s form.

    Raises:
      InputError: anything else.
    """
    try:
        data = read_json(text)
        arch_str = data["arch_str"]
        lookups = tuple(_checked(Lookup(**row)) for row in data["lookups"])
    except InputError:
        raise
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise InputError(f"no look-ups: {' '.join(str(error).split())}") from None
    return check_arch_str(arch_str), lookups


def _checked(lookup: Lookup) -> Lookup:
    """A look-up from parsed JSON, every field checked."""
    for name, value in lookup._asdict().items():
        kind = Lookup.__annotations__[name]
        # JSON does not tell 94.0 from 94.
        allowed = (int, float) if kind is float else kind
        right = isinstance(value, allowed) and not isinstance(value, bool)
        if not right or (kind is float and abs(value) > 100):
            raise InputError(f"no look-ups: {name} is {value!r:.60}")
    return lookup._replace(accuracy=float(lookup.accuracy), regret=float(lookup.regret))
