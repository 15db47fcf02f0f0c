"""What a search will cost, against layers written out from the papers."""

from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasjax import search, spaces, supernet
from nasjax.architecture import Mixture
from nasjax.base import InputError
from nasjax.methods import Method, darts, sd_darts
from nasjax.runtime import budget as budgets
from tests import searching
from tests.searching import BATCH, EPOCHS, STEPS

# --- the networks as lists of convolutions ---------------------------------------


class Layer(NamedTuple):
    """A convolution without bias: each output pixel reads k*k*inputs numbers."""

    size: int
    inputs: int  # of its group
    outputs: int
    height: int  # of the output

    @property
    def weights(self) -> int:
        return self.size**2 * self.inputs * self.outputs

    @property
    def macs(self) -> int:
        return self.weights * self.height**2


def depthwise_separable(channels: int, size: int, height: int) -> list[Layer]:
    return [Layer(size, 1, channels, height), Layer(1, channels, channels, height)]


def operation(name: str, channels: int, height: int, *, strided: bool) -> list[Layer]:
    """Convolutions of one candidate; ``height`` is of its output."""
    kind, _, size = name.rpartition("_")
    match kind:
        case "sep_conv":
            return 2 * depthwise_separable(channels, int(size[0]), height)
        case "dil_conv":
            return depthwise_separable(channels, int(size[0]), height)
        case "nor_conv":
            return [Layer(int(size[0]), channels, channels, height)]
        case "skip" if strided:  # two 1x1 convolutions to half the channels
            return 2 * [Layer(1, channels, channels // 2, height)]
    assert name in ("none", "skip_connect", "max_pool_3x3", "avg_pool_3x3")
    return []


#: The layers of one edge's candidates, for every edge.
Edges = list[list[list[Layer]]]


def darts_network(channels: int, length: int) -> tuple[list[Layer], list[Edges]]:
    """Layers outside the edges, and the edges of every cell; 32x32 pixels."""
    names = [
        "none",
        "max_pool_3x3",
        "avg_pool_3x3",
        "skip_connect",
        "sep_conv_3x3",
        "sep_conv_5x5",
        "dil_conv_3x3",
        "dil_conv_5x5",
    ]
    height = 32
    fixed = [Layer(3, 3, 3 * channels, height)]
    cells = []
    inputs = [3 * channels, 3 * channels]
    for index in range(length):
        reduction = index in (length // 3, 2 * length // 3)
        channels *= 2 if reduction else 1
        # A factorized reduce has as many weights as the 1x1 it stands for, and its
        # output is as large.
        fixed += [Layer(1, count, channels, height) for count in inputs]
        height //= 2 if reduction else 1
        cells.append(
            [
                [
                    operation(name, channels, height, strided=reduction and source < 2)
                    for name in names
                ]
                for target in range(2, 6)
                for source in range(target)
            ]
        )
        inputs = [inputs[1], 4 * channels]
    return fixed, cells


def nasbench201_network(channels: int, stage: int) -> tuple[list[Layer], list[Edges]]:
    names = ["none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"]
    height = 32
    fixed = [Layer(3, 3, channels, height)]
    cells = []
    for number in range(3):
        if number:
            channels, height = 2 * channels, height // 2
            fixed += [
                Layer(3, channels // 2, channels, height),
                Layer(3, channels, channels, height),
                Layer(1, channels // 2, channels, height),
            ]
        edge = [operation(name, channels, height, strided=False) for name in names]
        cells += stage * [6 * [edge]]
    return fixed, cells


def of_all(layers: Iterator[Layer] | list[Layer], what: str) -> int:
    return sum(getattr(layer, what) for layer in layers)


NETWORKS = {"darts": darts_network, "nasbench201": nasbench201_network}
#: Channels before the classifier, in units of C; affine channels beside the stem's.
HEADS = {"darts": 4 * 4, "nasbench201": 4}
AFFINE = {"darts": 3, "nasbench201": 1 + 4}
SIZES = [
    ("darts", 16, 8),
    ("darts", 36, 20),
    ("darts", 4, 3),
    ("darts", 8, 2),
    ("nasbench201", 16, 5),
    ("nasbench201", 8, 1),
]


def build(space: str, channels: int, num_cells: int) -> supernet.Supernet:
    return supernet.build(
        spaces.SPACES[space](), channels=channels, num_cells=num_cells
    )


@pytest.mark.parametrize(("space", "channels", "num_cells"), SIZES)
def test_weights_are_those_of_the_layers(space: str, channels: int, num_cells: int):
    fixed, cells = NETWORKS[space](channels, num_cells)
    layers = [*fixed, *(la for c in cells for edge in c for op in edge for la in op)]
    head = (HEADS[space] * channels + 1) * 10
    expected = of_all(layers, "weights") + head + 2 * AFFINE[space] * channels
    net = build(space, channels, num_cells)
    assert supernet.count(jax.eval_shape(net.init, jax.random.key(0))) == expected
    if (space, channels, num_cells) == ("darts", 16, 8):
        assert expected == 1_930_618  # published


@pytest.mark.parametrize(("space", "channels", "num_cells"), SIZES)
def test_macs_are_those_of_the_layers(space: str, channels: int, num_cells: int):
    fixed, cells = NETWORKS[space](channels, num_cells)
    outside = of_all(fixed, "macs") + HEADS[space] * channels * 10
    every = sum(of_all(op, "macs") for c in cells for edge in c for op in edge)
    dearest = sum(max(of_all(op, "macs") for op in edge) for c in cells for edge in c)
    net = build(space, channels, num_cells)
    assert net.macs(supernet.every_operation) == outside + every
    assert net.macs(supernet.costliest_operation) == outside + dearest
    assert net.macs(lambda macs: 0.0) == outside


def test_a_path_costs_what_it_runs():
    """Of the bound, a path of skips alone has only what is outside its edges."""
    space = spaces.nasbench201()
    skip = space.primitives.index("skip_connect")
    net = build("nasbench201", 16, 5)
    fixed, _ = nasbench201_network(16, 5)
    cost = net.macs(lambda macs: float(sum(edge[skip] for edge in macs)))
    assert cost == of_all(fixed, "macs") + 64 * 10


# --- of a prepared search --------------------------------------------------------


def budget_of(method: Method) -> budgets.Budget:
    with jax.numpy_dtype_promotion("standard"):
        _, budget = search.prepare(
            searching.linear_net(),
            method,
            searching.digits(),
            optimizers=searching.both_optimizers(),
            epochs=EPOCHS,
        )
    return budget


@pytest.fixture(scope="module")
def budget() -> budgets.Budget:
    return budget_of(darts())


def test_a_search_counts_what_it_holds(budget):
    kernels = 6 * 5 * 64 * 10
    assert (budget.weights, budget.alphas, budget.macs) == (kernels, 6 * 5, kernels)
    # Each half of 39 fills three batches of 16 up: pixels, label, id and weight.
    assert budget.data_bytes == 2 * STEPS * BATCH * (64 + 3 * 4) + 2 * 4
    assert budget.memory_bytes == 0
    # Weights, their momentum, alpha and Adam's two moments are arguments as well.
    state = 4 * (2 * kernels + 3 * 6 * 5)
    assert budget.data_bytes + state < budget.peak_bytes < 10 * state
    assert budget.compile_seconds > 0
    assert budget.step_seconds > 0
    assert budget.seconds_per_epoch == pytest.approx(STEPS * budget.step_seconds)


def test_a_budget_is_values_and_a_line(budget):
    values = budget._asdict()
    values.pop("memory_bytes")  # DARTS remembers nothing
    assert all(np.isfinite(value) and value > 0 for value in values.values())
    line = str(budget)
    assert "weights 19,200 · alpha 30 · MACs/image 19.2 k" in line
    assert "(data 7.3 kB) ·" in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("ring_dtype", "window", "bytes_a_class"), [("float32", 2, 4), ("bfloat16", 3, 2)]
)
def test_teachers_are_counted_and_shown(ring_dtype, window, bytes_a_class, budget):
    taught = budget_of(sd_darts(window=window, ring_dtype=ring_dtype))
    rows = STEPS * BATCH
    assert taught.memory_bytes == window * rows * (10 * bytes_a_class + 4)
    assert taught.peak_bytes >= budget.peak_bytes + taught.memory_bytes
    assert f", teachers {budgets.human(taught.memory_bytes)}B)" in str(taught)
    assert (taught.weights, taught.macs) == (budget.weights, budget.macs)


def test_kept_weights_are_counted_as_teachers(budget):
    taught = budget_of(sd_darts(window=3, teacher="weights"))
    assert taught.memory_bytes == 3 * 4 * (budget.weights + budget.alphas + 1)
    assert taught.peak_bytes >= budget.peak_bytes + taught.memory_bytes


def test_an_image_costs_as_many_passes_as_there_are_sub_graphs(budget):
    def relax(key, alpha, progress, space):
        one = jax.nn.softmax(alpha["cell"])
        return {"cell": Mixture(jnp.stack(3 * [one]))}

    several = budget_of(darts()._replace(relax=relax, subgraphs=3))
    assert several.macs == 3 * budget.macs
    assert several.weights == budget.weights


def test_bytes_of_a_tree_are_those_of_its_arrays_or_their_shapes():
    tree = {
        "a": jnp.zeros((3, 5)),
        "b": (jnp.zeros(7, jnp.bfloat16), jnp.zeros((), jnp.uint8)),
    }
    assert budgets.tree_bytes(tree) == 3 * 5 * 4 + 7 * 2 + 1
    assert budgets.tree_bytes(jax.eval_shape(lambda: tree)) == 75
    assert budgets.tree_bytes(()) == 0


def test_a_memory_that_cannot_fit_is_refused_with_both_figures():
    there = budgets.available_bytes()
    assert there > 2**28
    budgets.check_memory(())
    budgets.check_memory(jax.ShapeDtypeStruct((there // 4,), jnp.float32))
    too_much = jax.ShapeDtypeStruct((there // 4 + 1,), jnp.float32)
    with pytest.raises(InputError) as error:
        budgets.check_memory({"probs": too_much})
    message = str(error.value)
    assert message.count(budgets.human(there)) >= 1
    assert "max_examples" in message
    assert "\n" not in message


def test_a_search_is_refused_before_its_memory_is_made():
    huge = lambda number, classes: jnp.zeros((1, number, 2**40))  # noqa: E731
    method = darts()._replace(init_memory=huge)
    with pytest.raises(InputError, match=r"takes 211 TB and the device has"):
        budget_of(method)


@pytest.mark.parametrize(
    ("donated", "expected"), [((), 8000), ((0,), 4000)], ids=["kept", "donated"]
)
def test_peak_counts_what_is_donated_once(donated: tuple[int, ...], expected: int):
    shape = jax.ShapeDtypeStruct((1000,), jnp.float32)
    compiled = jax.jit(lambda x: x + 1.0, donate_argnums=donated).lower(shape).compile()
    assert budgets.peak_bytes(compiled) == expected


# --- for people ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 "),
        (1, "1 "),
        (999, "999 "),
        (999.9, "1 k"),
        (1000, "1 k"),
        (1536, "1.54 k"),
        (999_499, "999 k"),
        (999_999, "1 M"),
        (1_930_618, "1.93 M"),
        (2.5e9, "2.5 G"),
        (1e12, "1 T"),
        (1.5e14, "150 T"),
        (-2048, "-2.05 k"),
    ],
)
def test_numbers_for_people(value: float, text: str):
    assert budgets.human(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.0123, "0.012 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (75, "1 min 15 s"),
        (3599.4, "59 min 59 s"),
        (3599.6, "1 h 00 min"),
        (4000, "1 h 07 min"),
        (360_000, "100 h 00 min"),
    ],
)
def test_durations_for_people(seconds: float, text: str):
    assert budgets.duration(seconds) == text
