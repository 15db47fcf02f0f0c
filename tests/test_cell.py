"""Cells against an unrolled sum over their edges, written out in Python."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from nasjax import layers, operations, spaces
from nasjax.architecture import Drop, Mixture, Path, fold_in_cell, to_path, without_drop
from nasjax.engine.scan import apply_cell, cell_template, edge_groups, recomputed_switch

CHANNELS, SIZE, BATCH = 4, 6, 3
CONTEXT = layers.Context()
# Two nodes have every kind of edge a cell has.
SMALL = spaces.darts(num_nodes=2).without("sep_conv_5x5", "dil_conv_5x5")
KINDS = {
    "darts-normal": (SMALL, False),
    "darts-reduce": (SMALL, True),
    "nasbench201": (spaces.nasbench201(), False),
    "darts-reduce, half": (SMALL._replace(channel_divisor=2), True),
    "nasbench201, half": (spaces.nasbench201()._replace(channel_divisor=2), False),
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
    return layers.draw(
        key, cell_template(space, channels=CHANNELS, reduction=reduction)
    )


def random_mixture(space, seed=1):
    rng = np.random.default_rng(seed)
    shape = space.num_edges, space.num_ops
    return jnp.asarray(rng.dirichlet(np.ones(shape[1]), shape[0]), jnp.float32)


@functools.cache
def once(operation):
    """An operation compiled once, however many edges it runs on."""
    return jax.jit(operation.apply, static_argnums=(2, 3))


def by_edge(weights, space, *, reduction):
    """Weights of each edge, ``{edge: {operation: tree}}``."""
    own = {}
    for group, group_weights in zip(
        edge_groups(space, reduction=reduction), weights, strict=True
    ):
        for position, edge in enumerate(group.edges):
            own[edge] = jax.tree.map(lambda a, at=position: a[at], group_weights)
    return own


def on_a_part(operation, weights, x, stride, parts):
    """The operation on the first channels; the rest beside it, then interleaved."""
    seen = x.shape[0] // parts
    y = once(operation)(weights, x[:seen], stride, CONTEXT)
    rest = x[seen:]
    if stride == 2:
        corners = [rest[:, i::2, j::2] for i in (0, 1) for j in (0, 1)]
        rest = functools.reduce(jnp.maximum, corners)
    joined = jnp.concatenate([y, rest])
    return joined[np.arange(x.shape[0]).reshape(parts, seen).T.ravel()]


def unrolled(weights, factors, inputs, *, space, reduction, edges=None, offset=None):
    """Each node is the sum over its edges and their operations, nothing shared.

    Of ``edges``, ``{edge: operations}``, or else of all; each adds its ``offset``.
    """
    if edges is None:
        edges = dict.fromkeys(range(space.num_edges), range(space.num_ops))
    own = by_edge(weights, space, reduction=reduction)
    states = dict(enumerate(inputs))
    step = 2 if reduction else 1
    for state in range(space.num_inputs, space.num_states):
        states[state] = jnp.zeros_like(inputs[0][:, ::step, ::step])
    for edge, candidates in edges.items():
        source, target = space.edges[edge]
        stride = 2 if reduction and source < space.num_inputs else 1
        for operation in (space.operations[i] for i in candidates):
            weight = own[edge].get(operation.name, {})
            parts = space.channel_divisor
            y = on_a_part(operation, weight, states[source], stride, parts)
            factor = factors[edge, space.operations.index(operation)]
            states[target] = states[target] + factor * y
        if offset is not None:
            states[target] = states[target] + offset[edge]
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
@pytest.mark.parametrize("shift", [0, 3])
def test_path_has_the_values_and_gradients_of_the_unrolled_sum(key, kind, shift):
    """Under plain autodiff; `none` and edges that are off among them."""
    space, reduction = KINDS[kind]
    edges = np.arange(space.num_edges)
    operation = (edges + shift) % space.num_ops
    active = edges != 1 if shift else edges % 4 != 2
    chosen = {int(edge): [int(operation[edge])] for edge in edges[active]}
    assert {space.operations[at].is_zero for [at] in chosen.values()} == {True, False}
    weights = random_weights(key, space, reduction=reduction)
    factors = jnp.linspace(0.4, 1.3, space.num_edges)
    inputs = random_inputs(space)

    def plain(weights, factors, inputs):
        every = jnp.broadcast_to(factors[:, None], (space.num_edges, space.num_ops))
        settings = {"space": space, "reduction": reduction, "edges": chosen}
        return unrolled(weights, every, inputs, **settings)

    actual = looped(kind, "path")(
        weights, factors, inputs, jnp.asarray(operation, jnp.int32), jnp.asarray(active)
    )
    assert_trees_close(actual, value_and_pull(plain, weights, factors, inputs))


@pytest.mark.parametrize("kind", ["darts-reduce, half", "nasbench201"])
def test_an_offset_is_added_to_the_output_of_every_active_edge(key, kind):
    """Of `none` too; its gradient is the sum of that of the edge's output."""
    space, reduction = KINDS[kind]
    edges = np.arange(space.num_edges)
    operation, active = edges % space.num_ops, edges != 1
    chosen = {int(edge): [int(operation[edge])] for edge in edges[active]}
    assert {space.operations[at].is_zero for [at] in chosen.values()} == {True, False}
    settings = {"space": space, "reduction": reduction}

    def cell(weights, factors, offset, inputs):
        path = Path(
            jnp.asarray(operation, jnp.int32),
            factors,
            jnp.asarray(active),
            None,
            offset,
        )
        return apply_cell(weights, path, inputs, context=CONTEXT, **settings)

    def plain(weights, factors, offset, inputs):
        every = jnp.broadcast_to(factors[:, None], (space.num_edges, space.num_ops))
        return unrolled(weights, every, inputs, edges=chosen, offset=offset, **settings)

    arguments = (
        random_weights(key, space, reduction=reduction),
        jnp.linspace(0.4, 1.3, space.num_edges),
        jnp.linspace(-1.0, 2.0, space.num_edges),
        random_inputs(space),
    )
    actual = compiled(functools.partial(value_and_pull, cell))(*arguments)
    assert_trees_close(actual, value_and_pull(plain, *arguments), 2e-4)


