"""Published cells, and one way to name any genotype: `get`.

Each cell is data of its paper, as the authors published it with their code;
``source`` cites the paper. Parameters and multiply-accumulates that the papers state
for them are checked in ``tests/test_genotypes.py``.
"""

import os
import pathlib

from nasjax.base import InputError
from nasjax.genotype import Cell, Genotype


def _cell(text: str) -> Cell:
    """Edges written as ``operation:source``."""
    edges = (edge.split(":") for edge in text.split())
    return tuple((operation, int(source)) for operation, source in edges)


def _published(
    source: str,
    *,
    normal: str,
    reduce: str,
    normal_concat: tuple[int, ...] = (2, 3, 4, 5),
    reduce_concat: tuple[int, ...] = (2, 3, 4, 5),
) -> Genotype:
    return Genotype(
        "darts",
        normal=_cell(normal),
        normal_concat=normal_concat,
        reduce=_cell(reduce),
        reduce_concat=reduce_concat,
        source=source,
    )


DARTS_V1 = _published(
    "DARTS, first order: Liu et al., arXiv 1806.09055",
    normal=(
        "sep_conv_3x3:1 sep_conv_3x3:0 skip_connect:0 sep_conv_3x3:1 skip_connect:0 "
        "sep_conv_3x3:1 sep_conv_3x3:0 skip_connect:2"
    ),
    reduce=(
        "max_pool_3x3:0 max_pool_3x3:1 skip_connect:2 max_pool_3x3:0 max_pool_3x3:0 "
        "skip_connect:2 skip_connect:2 avg_pool_3x3:0"
    ),
)
DARTS_V2 = _published(
    "DARTS, second order: Liu et al., arXiv 1806.09055",
    normal=(
        "sep_conv_3x3:0 sep_conv_3x3:1 sep_conv_3x3:0 sep_conv_3x3:1 sep_conv_3x3:1 "
        "skip_connect:0 skip_connect:0 dil_conv_3x3:2"
    ),
    reduce=(
        "max_pool_3x3:0 max_pool_3x3:1 skip_connect:2 max_pool_3x3:1 max_pool_3x3:0 "
        "skip_connect:2 skip_connect:2 max_pool_3x3:1"
    ),
)
NASNet = _published(
    "NASNet-A: Zoph et al., arXiv 1707.07012, as DARTS (arXiv 1806.09055) has it",
    normal=(
        "sep_conv_5x5:1 sep_conv_3x3:0 sep_conv_5x5:0 sep_conv_3x3:0 avg_pool_3x3:1 "
        "skip_connect:0 avg_pool_3x3:0 avg_pool_3x3:0 sep_conv_3x3:1 skip_connect:1"
    ),
    reduce=(
        "sep_conv_5x5:1 sep_conv_7x7:0 max_pool_3x3:1 sep_conv_7x7:0 avg_pool_3x3:1 "
        "sep_conv_5x5:0 skip_connect:3 avg_pool_3x3:2 sep_conv_3x3:2 max_pool_3x3:1"
    ),
    normal_concat=(2, 3, 4, 5, 6),
    reduce_concat=(4, 5, 6),
)
AmoebaNet = _published(
    "AmoebaNet-A: Real et al., arXiv 1802.01548, as DARTS (arXiv 1806.09055) has it",
    normal=(
        "avg_pool_3x3:0 max_pool_3x3:1 sep_conv_3x3:0 sep_conv_5x5:2 sep_conv_3x3:0 "
        "avg_pool_3x3:3 sep_conv_3x3:1 skip_connect:1 skip_connect:0 avg_pool_3x3:1"
    ),
    reduce=(
        "avg_pool_3x3:0 sep_conv_3x3:1 max_pool_3x3:0 sep_conv_7x7:2 sep_conv_7x7:0 "
        "avg_pool_3x3:1 max_pool_3x3:0 max_pool_3x3:1 conv_7x1_1x7:0 sep_conv_3x3:5"
    ),
    normal_concat=(4, 5, 6),
    reduce_concat=(3, 4, 6),
)
ENAS = _published(
    "ENAS: Pham et al., arXiv 1802.03268, as FairDARTS (arXiv 1911.12126) has it",
    normal=(
        "sep_conv_3x3:1 skip_connect:1 sep_conv_5x5:1 skip_connect:0 avg_pool_3x3:0 "
        "sep_conv_3x3:1 sep_conv_3x3:0 avg_pool_3x3:1 sep_conv_5x5:1 avg_pool_3x3:0"
    ),
    reduce=(
        "sep_conv_5x5:0 sep_conv_3x3:1 sep_conv_3x3:1 avg_pool_3x3:1 sep_conv_3x3:1 "
        "avg_pool_3x3:1 avg_pool_3x3:1 sep_conv_5x5:4 sep_conv_3x3:5 sep_conv_5x5:0"
    ),
    normal_concat=(2, 3, 4, 5, 6),
    reduce_concat=(2, 3, 4, 5, 6),
)
PC_DARTS = _published(
    "PC-DARTS on CIFAR-10: Xu et al., arXiv 1907.05737",
    normal=(
        "sep_conv_3x3:1 skip_connect:0 sep_conv_3x3:0 dil_conv_3x3:1 sep_conv_5x5:0 "
        "sep_conv_3x3:1 avg_pool_3x3:0 dil_conv_3x3:1"
    ),
    reduce=(
        "sep_conv_5x5:1 max_pool_3x3:0 sep_conv_5x5:1 sep_conv_5x5:2 sep_conv_3x3:0 "
        "sep_conv_3x3:3 sep_conv_3x3:1 sep_conv_3x3:2"
    ),
)
PC_DARTS_IMAGENET = _published(
    "PC-DARTS on ImageNet: Xu et al., arXiv 1907.05737",
    normal=(
        "skip_connect:1 sep_conv_3x3:0 sep_conv_3x3:0 skip_connect:1 sep_conv_3x3:1 "
        "sep_conv_3x3:3 sep_conv_3x3:1 dil_conv_5x5:4"
    ),
    reduce=(
        "sep_conv_3x3:0 skip_connect:1 dil_conv_5x5:2 max_pool_3x3:1 sep_conv_3x3:2 "
        "sep_conv_3x3:1 sep_conv_5x5:0 sep_conv_3x3:3"
    ),
)
P_DARTS = _published(
    "P-DARTS: Chen et al., arXiv 1904.12760",
    normal=(
        "skip_connect:0 dil_conv_3x3:1 skip_connect:0 sep_conv_3x3:1 sep_conv_3x3:1 "
        "sep_conv_3x3:3 sep_conv_3x3:0 dil_conv_5x5:4"
    ),
    reduce=(
        "avg_pool_3x3:0 sep_conv_5x5:1 sep_conv_3x3:0 dil_conv_5x5:2 max_pool_3x3:0 "
        "dil_conv_3x3:1 dil_conv_3x3:1 dil_conv_5x5:3"
    ),
)
GDAS = _published(
    "GDAS: Dong and Yang, arXiv 1910.04465",
    normal=(
        "skip_connect:0 skip_connect:1 skip_connect:0 sep_conv_5x5:2 sep_conv_3x3:3 "
        "skip_connect:0 sep_conv_5x5:4 sep_conv_3x3:3"
    ),
    reduce=(
        "sep_conv_5x5:0 sep_conv_3x3:1 sep_conv_5x5:2 sep_conv_5x5:1 dil_conv_5x5:2 "
        "sep_conv_3x3:1 sep_conv_5x5:0 sep_conv_5x5:1"
    ),
)
SNAS_MILD = _published(
    "SNAS, mild constraint: Xie et al., arXiv 1812.09926",
    normal=(
        "sep_conv_3x3:0 sep_conv_3x3:1 skip_connect:0 dil_conv_3x3:1 skip_connect:0 "
        "skip_connect:1 skip_connect:0 sep_conv_3x3:1"
    ),
    reduce=(
        "max_pool_3x3:0 max_pool_3x3:1 max_pool_3x3:1 skip_connect:2 max_pool_3x3:1 "
        "skip_connect:2 max_pool_3x3:0 dil_conv_5x5:2"
    ),
)
XNAS = _published(
    "XNAS: Nayman et al., arXiv 1906.08031",
    normal=(
        "sep_conv_3x3:1 skip_connect:0 sep_conv_3x3:0 sep_conv_3x3:2 sep_conv_3x3:3 "
        "sep_conv_3x3:1 dil_conv_5x5:4 sep_conv_3x3:0"
    ),
    reduce=(
        "max_pool_3x3:0 avg_pool_3x3:1 avg_pool_3x3:0 skip_connect:2 dil_conv_3x3:3 "
        "max_pool_3x3:0 dil_conv_5x5:4 avg_pool_3x3:0"
    ),
)
FAIR_DARTS_D = _published(
    "FairDARTS-d: Chu et al., arXiv 1911.12126",
    normal=(
        "sep_conv_3x3:0 sep_conv_5x5:1 dil_conv_3x3:1 max_pool_3x3:0 dil_conv_3x3:0 "
        "dil_conv_3x3:1 sep_conv_3x3:0 dil_conv_5x5:1"
    ),
    reduce=(
        "max_pool_3x3:0 sep_conv_5x5:1 avg_pool_3x3:0 dil_conv_5x5:2 dil_conv_3x3:3 "
        "avg_pool_3x3:0 avg_pool_3x3:0 skip_connect:3"
    ),
)
SGAS_CRI_1 = _published(
    "SGAS, criterion 1, the best: Li et al., arXiv 1912.00195",
    normal=(
        "sep_conv_3x3:0 dil_conv_3x3:1 sep_conv_3x3:0 sep_conv_3x3:1 sep_conv_5x5:1 "
        "sep_conv_5x5:3 skip_connect:0 dil_conv_5x5:2"
    ),
    reduce=(
        "max_pool_3x3:0 dil_conv_5x5:1 sep_conv_3x3:0 skip_connect:2 sep_conv_3x3:1 "
        "skip_connect:2 max_pool_3x3:0 max_pool_3x3:1"
    ),
)
SGAS_CRI_2 = _published(
    "SGAS, criterion 2, the best: Li et al., arXiv 1912.00195",
    normal=(
        "sep_conv_3x3:0 sep_conv_3x3:1 sep_conv_3x3:0 sep_conv_3x3:2 max_pool_3x3:0 "
        "sep_conv_3x3:3 sep_conv_3x3:2 sep_conv_3x3:3"
    ),
    reduce=(
        "sep_conv_3x3:0 max_pool_3x3:1 dil_conv_3x3:0 max_pool_3x3:1 max_pool_3x3:0 "
        "sep_conv_3x3:2 max_pool_3x3:0 sep_conv_5x5:2"
    ),
)

