"""Derivation from alphas made by hand, and the forms a genotype is written in."""

import csv
import itertools
import json
import os
import pathlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasjax import spaces
from nasjax.base import InputError
from nasjax.genotype import (
    Genotype,
    format_arch_str,
    parse_arch_str,
)
from nasjax.spaces import derive

DARTS, NB201 = spaces.darts(), spaces.nasbench201()


def op(name, space=DARTS):
    return space.primitives.index(name)


def edge(source, target, space=DARTS):
    return space.edges.index((source, target))


def darts_alpha(entries):
    """Zeros but for ``{(source, target, operation): value}`` in the normal cell."""
    alpha = np.zeros((14, 8))
    for (source, target, name), value in entries.items():
        alpha[edge(source, target), op(name)] = value
    return {"normal": alpha, "reduce": np.zeros((14, 8))}


# --- derivation -----------------------------------------------------------------


def test_each_node_keeps_its_two_strongest_edges():
    alpha = darts_alpha(
        {
            (0, 2, "sep_conv_3x3"): 1.0,
            (1, 2, "max_pool_3x3"): 2.0,
            (2, 3, "dil_conv_5x5"): 3.0,
            (0, 3, "skip_connect"): 1.0,
            (3, 4, "avg_pool_3x3"): 0.5,
            (1, 4, "sep_conv_5x5"): 0.4,
            (4, 5, "dil_conv_3x3"): 5.0,
            (2, 5, "skip_connect"): 4.0,
            (3, 5, "sep_conv_3x3"): 3.9,
        }
    )
    genotype = derive(DARTS, alpha)
    assert set(genotype.normal[0:2]) == {("sep_conv_3x3", 0), ("max_pool_3x3", 1)}
    assert set(genotype.normal[2:4]) == {("dil_conv_5x5", 2), ("skip_connect", 0)}
    assert set(genotype.normal[4:6]) == {("avg_pool_3x3", 3), ("sep_conv_5x5", 1)}
    assert set(genotype.normal[6:8]) == {("dil_conv_3x3", 4), ("skip_connect", 2)}
    assert genotype.normal_concat == genotype.reduce_concat == (2, 3, 4, 5)
    assert genotype.space == "darts"
    assert genotype.skip_connects == {"normal": 2, "reduce": 0}


def test_none_is_neither_derived_nor_a_strength_of_its_edge():
    alpha = darts_alpha(
        {
            # The strongest entry of all is none: its edge counts by its second.
            (0, 3, "none"): 100.0,
            (0, 3, "sep_conv_3x3"): 0.1,
            (1, 3, "dil_conv_3x3"): 0.2,
            (2, 3, "skip_connect"): 0.3,
            # On a kept edge too the second is taken.
            (0, 2, "none"): 9.0,
            (0, 2, "avg_pool_3x3"): 0.5,
        }
    )
    genotype = derive(DARTS, alpha)
    assert genotype.normal[2:4] == (("dil_conv_3x3", 1), ("skip_connect", 2))
    assert genotype.normal[0] == ("avg_pool_3x3", 0)
    names = {name for cell in genotype.cells.values() for name, _ in cell}
    assert "none" not in names


def test_ties_go_to_the_earlier_edge_and_operation():
    genotype = derive(DARTS, darts_alpha({}))
    assert genotype.reduce == (("max_pool_3x3", 0), ("max_pool_3x3", 1)) * 4


def by_hand(array):
    """The cell, by plain loops over Python numbers."""
    cell = []
    for target in (2, 3, 4, 5):
        ranked = []
        for source in range(target):
            row = [float(v) for v in array[edge(source, target)]]
            best = max(range(1, 8), key=lambda o, row=row: (row[o], -o))
            ranked.append((-row[best], source, DARTS.primitives[best]))
        kept = sorted(ranked)[:2]
        cell.append({(name, source) for _, source, name in kept})
    return cell