@pytest.mark.parametrize("reduction", [False, True])
def test_the_backward_pass_of_a_path_keeps_the_states_alone(key, reduction):
    """Feature maps in memory: no more than the cell has states."""
    batch = 7  # no other axis is as long
    weights = random_weights(key, SMALL, reduction=reduction)
    edges = SMALL.num_edges
    path = Path(jnp.full(edges, 4, jnp.int32), jnp.ones(edges), jnp.ones(edges, bool))
    settings = {"space": SMALL, "reduction": reduction, "context": CONTEXT}

    def cell(weights, inputs):
        return apply_cell(weights, path, inputs, **settings)

    one = jnp.cos(jnp.arange(CHANNELS * SIZE * SIZE * batch, dtype=jnp.float32))
    one = one.reshape(CHANNELS, SIZE, SIZE, batch)
    _, pull = jax.vjp(cell, weights, (one, 2.0 * one))
    # Constants that stand for "no gradient" cost nothing in one program.
    kept = [
        a.size for a in jax.tree.leaves(pull) if a.shape[-1:] == (batch,) and a.any()
    ]
    assert 0 < sum(kept) <= SMALL.num_states * one.size


def test_the_backward_pass_of_mixtures_keeps_nothing_of_single_edges(key):
    """Not even constants of a turn, which JAX would stack: an array each."""
    length, batch = 2, 7
    template = cell_template(SMALL, channels=CHANNELS, reduction=False, stack=(length,))
    weights, mixture = layers.draw(key, template), Mixture(random_mixture(SMALL))
    settings = {"space": SMALL, "reduction": False, "context": CONTEXT}

    def loss(weights, x):
        def step(x, own):
            y = apply_cell(own, mixture, (x, x), **settings)
            return y[:CHANNELS], None

        return jax.lax.scan(step, x, weights)[0].sum()

    x = jax.ShapeDtypeStruct((CHANNELS, SIZE, SIZE, batch), jnp.float32)
    program = jax.jit(jax.grad(loss)).lower(weights, x).as_text()
    image, sources, targets = f"{CHANNELS}x{SIZE}x{SIZE}x{batch}xf32", 3, 2
    assert f"<{sources}x{image}>" in program  # what each source gave is kept
    assert f"<{sources}x{targets}x{image}>" not in program


# --- partial channels -----------------------------------------------------------


