"""An operation and a space from outside the library, through all that it does."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasjax import layers, methods, network, operations, retrain, spaces, supernet
from nasjax.architecture import Mixture
from nasjax.base import InputError
from nasjax.genotype import Genotype
from nasjax.interop import pytorch, trained
from nasjax.report import write_report
from nasjax.spaces import CellPlan, Plan, Residual, Sizes, check_space
from tests import retraining, searching

# --- an operation: what a file of one's own holds ------------------------------------


def bottleneck_shapes(inputs: int, outputs: int) -> layers.Shapes:
    half = inputs // 2
    return {"narrow": (half, inputs), "wide": (outputs, half, 3, 3)}


def apply_bottleneck(kernels, x, stride, context):
    del context
    y = layers.pointwise(x, kernels["narrow"])
    return layers.convolution(y, kernels["wide"], stride=stride)


def bottleneck_macs(inputs: int, outputs: int, size: layers.Size, stride: int) -> int:
    height, width = layers.strided(size, stride)
    half = inputs // 2
    return size[0] * size[1] * inputs * half + 9 * height * width * half * outputs


BOTTLENECK = operations.chain(
    "bottleneck_3x3",
    layers.Unit(bottleneck_shapes, apply_bottleneck, bottleneck_macs),
)

# --- a space: what another file holds -------------------------------------------------


def two_rooms() -> spaces.SearchSpace:
    """One input, two nodes, four operations; two stages with a block between."""
    return spaces.SearchSpace(
        name="two_rooms",
        operations=(
            operations.NONE,
            operations.SKIP_CONNECT,
            operations.PLAIN_AVG_POOL_3X3,
            BOTTLENECK,
        ),
        edges=((0, 1), (0, 2), (1, 2)),
        num_inputs=1,
        cell_types=("cell",),
        output=(2,),
        edges_per_node=None,
        derive=spaces.derive_every_edge,
        read=spaces.read_every_edge,
        plan=two_rooms_plan,
        num_cells=1,
    )


def two_rooms_plan(sizes: Sizes, joined: Callable[[str], int]) -> Plan:
    first = CellPlan("cell", sizes.channels, joined("cell"))
    second = first._replace(channels=2 * sizes.channels)
    return Plan(
        spaces.stem(sizes),
        (
            *[first] * sizes.num_cells,
            Residual(sizes.channels),
            *[second] * sizes.num_cells,
        ),
        sizes.num_classes,
        last_norm=True,
        multiple=2,
        edges_module="edges",
    )


#: Every edge runs another operation.
EVERY = Genotype(
    "two_rooms", arch_str="|bottleneck_3x3~0|+|skip_connect~0|bottleneck_3x3~1|"
)
SIZES = {"dataset": "cifar10", "channels": 4, "num_cells": 1, "num_classes": 10}


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    """The one entry by which a genotype finds its space."""
    monkeypatch.setitem(spaces.SPACES, "two_rooms", two_rooms)


def build(method: methods.Method) -> supernet.Supernet:
    space = method.adapt(two_rooms())
    return supernet.build(space, channels=4, image_shape=(8, 8, 1))


# --- through the library ------------------------------------------------------------


def test_a_search_ends_with_a_genotype_and_a_report(tmp_path):
    method = methods.darts()
    net = build(method)
    assert net.settings.num_cells == 1  # the space's own default
    genotype = searching.run(searching.prepare(net, method), tmp_path)
    alpha = {"cell": searching.alphas(tmp_path)["cell"][-1]}
    assert genotype.cells == spaces.derive(two_rooms(), alpha).cells
    assert genotype.space == "two_rooms"
    assert Genotype.from_json(genotype.to_json()) == genotype
    (tmp_path / "config.json").write_text('{"supernet": {"space": "two_rooms"}}')
    html = write_report(tmp_path).read_text()
    assert "bottleneck_3x3" in html
    assert "2←1" in html
    assert genotype.arch_str.replace(">", "&gt;") in html


def test_a_mixture_of_ones_and_zeros_is_the_path_of_the_ones():
    net = build(methods.darts())
    space, weights = net.space, net.init(jax.random.key(0))
    runs = supernet.derived_architecture(space, EVERY)
    chosen = jax.nn.one_hot(runs["cell"].operation, space.num_ops)
    mixture = {"cell": Mixture(chosen * runs["cell"].weight[:, None])}
    images = jax.random.normal(jax.random.key(1), (4, 8, 8, 1))
    one, other = (
        jax.jit(net.apply)(weights, architecture, images)
        for architecture in (runs, mixture)
    )
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def bottleneck(channels: int) -> int:
    return channels * channels // 2 + 9 * channels // 2 * channels


def test_both_networks_have_the_counts_of_their_layers():
    c, pixels = 4, 8 * 8
    shared = 9 * c + (2 * c * c + 18 * c * c + 36 * c * c) + 10 * 2 * c
    in_network = network.cost(
        EVERY, channels=c, num_cells=1, image_shape=(8, 8, 1), num_classes=10
    )
    cells = 2 * bottleneck(c) + 2 * bottleneck(2 * c)
    # Scale and offset: stem, two of the block, two of each cell, the last; a bias.
    norms = 2 * (c + 2 * 2 * c + 2 * c + 2 * 2 * c + 2 * c) + 10
    assert in_network.params == shared + cells + norms
    block = 2 * c * c + 18 * c * c + 36 * c * c
    runs = 2 * bottleneck(c) * pixels + (2 * bottleneck(2 * c) + block) * pixels // 4
    assert in_network.macs == 9 * c * pixels + runs + 10 * 2 * c
    net = build(methods.darts())
    searched = 3 * bottleneck(c) * pixels + (3 * bottleneck(2 * c) + block) * pixels / 4
    wanted = 9 * c * pixels + searched + 10 * 2 * c
    assert net.macs(supernet.every_operation) == wanted
    shapes = jax.eval_shape(net.init, jax.random.key(0))
    edges = 3 * bottleneck(c) + 3 * bottleneck(2 * c)
    assert supernet.count(shapes) == shared + edges + 2 * (c + 2 * c) + 10


def test_a_training_ends_and_its_weights_go_to_pytorchs_names_and_back(tmp_path):
    data = retraining.feed()
    net = retrain.Net(EVERY, 10, (8, 8, 1), channels=4, num_cells=1)
    net = net._replace(axis_name=data.devices.axis_name)
    training, _ = retrain.prepare(net, retraining.RECIPE, data, seed=0)
    assert retraining.run(training, tmp_path / "run") is not None
    variables = retraining.final_state(training, tmp_path / "run").evaluated
    state = pytorch.to_state_dict(variables, EVERY, **SIZES)
    assert {name: state[name].shape for name in state if "cells.2.edges.2" in name} == {
        "cells.2.edges.2.op.1.weight": (4, 8, 1, 1),
        "cells.2.edges.2.op.2.weight": (8, 4, 3, 3),
        **{
            f"cells.2.edges.2.op.3.{part}": (8,)
            for part in ("weight", "bias", "running_mean", "running_var")
        },
    }
    total = sum(leaf.size for leaf in jax.tree.leaves(variables))
    assert sum(map(np.size, state.values())) == total
    trained.save(tmp_path / "weights.safetensors", variables, EVERY, **SIZES)
    again, described = trained.load(tmp_path / "weights.safetensors", EVERY)
    assert described.sizes() == SIZES  # read off names and shapes
    assert jax.tree.structure(again) == jax.tree.structure(variables)
    for one, other in zip(
        jax.tree.leaves(again), jax.tree.leaves(variables), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_an_operation_alone_is_added_to_a_space_that_is_there(monkeypatch):
    space = spaces.darts(num_nodes=1)
    own = space._replace(name="mine", operations=(*space.operations, BOTTLENECK))
    monkeypatch.setitem(spaces.SPACES, "mine", lambda: own)
    edges = (("bottleneck_3x3", 0), ("skip_connect", 1))
    genotype = Genotype("mine", edges, (2,), edges, (2,))
    alpha = {kind: np.eye(own.num_ops)[[own.num_ops - 1, 3]] for kind in own.cell_types}
    assert spaces.derive(own, alpha) == genotype
    sizes = {**SIZES, "num_cells": 3}
    variables = jax.eval_shape(
        lambda key: network.init(key, genotype, **sizes), jax.random.key(0)
    )
    filled = jax.tree.map(lambda leaf: jnp.ones(leaf.shape), variables)
    state = pytorch.to_state_dict(filled, genotype, **sizes)
    assert state["cells.1._ops.0.op.2.weight"].shape == (8, 4, 3, 3)  # a reduction
    params = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables["params"]))
    assert network.cost(genotype, channels=4, num_cells=3).params == params


# --- what does not go together is refused ---------------------------------------------


def wrong(**changes) -> spaces.SearchSpace:
    def plan(sizes: Sizes, joined: Callable[[str], int]) -> Plan:
        return two_rooms_plan(sizes, joined)._replace(**changes)

    return two_rooms()._replace(plan=plan)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"body": ()}, "its body ends with a cell"),
        ({"body": (CellPlan("cell", 8, 1),)}, r"reads \[8\] channels, and is given"),
        (
            {"body": (Residual(4), Residual(8), CellPlan("cell", 16, 1))},
            "a cell stands between two blocks",
        ),
    ],
)
def test_a_plan_whose_parts_do_not_go_together_is_refused(changes, message):
    space = wrong(**changes)
    check_space(space)
    with pytest.raises(ValueError, match=message):
        supernet.build(space, channels=4, image_shape=(8, 8, 1))


def test_a_genotype_of_an_unknown_space_or_form_is_refused(monkeypatch):
    monkeypatch.delitem(spaces.SPACES, "two_rooms")
    with pytest.raises(InputError, match="space is 'two_rooms'; it is one of darts, n"):
        network.cost(EVERY, channels=4, num_cells=1)
    searched = operations.Operation(
        "bottleneck_3x3",
        BOTTLENECK.shapes,
        BOTTLENECK.apply,
        BOTTLENECK.macs,
    )
    own = two_rooms()._replace(operations=(operations.SKIP_CONNECT, searched))
    monkeypatch.setitem(spaces.SPACES, "two_rooms", lambda: own)
    with pytest.raises(InputError, match="'bottleneck_3x3' has no form in a discrete"):
        network.cost(EVERY, channels=4, num_cells=1)
