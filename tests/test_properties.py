"""Properties that hold for any input, searched by hypothesis."""

import pathlib
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from nasjax import schedules, spaces, teachers
from nasjax.base import InputError
from nasjax.data.batches import epoch_order, slots, split_half
from nasjax.genotype import Genotype, format_arch_str, parse_arch_str
from nasjax.runtime.workdir import safe_name
from nasjax.spaces import derive

settings.register_profile("nasjax", deadline=None, max_examples=60, derandomize=True)
settings.load_profile("nasjax")

DARTS, NASBENCH201 = spaces.darts(), spaces.nasbench201()

# --- genotypes -------------------------------------------------------------------


@st.composite
def cells(draw) -> tuple[tuple[str, int], ...]:
    """Two edges a node, each from an earlier state."""
    nodes = draw(st.integers(1, 5))
    operations = st.sampled_from(DARTS.primitives)
    return tuple(
        (draw(operations), draw(st.integers(0, node + 1)))
        for node in range(nodes)
        for _ in range(2)
    )


concats = st.lists(st.integers(0, 9), max_size=5).map(tuple)
genotypes = st.builds(
    Genotype,
    space=st.just("darts"),
    arch_str=st.just(""),
    normal=cells(),
    normal_concat=concats,
    reduce=cells(),
    reduce_concat=concats,
    source=st.text(max_size=20),
)


@given(genotypes)
def test_a_genotype_survives_json(genotype: Genotype):
    assert Genotype.from_json(genotype.to_json()) == genotype


@given(genotypes)
def test_a_genotype_survives_the_darts_codes_form(genotype: Genotype):
    read = Genotype.from_text(genotype.to_text())
    assert read == genotype._replace(source="")


@given(st.lists(st.sampled_from(NASBENCH201.primitives), min_size=6, max_size=6))
def test_an_arch_str_survives(operations: list[str]):
    sources = [source for source, _ in NASBENCH201.edges]
    edges = tuple(zip(operations, sources, strict=True))
    text = format_arch_str(edges)
    assert parse_arch_str(text) == edges
    read = Genotype.from_text(text)
    assert read.arch_str == text
    assert Genotype.from_json(read.to_json()) == read


@given(st.text(max_size=60) | st.text(alphabet='|~+{}[]"0123nor_cv', max_size=60))
def test_any_other_text_is_refused_in_one_line(text: str):
    for read in (Genotype.from_json, Genotype.from_text):
        told = ""
        try:
            read(text)
        except InputError as error:
            told = str(error)
        assert "\n" not in told


# --- derive ----------------------------------------------------------------------


def alphas(space, elements):
    shape = space.num_edges, space.num_ops
    one = arrays.arrays(np.float32, shape, elements=elements)
    return st.fixed_dictionaries(dict.fromkeys(space.cell_types, one))


#: Any number, and few of them, so that there are ties.
NUMBERS = st.floats(-(2.0**100), 2.0**100, width=32) | st.sampled_from([0.0, -0.0, 1.0])


@given(alphas(DARTS, NUMBERS))
def test_a_derived_cell_has_the_strongest_edges(alpha):
    found = derive(DARTS, alpha)
    allowed = [i for i, op in enumerate(DARTS.operations) if not op.is_zero]
    for cell_type, cell in found.cells.items():
        strengths = {
            edge: alpha[cell_type][row, allowed].max()
            for row, edge in enumerate(DARTS.edges)
        }
        for node, pair in enumerate(zip(cell[::2], cell[1::2], strict=True)):
            target = DARTS.num_inputs + node
            kept = [(source, target) for _, source in pair]
            assert len(set(kept)) == 2
            assert kept == sorted(kept)
            others = [e for e in DARTS.edges if e[1] == target and e not in kept]
            weakest = min(strengths[edge] for edge in kept)
            assert all(strengths[edge] <= weakest for edge in others)
            for operation, source in pair:
                row = DARTS.edges.index((source, target))
                column = DARTS.primitives.index(operation)
                assert column in allowed
                assert alpha[cell_type][row, column] == strengths[source, target]
    assert derive(DARTS, alpha) == found
    assert Genotype.from_json(found.to_json()) == found


@given(alphas(NASBENCH201, NUMBERS))
def test_a_derived_string_has_the_strongest_operations(alpha):
    found = derive(NASBENCH201, alpha)
    for (operation, _), row in zip(
        parse_arch_str(found.arch_str), alpha["cell"], strict=True
    ):
        assert row[NASBENCH201.primitives.index(operation)] == row.max()


@given(
    alphas(DARTS, NUMBERS),
    st.sampled_from([np.nan, np.inf, -np.inf]),
    st.sampled_from(DARTS.cell_types),
    st.integers(0, DARTS.num_edges - 1),
    st.integers(0, DARTS.num_ops - 1),
)
def test_what_is_no_number_is_not_derived_from(alpha, value, cell_type, edge, op):
    alpha[cell_type][edge, op] = value
    with pytest.raises(ValueError, match=f"'{cell_type}'.*not finite"):
        derive(DARTS, alpha)