def shuffled(torch, x, groups):
    """Channel shuffle of ShuffleNet, as PC-DARTS takes it."""
    batch, channels, height, width = x.shape
    x = x.reshape(batch, groups, channels // groups, height, width)
    return torch.transpose(x, 1, 2).reshape(batch, channels, height, width)


@pytest.mark.parametrize("reduction", [False, True])
def test_partial_channels_are_pc_darts_equations_2_and_3(key, reduction):
    """In PyTorch: split, mix, pool what passes by, concatenate, shuffle, weigh."""
    torch = pytest.importorskip("torch")
    from tests import test_ops

    parts, channels = 4, 4 * test_ops.CHANNELS
    space = SMALL._replace(channel_divisor=parts)
    template = cell_template(space, channels=channels, reduction=reduction)
    weights = layers.draw(key, template)
    rng = np.random.default_rng(0)
    alpha = rng.normal(size=(space.num_edges, space.num_ops)).astype("f4")
    beta = rng.uniform(0.3, 1.0, space.num_edges).astype("f4")
    inputs = rng.normal(size=(2, channels, SIZE, SIZE, BATCH)).astype("f4")

    def ours(weights, alpha, beta, inputs):
        mixture = Mixture(jax.nn.softmax(alpha) * beta[:, None])
        settings = {"space": space, "reduction": reduction, "context": CONTEXT}
        return apply_cell(weights, mixture, tuple(inputs), **settings)

    value, pulled = compiled(functools.partial(value_and_pull, ours))(
        weights, *map(jnp.asarray, (alpha, beta, inputs))
    )

    there = [torch.tensor(np.float64(a), requires_grad=True) for a in (alpha, beta)]
    maps = torch.tensor(np.float64(inputs.transpose(0, 4, 1, 2, 3)), requires_grad=True)
    states: list = [maps[0], maps[1]]
    mix, own = (
        torch.softmax(there[0], dim=1),
        by_edge(weights, space, reduction=reduction),
    )
    parameters = {}
    for edge, (source, target) in enumerate(space.edges):
        stride = 2 if reduction and source < 2 else 1
        seen, rest = states[source].tensor_split([test_ops.CHANNELS], dim=1)
        mixed = 0.0
        for factor, operation in zip(mix[edge], space.operations, strict=True):
            _, module, parameters[edge, operation.name] = test_ops.reference(
                "darts", operation, stride, own[edge].get(operation.name, {})
            )
            mixed = mixed + factor * module(seen)
        rest = rest if stride == 1 else torch.nn.functional.max_pool2d(rest, 2, 2)
        y = there[1][edge] * shuffled(torch, torch.cat([mixed, rest], 1), parts)
        if target == len(states):
            states.append(y)
        else:
            states[target] = states[target] + y
    expected = torch.cat(states[2:], dim=1)
    phase = np.arange(value.size).reshape(value.shape)
    expected.backward(torch.tensor(np.cos(1.7 * phase).transpose(3, 0, 1, 2)))

    def near(actual, wanted):
        scale = max(np.abs(wanted).max(), 1e-2)
        np.testing.assert_allclose(actual, wanted, rtol=0, atol=1e-3 * scale)

    near(value, expected.detach().numpy().transpose(1, 2, 3, 0))
    d_weights, d_alpha, d_beta, d_inputs = pulled
    near(d_alpha, there[0].grad.numpy())
    near(d_beta, there[1].grad.numpy())
    near(d_inputs, maps.grad.numpy().transpose(0, 2, 3, 4, 1))
    for edge, candidates in by_edge(d_weights, space, reduction=reduction).items():
        for name, gradients in candidates.items():
            assert set(gradients) == set(parameters[edge, name])
            for part, gradient in gradients.items():
                wanted = parameters[edge, name][part].grad.numpy()
                assert np.abs(wanted).max() > 1e-3
                near(gradient, wanted.reshape(gradient.shape))


# --- paths ----------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(6, 5), (3, 6, 5)], ids=["one", "several"])
def test_a_path_of_a_one_hot_hands_its_gradient_to_what_was_run(shape):
    rng = np.random.default_rng(0)
    operation = rng.integers(0, 5, shape[:-1])
    choice = jnp.asarray(np.eye(5)[operation], jnp.float32)
    path = to_path(choice)
    np.testing.assert_array_equal(path.operation, operation)
    assert path.operation.dtype == jnp.int32
    np.testing.assert_array_equal(path.weight, np.ones(shape[:-1]))
    assert path.active.all()
    assert path.drop is None
    scale = jnp.asarray(rng.normal(size=shape[:-1]), jnp.float32)
    gradient = jax.grad(lambda choice: jnp.sum(scale * to_path(choice).weight))(choice)
    np.testing.assert_array_equal(gradient, scale[..., None] * choice)


def apply_noisy(weights, x, stride, context):
    """Tells by its output which key and rate it was given."""
    del weights
    x = x[:, ::stride, ::stride]
    if context.drop is None:
        return x
    noise = jax.random.normal(context.drop.key, x.shape)
    return x * (1.0 + context.drop.rate * noise)


NOISY = operations.Operation(
    "noisy", lambda channels, stride: {}, apply_noisy, lambda channels, size, stride: 0
)


def noisy_path(space, seed=0):
    edges = space.num_edges
    return Path(
        jnp.ones(edges, jnp.int32),
        jnp.linspace(0.5, 1.5, edges),
        jnp.ones(edges, bool),
        Drop(
            jax.random.split(jax.random.key(seed), edges), jnp.linspace(0, 0.4, edges)
        ),
    )


@pytest.mark.parametrize("runner", ["path", "mixture"])
@pytest.mark.parametrize("reduction", [False, True])
def test_every_edge_drops_by_its_own_key_and_rate(reduction, runner):
    """Backwards too: the noise of the gradient is that of the value.

    In a mixture what has no weights runs once for the edges that leave a state.
    """
    space = SMALL._replace(operations=(operations.NONE, NOISY))
    path = noisy_path(space)

    def runs(factors):
        if runner == "path":
            return path._replace(weight=factors)
        return Mixture(jnp.stack([jnp.ones_like(factors), factors], axis=1), path.drop)

    def own_noise(edge):
        if runner == "path":
            return edge
        sources = [source for source, _ in space.edges]
        return sources.index(sources[edge])

    def cell(factors, inputs):
        return apply_cell(
            ({},) * len(edge_groups(space, reduction=reduction)),
            runs(factors),
            inputs,
            space=space,
            reduction=reduction,
            context=CONTEXT,
        )

    def plain(factors, inputs):
        states = dict(enumerate(inputs))
        for edge, (source, target) in enumerate(space.edges):
            stride = 2 if reduction and source < space.num_inputs else 1
            at = own_noise(edge)
            drop = Drop(path.drop.key[at], path.drop.rate[at])
            y = apply_noisy({}, states[source], stride, layers.Context(drop=drop))
            y = factors[edge] * y
            states[target] = states[target] + y if target in states else y
        return jnp.concatenate([states[state] for state in space.output])

    arguments = path.weight, random_inputs(space)
    actual = compiled(functools.partial(value_and_pull, cell))(*arguments)
    assert_trees_close(actual, value_and_pull(plain, *arguments))
    calm, _ = value_and_pull(plain, *arguments)
    path = noisy_path(space, seed=1)
    assert float(jnp.abs(calm - plain(*arguments)).max()) > 0.1


def test_each_cell_has_noise_of_its_own_and_evaluation_has_none():
    path = noisy_path(SMALL)
    keys = [
        np.asarray(jax.random.key_data(fold_in_cell(path, n).drop.key)) for n in (0, 1)
    ]
    rows = {tuple(row) for cell in keys for row in cell}
    assert len(rows) == 2 * SMALL.num_edges
    traced = jax.jit(fold_in_cell)(path, jnp.int32(1))
    np.testing.assert_array_equal(jax.random.key_data(traced.drop.key), keys[1])
    np.testing.assert_array_equal(traced.drop.rate, path.drop.rate)
    plain = without_drop(path)
    assert plain.drop is None
    assert plain.operation is path.operation
    noisy = Mixture(jnp.ones((2, 2)), path.drop)
    np.testing.assert_array_equal(
        jax.random.key_data(fold_in_cell(noisy, 1).drop.key), keys[1]
    )
    assert without_drop(noisy).drop is None
    mixture = Mixture(jnp.ones((2, 2)))
    for unchanged in (fold_in_cell(mixture, 1), without_drop(mixture)):
        assert unchanged is mixture
    assert fold_in_cell(plain, 1) is plain


# --- the rest -------------------------------------------------------------------


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
