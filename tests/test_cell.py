"""Cells against an unrolled sum over their edges, written out in Python."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from nasjax import ops, spaces
from nasjax.cell import (
    Mixture,
    Path,
    apply_cell,
    cell_template,
    edge_groups,
    recomputed_switch,
)

CHANNELS, SIZE, BATCH = 4, 6, 3
CONTEXT = ops.Context()
# Two nodes have every kind of edge a cell has.
SMALL = spaces.darts(num_nodes=2).without("sep_conv_5x5", "dil_conv_5x5")
KINDS = {
    "darts-normal": (SMALL, False),
    "darts-reduce": (SMALL, True),
    "nasbench201": (spaces.nasbench201(), False),
}
#: The same numbers, compiled in half the time.
compiled = functools.partial(
    jax.jit, compiler_options={"xla_backend_optimization_level": 0}
)


def random_inputs(space, seed=0):
    rng = np.random.default_rng(seed)
    shape = CHANNELS, SIZE, SIZE, BATCH
    return tuple(
        jnp.asarray(rng.normal(size=shape), jnp.float32)
        for _ in range(space.num_inputs)
    )


def random_weights(key, space, *, reduction):
    return ops.draw(key, cell_template(space, channels=CHANNELS, reduction=reduction))


def random_mixture(space, seed=1):
    rng = np.random.default_rng(seed)
    shape = space.num_edges, space.num_ops
    return jnp.asarray(rng.dirichlet(np.ones(shape[1]), shape[0]), jnp.float32)


@functools.cache
def once(operation):
    """An operation compiled once, however many edges it runs on."""
    return jax.jit(operation.apply, static_argnums=(2, 3))


def unrolled(weights, factors, inputs, *, space, reduction, edges=None):
    """Each node is the sum over its edges and their operations, nothing shared.

    Of ``edges``, ``{edge: operations}``, or else of all.
    """
    if edges is None:
        edges = dict.fromkeys(range(space.num_edges), range(space.num_ops))
    own = {}
    for group, group_weights in zip(
        edge_groups(space, reduction=reduction), weights, strict=True
    ):
        for position, edge in enumerate(group.edges):
            own[edge] = jax.tree.map(lambda a, at=position: a[at], group_weights)
    states = dict(enumerate(inputs))
    step = 2 if reduction else 1
    for state in range(space.num_inputs, space.num_states):
        states[state] = jnp.zeros_like(inputs[0][:, ::step, ::step])
    for edge, operations in edges.items():
        source, target = space.edges[edge]
        stride = 2 if reduction and source < space.num_inputs else 1
        for operation in (space.operations[i] for i in operations):
            weight = own[edge].get(operation.name, {})
            y = once(operation)(weight, states[source], stride, CONTEXT)
            factor = factors[edge, space.operations.index(operation)]
            states[target] = states[target] + factor * y
    return jnp.concatenate([states[state] for state in space.output])


def value_and_pull(f, *arguments):
    """Value and gradients of f in every argument, for one fixed cotangent."""
    y, pull = jax.vjp(f, *arguments)
    phase = jnp.arange(y.size, dtype=jnp.float32).reshape(y.shape)
    return y, pull(jnp.cos(1.7 * phase))


@functools.cache
def looped(kind, runner):
    """``(weights, factors, inputs, *rest)`` to value and gradients of the first 3."""
    space, reduction = KINDS[kind]

    def run(weights, factors, inputs, *rest):
        def cell(weights, factors, inputs):
            if runner == "mixture":
                architecture = Mixture(factors)
            else:
                operation, active = rest
                architecture = Path(operation, factors, active)
            settings = {"space": space, "reduction": reduction, "context": CONTEXT}
            return apply_cell(weights, architecture, inputs, **settings)

        return value_and_pull(cell, weights, factors, inputs)

    return compiled(run)


def assert_trees_close(actual, expected, tolerance=2e-5):
    """Leaf by leaf, in units of the leaf's largest entry."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    wanted = jax.tree_util.tree_leaves_with_path(expected)
    for got, (path, want) in zip(jax.tree.leaves(actual), wanted, strict=True):
        scale = max(float(jnp.abs(want).max()), 1e-2)
        np.testing.assert_allclose(
            got, want, rtol=0, atol=tolerance * scale, err_msg=str(path)
        )