DRNAS_CIFAR = _published(
    "DrNAS on CIFAR-10, progressive: Chen et al., arXiv 2006.10355",
    normal=(
        "sep_conv_3x3:0 sep_conv_5x5:1 sep_conv_3x3:1 sep_conv_3x3:2 skip_connect:0 "
        "sep_conv_3x3:1 sep_conv_3x3:2 dil_conv_5x5:3"
    ),
    reduce=(
        "max_pool_3x3:0 sep_conv_5x5:1 dil_conv_5x5:2 sep_conv_5x5:1 sep_conv_5x5:1 "
        "dil_conv_5x5:3 skip_connect:4 sep_conv_5x5:1"
    ),
)
DRNAS_IMAGENET = _published(
    "DrNAS on ImageNet, progressive: Chen et al., arXiv 2006.10355",
    normal=(
        "sep_conv_3x3:1 sep_conv_3x3:0 sep_conv_3x3:0 sep_conv_3x3:1 sep_conv_3x3:0 "
        "dil_conv_3x3:3 skip_connect:0 sep_conv_3x3:1"
    ),
    reduce=(
        "max_pool_3x3:0 sep_conv_3x3:1 sep_conv_3x3:0 skip_connect:2 sep_conv_3x3:0 "
        "sep_conv_3x3:2 sep_conv_3x3:3 sep_conv_3x3:1"
    ),
)
IDARTS = _published(
    "iDARTS: Zhang et al., arXiv 2106.10784",
    normal=(
        "skip_connect:0 dil_conv_3x3:1 sep_conv_3x3:2 sep_conv_3x3:0 sep_conv_3x3:0 "
        "sep_conv_3x3:1 dil_conv_5x5:3 sep_conv_3x3:1"
    ),
    reduce=(
        "avg_pool_3x3:0 sep_conv_3x3:1 max_pool_3x3:2 sep_conv_3x3:1 max_pool_3x3:0 "
        "dil_conv_3x3:3 sep_conv_5x5:2 max_pool_3x3:1"
    ),
)
ASAP = _published(
    "ASAP: Noy et al., arXiv 1904.04123",
    normal=(
        "sep_conv_3x3:0 sep_conv_3x3:1 sep_conv_3x3:1 skip_connect:0 skip_connect:0 "
        "skip_connect:2 skip_connect:1 skip_connect:2"
    ),
    reduce=(
        "avg_pool_3x3:0 sep_conv_3x3:1 avg_pool_3x3:0 dil_conv_5x5:2 max_pool_3x3:1 "
        "skip_connect:2 max_pool_3x3:0 skip_connect:2"
    ),
)
MDENAS = _published(
    "MdeNAS: Zheng et al., arXiv 1905.07529",
    normal=(
        "sep_conv_5x5:1 sep_conv_3x3:0 skip_connect:0 sep_conv_5x5:1 sep_conv_5x5:3 "
        "sep_conv_3x3:1 dil_conv_5x5:3 max_pool_3x3:4"
    ),
    reduce=(
        "max_pool_3x3:0 sep_conv_5x5:1 skip_connect:0 skip_connect:1 sep_conv_3x3:3 "
        "skip_connect:2 dil_conv_3x3:3 sep_conv_5x5:0"
    ),
)

