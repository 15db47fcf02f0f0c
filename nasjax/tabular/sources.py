"""Where NAS-Bench-201's accuracies come from: a CSV file, or NATS-Bench's archive."""

import csv
import hashlib
import io
import itertools
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from nasjax.base import InputError
from nasjax.genotype import format_arch_str
from nasjax.spaces.nasbench201 import nasbench201

SPACE = nasbench201()
#: Five operations on each of six edges.
NUM_ARCHITECTURES = SPACE.num_ops**SPACE.num_edges


class Column(NamedTuple):
    """What an accuracy is of.

    Attributes:
      dataset: "cifar10", "cifar100" or "imagenet16_120".
      split: "valid" or "test".
      epochs: of training; each number of epochs is a training of its own.
    """

    dataset: str
    split: str
    epochs: int


class Source(Protocol):
    """Where accuracies come from; rows are numbered as in the benchmark's file."""

    @property
    def version(self) -> str:
        """Of the benchmark, or the file's name and checksum where it tells none."""

    @property
    def arch_strs(self) -> tuple[str, ...]:
        """Every architecture of the space once."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """What there is of each."""

    def accuracy(self, row: int, column: Column) -> float:
        """One accuracy, per cent."""

    def arrays(self) -> Mapping[Column, np.ndarray]:
        """Every accuracy, float64 of 15,625 each."""


class Table(NamedTuple):
    """A source that lies in memory."""

    version: str
    arch_strs: tuple[str, ...]
    columns: tuple[Column, ...]
    values: np.ndarray  # [15625, columns]

    def accuracy(self, row: int, column: Column) -> float:
        """One accuracy, per cent."""
        return float(self.values[row, self.columns.index(column)])

    def arrays(self) -> Mapping[Column, np.ndarray]:
        """Every accuracy, float64 of 15,625 each."""
        return dict(zip(self.columns, self.values.T, strict=True))


#: What separates the fields of a table, the usual one first.
_SEPARATORS = (",", ";", "\t")
#: Accuracy of the cell whose every edge is none, per cent: one class for all images.
_CHANCE = {"cifar10": 10.0, "cifar100": 1.0, "imagenet16_120": 100 / 120}
#: Accuracy of the cell whose every edge is a skip connection, where DARTS ends.
_OF_SKIPS = {
    Column("cifar10", "test", 200): 54.30,
    Column("cifar100", "test", 200): 15.61,
    Column("imagenet16_120", "test", 200): 16.32,
}


def read_csv(path: Path) -> Table:
    """A table in text, complete and in per cent, or refused.

    Fields are separated by commas, semicolons or tabulators, decimals written with a
    point or a comma. Blanks in the strings of architectures are left out.

    Raises:
      InputError: what is amiss.
    """
    header, rows, checksum = _read_rows(path)
    places = _places(path, header)
    if "arch" not in header or not places:
        raise InputError(
            f"{path} has the columns {', '.join(header)[:200] or 'none'}; it needs "
            "arch and at least one such as cifar10_test_200"
        )
    for number, row in enumerate(rows, start=1):
        if len(row) != len(header):
            raise InputError(
                f"row {number} of {path} has {len(row)} fields, its header "
                f"{len(header)}"
            )
    arch = header.index("arch")
    arch_strs = tuple("".join(row[arch].split()) for row in rows)
    _check_complete(path, arch_strs)
    values = _values(path, [[row[place] for place in places.values()] for row in rows])
    for index, (column, place) in enumerate(places.items()):
        name = f"{header[place]} of {path}"
        _check_accuracies(name, column, arch_strs, values[:, index])
    stated = {row[header.index("version")] for row in rows if "version" in header}
    version = stated.pop() if len(stated) == 1 else f"{path.name} sha256:{checksum}"
    return Table(version, arch_strs, tuple(places), values)


def _read_rows(path: Path) -> tuple[list[str], list[list[str]], str]:
    """The header, the rows and the checksum of a table."""
    try:
        data = path.read_bytes()
        if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise ValueError("it is a text in UTF-16; save it as UTF-8")
        text = data.decode("utf-8-sig")
        first = text.lstrip().partition("\n")[0]
        separator = max(_SEPARATORS, key=first.count)
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        header, *rows = [row for row in lines if row] or [[]]
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, csv.Error) as error:
        raise InputError(f"{path} is no table in CSV: {error}") from None
    header = [name.strip() for name in header]
    return header, rows, hashlib.sha256(data).hexdigest()[:8]


def _places(path: Path, header: Sequence[str]) -> dict[Column, int]:
    """Where each column of accuracies stands."""
    twice = [name for name in ("arch", "version") if header.count(name) > 1]
    places: dict[Column, int] = {}
    for place, name in enumerate(header):
        plain = name.lower().replace("-", "_")  # the benchmark's ImageNet16-120
        found = re.fullmatch(r"(\w+)_(valid|test)_(\d{1,6})", plain)
        if not found:
            continue
        if re.search(r"(^|_)(err|error|errors|loss)(_|$)", found[1]):
            raise InputError(
                f"{name} of {path} holds no accuracies by its name; give them, in per "
                "cent, as columns such as cifar10_test_200"
            )
        column = Column(found[1], found[2], int(found[3]))
        if column in places:
            twice.append(name)
        places[column] = place
    if twice:
        raise InputError(f"{path} has the column {twice[0]} twice; which is meant?")
    return places


def _values(path: Path, texts: list[list[str]]) -> np.ndarray:
    """Accuracies, per cent."""
    try:
        values = np.asarray(texts, np.float64)
    except ValueError:
        commas = [[_with_point(text) for text in row] for row in texts]
        try:
            values = np.asarray(commas, np.float64)
        except ValueError as error:
            raise InputError(f"{path} is no table of accuracies: {error}") from None
    if not ((values >= 0) & (values <= 100)).all():
        raise InputError(f"{path} has accuracies that are not from 0 to 100 per cent")
    return values


def _with_point(text: str) -> str:
    """A number with its decimal comma, if it has one, as a point."""
    return re.sub(r"^(\s*\d{1,3}),(\d+\s*)$", r"\1.\2", text)


def _check_accuracies(
    name: str, column: Column, arch_strs: Sequence[str], values: np.ndarray
) -> None:
    """Refuse what is in another unit, or the other way round: ranks would be wrong."""
    if values.max() <= 1:
        raise InputError(
            f"{name} is at most {values.max():g}: these are fractions, and accuracies "
            "are in per cent; multiply them by 100"
        )

    def of(operation: str) -> float:
        edges = tuple((operation, source) for source, _ in SPACE.edges)
        return float(values[arch_strs.index(format_arch_str(edges))])

    chance, skips = _CHANCE.get(column.dataset), _OF_SKIPS.get(column)
    at_chance = chance is not None and abs(100 - of("none") - chance) < 0.5
    if at_chance or (
        skips is not None and abs(100 - of("skip_connect") - skips) < 0.01
    ):
        raise InputError(
            f"{name} has {of('none'):.2f} for the cell of none and "
            f"{of('skip_connect'):.2f} for the cell of skip connections: these are "
            "errors; give accuracies, which are 100 minus them"
        )


def _check_complete(path: Path, arch_strs: Sequence[str]) -> None:
    """Every architecture of the space once; ranks would mean nothing otherwise."""
    sources = [source for source, _ in SPACE.edges]
    every = {
        format_arch_str(tuple(zip(names, sources, strict=True)))
        for names in itertools.product(SPACE.primitives, repeat=SPACE.num_edges)
    }
    unknown = next((text for text in arch_strs if text not in every), None)
    if unknown is not None:
        raise InputError(f"{path} has a row for {unknown[:200]!r}, not in the space")
    distinct = set(arch_strs)
    if len(arch_strs) == len(distinct) == len(every):
        return
    raise InputError(
        f"{path} has {len(arch_strs):,} rows for {len(distinct):,} "
        f"architectures; it needs one for each of {len(every):,}"
        + _example(arch_strs, every)
    )


def _example(arch_strs: Sequence[str], every: Iterable[str]) -> str:
    """An architecture that is twice in a table, or else one that it has not."""
    twice = [text for text, count in Counter(arch_strs).items() if count > 1]
    if twice:
        return f": {twice[0]} stands twice"
    absent = next(iter(sorted(set(every) - set(arch_strs))), None)
    return f": {absent} is absent" if absent else ""


#: Data set and split -> NATS-Bench's names. Valid of CIFAR-10 comes from a training
#: on half of the training set, test from one on all of it, as the papers print them.
_NATS_NAMES = {
    ("cifar10", "valid"): ("cifar10-valid", "x-valid"),
    ("cifar10", "test"): ("cifar10", "ori-test"),
    ("cifar100", "valid"): ("cifar100", "x-valid"),
    ("cifar100", "test"): ("cifar100", "x-test"),
    ("imagenet16_120", "valid"): ("ImageNet16-120", "x-valid"),
    ("imagenet16_120", "test"): ("ImageNet16-120", "x-test"),
}


class Archive:
    """An archive of NATS-Bench, read through its own package."""

    columns = tuple(
        Column(*names, epochs) for epochs in (200, 12) for names in _NATS_NAMES
    )

    def __init__(self, path: Path):
        if "-sss-" in path.name:
            raise InputError(f"{path} is of NATS-Bench's size space, not NATS-tss-…")
        try:
            import nats_bench
        except ImportError:
            raise InputError(
                f"{path} is an archive of NATS-Bench; to read it: pip install "
                '"nasjax[nats]"'
            ) from None
        self._path = path
        try:
            self._api: Any = nats_bench.create(
                str(path), "tss", fast_mode=path.is_dir(), verbose=False
            )
        except Exception as error:  # unpickling can raise anything
            raise self._unreadable(error) from None
        self.version = path.name.removesuffix(".pickle.pbz2")
        self.arch_strs = tuple(self._api.meta_archs)
        _check_complete(path, self.arch_strs)
        self._arrays: dict[Column, np.ndarray] = {}

    def accuracy(self, row: int, column: Column) -> float:
        """One accuracy, per cent."""
        return self._accuracies(row, (column,))[column]

    def arrays(self) -> Mapping[Column, np.ndarray]:
        """Every accuracy; all of the archive is read the first time."""
        if not self._arrays:
            rows = []
            for row in range(len(self.arch_strs)):
                rows.append(list(self._accuracies(row, self.columns).values()))
                if self._api.fast_mode:
                    # It keeps what it has read; all of it is above 10 GB.
                    self._api.arch2infos_dict.pop(row)
            self._arrays = dict(
                zip(self.columns, np.asarray(rows, np.float64).T, strict=True)
            )
        return self._arrays

    def _accuracies(self, row: int, columns: Sequence[Column]) -> dict[Column, float]:
        found = {}
        try:
            results = {
                epochs: self._api.query_meta_info_by_index(row, hp=str(epochs))
                for epochs in {column.epochs for column in columns}
            }
            for column in columns:
                names = _NATS_NAMES[column.dataset, column.split]
                metrics = results[column.epochs].get_metrics(*names, is_random=False)
                found[column] = float(metrics["accuracy"])
        except Exception as error:  # unpickling can raise anything
            raise self._unreadable(error) from None
        return found

    def _unreadable(self, error: Exception) -> InputError:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        return InputError(f"{self._path} cannot be read by nats_bench: {reason[:300]}")