# --- the ring of teachers --------------------------------------------------------

WINDOW, EXAMPLES, CLASSES, BATCH = 2, 5, 3, 2
PROBABILITIES = st.floats(0, 1, width=32)
record = jax.jit(teachers.record)
vote = jax.jit(teachers.vote)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 1),  # epochs that pass before it
            st.permutations(range(EXAMPLES + 1)),  # the last is no example
            arrays.arrays(
                np.float32, (BATCH, CLASSES), elements=st.floats(0, 1, width=32)
            ),
        ),
        max_size=12,
    )
)
def test_the_ring_is_a_dictionary(batches):
    ring = teachers.init_ring(window=WINDOW, num_examples=EXAMPLES, num_classes=CLASSES)
    model: dict[tuple[int, int], np.ndarray] = {}  # (example, epoch) -> probs
    epoch = 0
    for passed, ids, probs in batches:
        epoch += passed
        chosen = np.array(ids[:BATCH], np.int32)
        ring = record(ring, chosen, probs, epoch=jnp.int32(epoch))
        for example, row in zip(chosen, probs, strict=True):
            if example < EXAMPLES:
                model[int(example), epoch] = row
    for now in (epoch, epoch + 1, epoch + WINDOW + 1):
        found, valid = vote(
            ring, jnp.arange(EXAMPLES, dtype=jnp.int32), epoch=jnp.int32(now)
        )
        for example in range(EXAMPLES):
            votes = [
                model[example, e]
                for e in range(now - WINDOW, now)
                # A slot holds the last epoch that wrote to it.
                if (example, e) in model and (example, e + WINDOW) not in model
            ]
            assert bool(valid[example]) == bool(votes)
            expected = np.mean(votes, axis=0) if votes else np.zeros(CLASSES)
            np.testing.assert_allclose(found[example], expected, rtol=1e-6, atol=1e-7)


# --- splits and epochs -----------------------------------------------------------


@given(st.integers(0, 2**32 - 1), st.integers(2, 300), st.floats(0, 1))
def test_a_split_has_each_example_once(seed: int, number: int, fraction: float):
    try:
        parts = split_half(seed, number, train_fraction=fraction)
    except InputError:
        # Only where one part would be empty.
        assert not 0 < np.ceil(number * fraction - 1e-6) < number
        return
    together = np.concatenate(parts)
    np.testing.assert_array_equal(np.sort(together), np.arange(number))
    assert all(len(part) for part in parts)
    assert abs(len(parts[0]) - number * fraction) <= 1
    again = split_half(seed, number, train_fraction=fraction)
    assert all(map(np.array_equal, parts, again))


@settings(max_examples=25)
@given(
    st.sampled_from([(1, 1), (5, 2), (7, 3), (4, 4), (3, 8)]),
    st.integers(0, 1000),
    st.integers(0, 3),
)
def test_an_epoch_has_each_example_once(sizes: tuple[int, int], epoch: int, more: int):
    number, width = sizes
    place, weights = slots(number, width)
    steps = len(place) + more
    order = epoch_order(
        jax.random.key(0), jnp.asarray(weights), epoch=epoch, num_steps=steps
    )
    columns = np.arange(width)
    seen = Counter(
        int(example)
        for row in np.asarray(order)[: len(place)]
        for example, weight in zip(
            place[row, columns], weights[row, columns], strict=True
        )
        if weight
    )
    assert seen == Counter(range(number))
    # What more steps ask for is the same order from its start.
    rest = np.asarray(order)[len(place) :]
    np.testing.assert_array_equal(
        rest, np.asarray(order)[: len(rest)] if more else rest
    )


# --- schedules and names ---------------------------------------------------------

VALUES = st.floats(0.015625, 1024, width=32)


@given(VALUES, VALUES, st.sampled_from(["linear", "cosine", "exponential", "steps"]))
def test_a_schedule_goes_from_its_start_to_its_end(start, end, name: str):
    count = ", 5" if name == "steps" else ""
    schedule = schedules.parse(f"{name}({start}, {end}{count})")
    ends = [float(schedule(jnp.float32(at))) for at in (0.0, 1.0)]
    low, high = sorted((start, end))
    rounding = 1e-6 * high  # of float32 at the larger end
    np.testing.assert_allclose(ends, [start, end], rtol=1e-5, atol=rounding)
    for at in (0.1, 0.5, 0.9):
        value = float(schedule(jnp.float32(at)))
        assert low - rounding <= value <= high + rounding


@given(st.text(max_size=200))
def test_a_name_never_leaves_its_folder(text: str):
    root = pathlib.Path("/runs")
    path = pathlib.Path(f"{root}/{safe_name(text)}")
    assert path.parent == root
    assert ".." not in path.parts
    assert not path.name.startswith(".")
    assert len(path.name.encode()) <= 150