#: Published cells by name.
GENOTYPES = {
    "DARTS_V1": DARTS_V1,
    "DARTS_V2": DARTS_V2,
    "NASNet": NASNet,
    "AmoebaNet": AmoebaNet,
    "ENAS": ENAS,
    "PC_DARTS": PC_DARTS,
    "PC_DARTS_IMAGENET": PC_DARTS_IMAGENET,
    "P_DARTS": P_DARTS,
    "GDAS": GDAS,
    "SNAS_MILD": SNAS_MILD,
    "XNAS": XNAS,
    "FAIR_DARTS_D": FAIR_DARTS_D,
    "SGAS_CRI_1": SGAS_CRI_1,
    "SGAS_CRI_2": SGAS_CRI_2,
    "DRNAS_CIFAR": DRNAS_CIFAR,
    "DRNAS_IMAGENET": DRNAS_IMAGENET,
    "IDARTS": IDARTS,
    "ASAP": ASAP,
    "MDENAS": MDENAS,
}


def get(name_or_file: str | os.PathLike[str]) -> Genotype:
    """A genotype by its name, its string, or the file that holds it.

    Args:
      name_or_file: a name of `GENOTYPES`, a NAS-Bench-201 string, a file with
        either of them, with a genotype's JSON (a search's ``genotype.json``) or with
        the text that the DARTS code prints, or the folder of a finished search.

    Raises:
      InputError: none of these, or a file that cannot be read.

    >>> get("DARTS_V2").normal[0]
    ('sep_conv_3x3', 0)
    """
    text = os.fspath(name_or_file)
    if text in GENOTYPES:
        return GENOTYPES[text]
    if text.startswith(("|", "Genotype(")):
        return Genotype.from_text(text)
    path = pathlib.Path(text)
    try:
        if (path / "genotype.json").is_file():
            path = path / "genotype.json"
        if path.is_file():
            return _read(path)
    except OSError as error:
        raise InputError(f"genotype {text}: {error.strerror}") from None
    raise InputError(
        f"genotype {text!r} is neither a file, nor a folder with a genotype.json, nor "
        f"one of {', '.join(GENOTYPES)}"
    )


def _read(path: pathlib.Path) -> Genotype:
    """The genotype in a file, of any of the forms."""
    try:
        text = path.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError:
        raise InputError(f"{path} is not a text file with a genotype") from None
    if text in GENOTYPES:
        return GENOTYPES[text]
    try:
        if text.startswith("{"):
            return Genotype.from_json(text)
        return Genotype.from_text(text)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