@pytest.mark.parametrize("kind", KINDS)
def test_mixture_is_the_unrolled_sum(key, kind):
    space, reduction = KINDS[kind]
    arguments = (
        random_weights(key, space, reduction=reduction),
        random_mixture(space),
        random_inputs(space),
    )
    plain = functools.partial(unrolled, space=space, reduction=reduction)
    actual = looped(kind, "mixture")(*arguments)
    expected = value_and_pull(plain, *arguments)
    size = SIZE // 2 if reduction else SIZE
    assert actual[0].shape == (len(space.output) * CHANNELS, size, size, BATCH)
    # An operation that is never evaluated has no gradient in its factor, and the
    # unrolled sum, which multiplies zeros, agrees.
    assert_trees_close(actual, expected, 1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_path_is_the_mixture_of_its_one_hot(key, kind):
    """Values, and gradients in weights, inputs and the sampled factors."""
    space, reduction = KINDS[kind]
    rng = np.random.default_rng(3)
    factors = rng.uniform(0.2, 1.0, space.num_edges).astype(np.float32)
    active = np.ones(space.num_edges, bool)
    active[1] = active[-1] = False
    weights = random_weights(key, space, reduction=reduction)
    inputs = random_inputs(space)
    edges = np.arange(space.num_edges)
    # Rotated, so that every operation runs on every edge once.
    for shift in range(space.num_ops):
        operation = (edges + shift) % space.num_ops
        chosen = np.zeros((space.num_edges, space.num_ops), np.float32)
        chosen[edges, operation] = factors * active
        value, (d_weights, d_factors, d_inputs) = looped(kind, "path")(
            weights,
            jnp.asarray(factors),
            inputs,
            jnp.asarray(operation, jnp.int32),
            jnp.asarray(active),
        )
        expected, (e_weights, e_factors, e_inputs) = looped(kind, "mixture")(
            weights, jnp.asarray(chosen), inputs
        )
        sampled = np.where(active, np.asarray(e_factors)[edges, operation], 0.0)
        assert_trees_close(
            (value, d_weights, d_inputs, d_factors),
            (expected, e_weights, e_inputs, jnp.asarray(sampled)),
        )


@pytest.mark.parametrize("kind", KINDS)
def test_an_inactive_edge_is_an_edge_removed(key, kind):
    space, reduction = KINDS[kind]
    name = "dil_conv_3x3" if space.name == "darts" else "nor_conv_3x3"
    index = space.primitives.index(name)
    weights = random_weights(key, space, reduction=reduction)
    inputs = random_inputs(space)
    active = np.arange(space.num_edges) % 2 == 0
    factors = np.where(active, 0.7, np.inf)  # whatever stands on an inactive edge
    value, gradients = looped(kind, "path")(
        weights,
        jnp.asarray(factors, jnp.float32),
        inputs,
        jnp.full(space.num_edges, index, jnp.int32),
        jnp.asarray(active),
    )
    expected = unrolled(
        weights,
        jnp.full((space.num_edges, space.num_ops), 0.7),
        inputs,
        space=space,
        reduction=reduction,
        edges={int(edge): [index] for edge in np.flatnonzero(active)},
    )
    assert_trees_close(value, expected)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


@pytest.mark.parametrize("reduction", [False, True])
def test_groups_cover_every_edge_once_and_stride_only_the_inputs(reduction):
    space = spaces.darts()
    groups = edge_groups(space, reduction=reduction)
    assert sorted(e for g in groups for e in g.edges) == list(range(14))
    for group in groups:
        pairs = tuple(zip(group.sources, group.targets, strict=True))
        assert pairs == tuple(space.edges[e] for e in group.edges)
        inputs = {source < 2 for source in group.sources}
        assert inputs == ({group.stride == 2} if reduction else {True, False})


@pytest.mark.parametrize("index", [0, 1, 2])
def test_recomputed_switch_has_the_switchs_gradients(index):
    branches = (
        lambda w, x: jnp.tanh(w["a"] * x),
        lambda w, x: w["b"] @ x,
        lambda w, x: jnp.zeros_like(x),
    )
    rng = np.random.default_rng(0)
    weights = {
        "a": jnp.asarray(rng.normal(size=3), jnp.float32),
        "b": jnp.asarray(rng.normal(size=(3, 3)), jnp.float32),
    }
    x = jnp.asarray(rng.normal(size=3), jnp.float32)

    def plain(index, *operands):
        return lax.switch(index, branches, *operands)

    def recomputed(index, *operands):
        return recomputed_switch(branches, index, *operands)

    def twice(switch):
        """A gradient, and the gradient of its square, which is the second order's."""

        def loss(weights, x, index):
            return jnp.sum(jnp.square(switch(index, weights, x)))

        first = jax.grad(loss, argnums=(0, 1))

        def square(*arguments):
            leaves = jax.tree.leaves(first(*arguments))
            return sum(jnp.sum(jnp.square(leaf)) for leaf in leaves)

        second = jax.grad(square, argnums=(0, 1))
        return compiled(lambda *a: (first(*a), second(*a)))(
            weights, x, jnp.int32(index)
        )

    assert_trees_close(twice(recomputed), twice(plain), 1e-6)