@settings(deadline=None, derandomize=True)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_derivation_of_any_alpha(seed, coarse):
    rng = np.random.default_rng(seed)
    normal, reduction = (
        rng.integers(-2, 3, (14, 8)) if coarse else rng.normal(size=(14, 8))
        for _ in range(2)
    )
    genotype = derive(DARTS, {"reduce": reduction, "normal": normal})
    for cell, array in ((genotype.normal, normal), (genotype.reduce, reduction)):
        assert [set(cell[2 * n : 2 * n + 2]) for n in range(4)] == by_hand(array)


def test_nasbench201_takes_the_strongest_of_every_edge_none_too():
    names = [
        "none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3", "none"
    ]  # fmt: skip
    alpha = np.zeros((6, 5))
    for row, name in enumerate(names):
        alpha[row, op(name, NB201)] = 1.0
    genotype = derive(NB201, {"cell": alpha})
    assert genotype.arch_str == (
        "|none~0|+|skip_connect~0|nor_conv_1x1~1|+"
        "|nor_conv_3x3~0|avg_pool_3x3~1|none~2|"
    )
    assert genotype.space == "nasbench201"
    assert genotype.cells["cell"][1] == ("skip_connect", 0)
    assert genotype.skip_connects == {"cell": 1}


@pytest.mark.parametrize(
    ("space", "alpha", "message"),
    [
        (DARTS, {"normal": np.zeros((14, 8))}, r"\['normal'\], darts needs"),
        (NB201, {"normal": np.zeros((6, 5))}, r"\['normal'\], nasbench201 needs"),
        (NB201, {"cell": np.zeros((5, 6))}, r"\(5, 6\), nasbench201 needs \(6, 5\)"),
        (NB201, {"cell": np.zeros(30)}, r"\(30,\), nasbench201 needs \(6, 5\)"),
        (NB201, {"cell": np.full((6, 5), np.nan)}, "not finite"),
        (NB201, {"cell": np.where(np.eye(6, 5), np.inf, 0)}, "not finite"),
        (NB201, {"cell": np.where(np.eye(6, 5), -np.inf, 0)}, "not finite"),
    ],
)
def test_an_alpha_that_is_none_is_refused(space, alpha, message):
    with pytest.raises(ValueError, match=message):
        derive(space, alpha)


# --- JSON -----------------------------------------------------------------------

TEXTS = st.text(max_size=12)


@st.composite
def cells(draw):
    nodes = draw(st.integers(1, 4))
    edges = []
    for target in range(2, 2 + nodes):
        for _ in range(2):
            edges.append((draw(TEXTS), draw(st.integers(0, target - 1))))
    return tuple(edges)


STATES = st.lists(st.integers(0, 9), max_size=5).map(tuple)
DARTS_GENOTYPES = st.builds(
    Genotype,
    space=TEXTS,
    normal=cells(),
    normal_concat=STATES,
    reduce=cells(),
    reduce_concat=STATES,
    arch_str=st.just(""),
    source=TEXTS,
)
OPERATIONS = st.sampled_from(NB201.primitives)
NB201_GENOTYPES = st.lists(OPERATIONS, min_size=6, max_size=6).map(
    lambda names: Genotype(
        "nasbench201",
        arch_str=format_arch_str(
            tuple(zip(names, (s for s, _ in NB201.edges), strict=True))
        ),
    )
)


@settings(deadline=None, derandomize=True)
@given(st.one_of(DARTS_GENOTYPES, NB201_GENOTYPES))
def test_json_round_trip(genotype):
    text = genotype.to_json()
    assert Genotype.from_json(text) == genotype
    assert isinstance(json.loads(text), dict)
    assert "\n" not in text


GOOD = derive(DARTS, darts_alpha({}))


