"""Look up an architecture in NAS-Bench-201: accuracy, regret and rank.

    python -m experiments.lookup ARCH|FILE|WORKDIR [--dataset=cifar10] [--split=test]
        [--epochs=200] [--nasbench201=PATH] [--save=FILE.csv]

ARCH is a string ``|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`` in quotes, FILE holds one or is
a genotype.json (FILE:NAME is one of several that it assigns to names), WORKDIR is the
folder of a finished search. Every row of the table is printed that the flags do not
exclude: accuracy, regret (what is missing to the best of all architectures) and rank.
PATH is the table as CSV, or an archive of NATS-Bench (``pip install nasjax[nats]``), of
which all is read, for minutes; by default it is the variable ``NASJAX_NASBENCH201``.
``--save=FILE.csv`` keeps the table as CSV, which is read at once. Exit code 2: bad
input, told in one line.
"""

import itertools
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from experiments.launch import app
from nasjax import genotypes
from nasjax.base import InputError
from nasjax.genotype_text import clean
from nasjax.tabular import NASBench201, check_arch_str, format_lookups

_TABLE_VARIABLE = "NASJAX_NASBENCH201"
# Other launchers have this flag too; tests import several of them together.
_TABLE = flags.DEFINE_string(
    "nasbench201",
    None,
    "Table of NAS-Bench-201: CSV or archive; $NASJAX_NASBENCH201 by default.",
    allow_override=True,
)
_ARCHITECTURE = flags.DEFINE_string(
    "architecture", None, "What to look up; also without the flag's name."
)
_SAVE = flags.DEFINE_string("save", None, "CSV file to keep the table in.")
_DATASET = flags.DEFINE_string(
    "dataset", None, "Rows of one data set; of all by default.", allow_override=True
)
_SPLIT = flags.DEFINE_string("split", None, "Rows of valid or test; both by default.")
_EPOCHS = flags.DEFINE_integer(
    "epochs", None, "Rows of so many epochs of training; of all by default."
)


def read_architecture(text: str) -> str:
    """The architecture string that a string, a file or a workdir gives.

    Raises:
      InputError: none of them, or an architecture of another space.
    """
    text = clean(text)
    if text.startswith("|"):
        return check_arch_str(text)
    if not genotypes.is_text(text) and text not in genotypes.GENOTYPES:
        path = Path(text)
        try:
            path = path / "genotype.json" if path.is_dir() else path
        except OSError as error:
            raise InputError(f"{text} cannot be read: {error.strerror}") from None
        if genotypes.find(text)[0] is None:
            raise InputError(f"{path} is no file, nor an architecture string |op~0|+…")
    genotype = genotypes.get(text, checked=False)
    if not genotype.arch_str:
        raise InputError(
            f"{text[:200]} is a genotype of {genotype.space}; the table is of "
            "nasbench201"
        )
    genotypes.check(genotype)
    return check_arch_str(genotype.arch_str)


def main(argv: Sequence[str]) -> None:
    """Print the table's rows of an architecture, keep the table, or both."""
    del argv
    if not (_ARCHITECTURE.value or _SAVE.value):
        raise InputError(
            "what to look up is missing: an architecture string in quotes, a "
            "genotype.json or a workdir"
        )
    arch_str = read_architecture(_ARCHITECTURE.value) if _ARCHITECTURE.value else None
    table = _table()
    columns = table.select(_DATASET.value, _SPLIT.value, _EPOCHS.value)
    if _SAVE.value:
        table.save(_SAVE.value)
        print(_SAVE.value)
    if arch_str:
        print(f"{arch_str}\n{format_lookups(table.lookups(arch_str, columns))}")


def _table() -> NASBench201:
    """The table that the flag, or else the variable, names."""
    named = "flag --nasbench201" if _TABLE.value else _TABLE_VARIABLE
    path = _TABLE.value or os.environ.get(_TABLE_VARIABLE)
    if not path:
        raise InputError("flag --nasbench201=PATH is missing: the table to look up in")
    try:
        table = NASBench201.load(path)
    except InputError as error:
        raise InputError(f"{named}: {error}") from None
    if not table.in_memory:
        print(f"reading all of {path}; this takes minutes", file=sys.stderr)
    return table


def _with_flag(argv: Sequence[str]) -> list[str]:
    """The argument that belongs to no flag as ``--architecture``."""
    arguments = list(argv)
    for place, (before, argument) in enumerate(itertools.pairwise(argv), 1):
        if not (argument.startswith("-") or re.fullmatch(r"--?\w+", before)):
            arguments[place] = f"--architecture={argument}"
            break
    return arguments


if __name__ == "__main__":
    app.run(main, argv=_with_flag(sys.argv))
