"""Published cells, and one way to name any genotype: `get`.

Each cell is data of its paper, as the authors published it with their code;
``source`` cites the paper. Parameters and multiply-accumulates that the papers state
for them are checked in ``tests/test_genotypes.py``.
"""

import os
import pathlib
import re

from nasjax import genotype_text as texts
from nasjax.base import InputError
from nasjax.genotype import Cell, Genotype
from nasjax.operations import named
from nasjax.spaces import SPACES, space_of


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


def get(name_or_file: str | os.PathLike[str], *, checked: bool = True) -> Genotype:
    """A genotype by its name, its text, or the file that holds it.

    Args:
      name_or_file: a name of `GENOTYPES`; a genotype's text: a NAS-Bench-201 string,
        JSON, or what the DARTS code prints; a file with any of them; ``FILE:NAME`` for
        one of several that a file assigns to names; or the folder of a finished
        search, for its ``genotype.json``.
      checked: whether to refuse what no network can be built from (`check`).

    Raises:
      InputError: none of these, a file that cannot be read, or a genotype that
        `check` refuses.

    >>> get("DARTS_V2").normal[0]
    ('sep_conv_3x3', 0)
    """
    text = texts.clean(os.fspath(name_or_file))
    if text in GENOTYPES:
        return GENOTYPES[text]
    path, name = find(text)
    if path is not None:
        return _read(path, name, checked)
    if is_text(text):
        return _parsed(text, None, checked)
    raise InputError(
        f"genotype {texts.shorten(text)} is neither a file, nor a folder with a "
        f"genotype.json, nor one of {', '.join(GENOTYPES)}"
    )


def find(text: str) -> tuple[pathlib.Path | None, str | None]:
    """The file that ``FILE``, ``FILE:NAME`` or the folder of a search stands for.

    Returns:
      The file, None where there is none, and NAME, None where it is not given. A file
      whose own name has a colon comes first.

    Raises:
      InputError: a folder that may not be read.
    """
    path = texts.find_file(text)
    file, _, name = text.rpartition(":")
    if path is None and name.isidentifier():
        path = texts.find_file(file)
        return path, name if path is not None else None
    return path, None


def is_text(text: str) -> bool:
    """Whether a text is a genotype itself, and not the name of one or of a file.

    >>> is_text("mine = Genotype(normal=…)"), is_text("genotype (1).json")
    (True, False)
    """
    text = texts.clean(text)
    if text.startswith(("|", "{", "[", "'", '"')):
        return True
    return re.search(r"\bGenotype\s*\(|~0\|", text) is not None


def check(genotype: Genotype) -> None:
    """Refuse a genotype that no network can be built from, or that was misread.

    Raises:
      InputError: a space without networks, an unknown operation, a cell whose
        output lists states that it has not, or a state that nothing reads, which is
        what a cell of more than two edges per node looks like.
    """
    if genotype.space not in SPACES:
        raise InputError(
            f"genotype field space is {texts.shorten(genotype.space)}; there are "
            f"networks of {', '.join(SPACES)}: cells of two edges per node, of which "
            "the operations are known, are of the space darts"
        )
    space = space_of(genotype)
    for cell in genotype.cells.values():
        for operation, _ in cell:
            named(operation, space.operations)
    for name in space.cell_types:
        edges, output = space.read(genotype, name)
        read = {source for _, source, _ in edges} | set(output)
        nodes = range(space.num_inputs, edges[-1][-1] + 1)
        unread = [state for state in nodes if state not in read]
        if unread and space.edges_per_node is not None:
            raise InputError(
                f"nothing reads state {unread[0]} of {name}, whose {len(edges)} edges "
                f"make {len(nodes)} nodes: has it {space.edges_per_node} edges per "
                "node, in order?"
            )


def _read(path: pathlib.Path, name: str | None, checked: bool) -> Genotype:
    """The genotype in a file, of any of the forms."""
    text = texts.read_file(path)
    if text in GENOTYPES and name is None:
        return GENOTYPES[text]
    try:
        return _parsed(text, name, checked)
    except InputError as error:
        told = str(error).replace("FILE:", f"{path}:")
        raise InputError(f"{path}: {told}") from None


def _parsed(text: str, name: str | None, checked: bool) -> Genotype:
    """A genotype's text, of any form."""
    if not text.startswith("{"):
        genotype = Genotype.from_text(text, name=name)
    elif name is not None:
        raise InputError(f"JSON is one genotype, and none is named {name!r}")
    else:
        genotype = Genotype.from_json(text)
    if checked:
        check(genotype)
    return genotype