def changed(**fields):
    return json.dumps({**json.loads(GOOD.to_json()), **fields})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "one JSON object"),
        ("{", "one JSON object"),
        ("{'space': 'darts'}", "one JSON object"),
        ("[1, 2]", "not list"),
        ("[" * 100_000, "one JSON object"),
        ('{"space": ' + "1" * 5_000 + "}", "one JSON object"),
        ("null", "not NoneType"),
        ("{}", "normal and reduce, or an arch_str"),
        (changed(reduce=[]), "normal and reduce, or an arch_str"),
        (changed(colour="red"), "'colour' is not one of space, normal"),
        (changed(space=3), "space is a text, not 3"),
        (changed(source=None), "source is a text, not None"),
        (changed(normal="sep"), "two edges per node"),
        (changed(normal=[["none", 0]]), "two edges per node"),
        (changed(normal=[["none", 0], ["none", 2]]), "edge 1 .* earlier"),
        (changed(normal=[["none", 0], ["none", -1]]), "edge 1 .* earlier"),
        (changed(normal=[["none", True], ["none", 1]]), "edge 0 .* earlier"),
        (changed(normal=[["none", 0.5], ["none", 1]]), "edge 0 .* earlier"),
        (changed(normal=[[1, 0], ["none", 1]]), "edge 0 .* earlier"),
        (changed(normal=[["none"], ["none", 1]]), "edge 0 .* earlier"),
        (changed(normal=[{"none": 0}, ["none", 1]]), "edge 0 .* earlier"),
        (changed(normal_concat=4), "normal_concat lists states"),
        (changed(normal_concat=["2"]), "normal_concat lists states"),
        (changed(reduce_concat=[-2]), "reduce_concat lists states"),
        (json.dumps({"arch_str": "|none~1|"}), "not a NAS-Bench-201 string"),
        (json.dumps({"arch_str": "a\nb"}), "not a NAS-Bench-201 string"),
        (json.dumps({"colour\nred": 1}), "is not one of"),
    ],
    ids=lambda value: value[:24],
)
def test_bad_json_is_refused_in_one_line(text, message):
    with pytest.raises(InputError, match=message) as error:
        Genotype.from_json(text)
    assert "\n" not in str(error.value)
    assert error.value.__cause__ is None


# --- architecture strings -------------------------------------------------------


def every_architecture():
    sources = [source for source, _ in NB201.edges]
    for names in itertools.product(NB201.primitives, repeat=6):
        yield tuple(zip(names, sources, strict=True))


def test_every_architecture_string_round_trips():
    seen = set()
    for edges in every_architecture():
        (a, b, c, d, e, f) = (name for name, _ in edges)
        text = format_arch_str(edges)
        assert text == f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|"
        assert parse_arch_str(text) == edges
        seen.add(text)
    assert len(seen) == 15_625


@pytest.mark.parametrize(
    "text",
    [
        "",
        "none~0",
        "|none~0",
        "|none|",
        "|none~0|+",
        "|none~0|none~1|",
        "|none~0|+|none~0|",
        "|none~0|+|none~1|none~0|",
        "|none~0|+|none~0||none~1|",
        "|None~0|",
        "|none~\N{ARABIC-INDIC DIGIT ZERO}|",
        "|none~0|\n",
        " |none~0|",
    ],
)
def test_a_bad_architecture_string_is_refused(text):
    with pytest.raises(InputError, match="is not a NAS-Bench-201 string") as error:
        parse_arch_str(text)
    assert "\n" not in str(error.value)


def table_path():
    given_path = os.environ.get("NASJAX_NASBENCH201")
    if not given_path:
        pytest.skip("NASJAX_NASBENCH201 does not name the table of accuracies")
    path = pathlib.Path(given_path)
    return path / "accuracies.csv" if path.is_dir() else path


def test_the_strings_are_those_of_the_published_table():
    with table_path().open(newline="") as file:
        published = [row["arch"] for row in csv.DictReader(file)]
    assert len(published) == 15_625
    assert all(format_arch_str(parse_arch_str(text)) == text for text in published)
    assert set(published) == {format_arch_str(edges) for edges in every_architecture()}
