"""The batched engine against the scanned one: the same weights, the same numbers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend import core

from experiments.benchmark import nasjax_side
from nasjax import (
    bilevel,
    layers,
    methods,
    operations,
    optimizers,
    schedules,
    spaces,
    supernet,
)
from nasjax.architecture import Drop, Mixture, Path
from nasjax.dropblock import with_drop_block
from nasjax.engine.batched import norms
from nasjax.methods.base import Method, keep_snapshots

#: The same numbers, compiled in half the time.
compiled = functools.partial(
    jax.jit, compiler_options={"xla_backend_optimization_level": 0}
)


def drops(space, seed):
    keys = jax.random.split(jax.random.key(seed), space.num_edges)
    return Drop(keys, jnp.full(space.num_edges, 0.3))


def mixtures(space, *, drop=False):
    rng = np.random.default_rng(0)
    return {
        name: Mixture(
            jnp.asarray(rng.uniform(size=(space.num_edges, space.num_ops)), "f4"),
            drops(space, seed) if drop else None,
        )
        for seed, name in enumerate(space.cell_types)
    }


def paths(space, *, drop=False, offset=False):
    """Every operation on some edge; one edge inactive, of an infinite weight."""
    rng, edges = np.random.default_rng(1), space.num_edges
    found = {}
    for seed, name in enumerate(space.cell_types):
        weight = rng.uniform(0.5, 1.5, edges)
        active = np.ones(edges, bool)
        weight[3], active[3] = np.inf, False
        found[name] = Path(
            jnp.asarray(rng.permutation(edges) % space.num_ops, jnp.int32),
            jnp.asarray(weight, "f4"),
            jnp.asarray(active),
            drops(space, seed) if drop else None,
            jnp.asarray(rng.normal(size=edges), "f4") if offset else None,
        )
    return found


def dropping(space):
    found = (
        with_drop_block(op) if op.name == "skip_connect" else op
        for op in space.operations
    )
    return space._replace(operations=tuple(found))


def own(space):
    """With an operation that says nothing of its parts, with a weight of its own."""
    given = operations.Operation(
        "scaled",
        lambda channels, stride: {"scale": (channels, 1)},
        lambda w, x, stride, context: context.batch_norm(
            w["scale"][:, :, None, None].astype(x.dtype) * x[:, ::stride, ::stride]
        ),
        lambda *sizes: 0,
    )
    return space._replace(operations=(*space.operations[:-1], given))


DARTS = spaces.darts(num_nodes=2)
NB201 = spaces.nasbench201()
CASES = {
    "mixture": (DARTS, mixtures(DARTS), {"num_cells": 3}),
    "path": (
        dropping(DARTS),
        paths(dropping(DARTS), drop=True, offset=True),
        {"num_cells": 3},
    ),
    "partial_mixture": (
        DARTS._replace(channel_divisor=2),
        mixtures(DARTS),
        {"num_cells": 2},
    ),
    "partial_path": (
        DARTS._replace(channel_divisor=2),
        paths(DARTS, offset=True),
        {"num_cells": 2},
    ),
    "imagenet": (
        DARTS.without("sep_conv_5x5", "dil_conv_5x5"),
        mixtures(DARTS.without("sep_conv_5x5", "dil_conv_5x5")),
        {"num_cells": 1, "stem": "imagenet", "image_shape": (32, 32, 3)},
    ),
    "own": (own(NB201), paths(own(NB201)), {"num_cells": 1}),
    "cell_mixture": (
        dropping(NB201),
        mixtures(dropping(NB201), drop=True),
        {"num_cells": 2, "residual_affine": True},
    ),
    "cell_path": (NB201, paths(NB201, offset=True), {"num_cells": 2}),
}


def build(space, engine, **settings):
    sizes = {"channels": 4, "num_classes": 3, "image_shape": (8, 8, 3), **settings}
    return supernet.build(space, engine=engine, **sizes)


def factors(runs):
    """What of an architecture has a gradient."""
    return {
        name: cell.weights if isinstance(cell, Mixture) else (cell.weight, cell.offset)
        for name, cell in runs.items()
    }


def with_factors(runs, given):
    found = {}
    for name, cell in runs.items():
        if isinstance(cell, Mixture):
            found[name] = cell._replace(weights=given[name])
        else:
            weight, offset = given[name]
            found[name] = cell._replace(weight=weight, offset=offset)
    return found


@pytest.mark.parametrize("name", CASES)
def test_logits_and_gradients_are_those_of_the_scanned_engine(name):
    space, runs, settings = CASES[name]
    nets = [build(space, engine, **settings) for engine in ("scan", "batched")]
    weights = nets[0].init(jax.random.key(0))
    images = jax.random.normal(jax.random.key(1), (4, *nets[0].settings.image_shape))

    def loss(net, weights, given):
        logits = net.apply(weights, with_factors(runs, given), images)
        return jnp.sum(jnp.sin(logits)), logits

    results = [
        compiled(jax.grad(functools.partial(loss, net), (0, 1), has_aux=True))(
            weights, factors(runs)
        )
        for net in nets
    ]
    (expected, logits), (got, batched_logits) = results
    np.testing.assert_allclose(batched_logits, logits, atol=2e-5, rtol=2e-5)
    pairs = zip(
        jax.tree_util.tree_leaves_with_path(expected), jax.tree.leaves(got), strict=True
    )
    for (place, one), other in pairs:
        scale = max(float(np.abs(one).max()), 1e-2)
        where = jax.tree_util.keystr(place)
        np.testing.assert_allclose(other, one, atol=2e-4 * scale, err_msg=where)
    if "path" in name:  # what is not active has no gradient, though it has no limit
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(got))


def test_a_norm_is_batch_norm_and_keeps_what_a_mean_dwarfs():
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(4, 8, 8, 2, 1, 3)) + 3e4, "f4")
    y = jnp.asarray(rng.normal(size=(4, 8, 8, 1, 2, 3)), "f4")
    for given, got in zip((x, y), norms((x, y), None), strict=True):
        wide = np.asarray(given, np.float64)
        spread = np.sqrt(wide.var((0, 1, 2)) + layers.BATCH_NORM_EPSILON)
        expected = (wide - wide.mean((0, 1, 2))) / spread
        np.testing.assert_allclose(got, expected, atol=5e-3)


def test_bfloat16_is_float32_rounded():
    space, runs, settings = CASES["cell_path"]
    nets = [
        build(space, "batched", dtype=dtype, **settings)
        for dtype in ("float32", "bfloat16")
    ]
    weights = nets[0].init(jax.random.key(0))
    images = jax.random.normal(jax.random.key(1), (8, 8, 8, 3))
    one, other = (compiled(net.apply)(weights, runs, images) for net in nets)
    assert other.dtype == jnp.float32
    np.testing.assert_allclose(other, one, atol=0.15)


def test_devices_that_share_a_batch_are_one_device():
    """Logits and the weights' gradient, batch normalisation synchronised."""
    space, runs, settings = CASES["cell_mixture"]
    one = build(space, "batched", **settings)
    both = build(space, "batched", axis_name="devices", **settings)
    weights = one.init(jax.random.key(0))
    images = jax.random.normal(jax.random.key(1), (4, 8, 8, 3))

    def gradient(net, weights, images):
        def loss(weights):
            logits = net.apply(weights, runs, images)
            return jnp.sin(logits).mean(), logits

        return jax.grad(loss, has_aux=True)(weights)

    expected, logits = compiled(functools.partial(gradient, one))(weights, images)

    def shared(images):
        found, logits = gradient(both, weights, images)
        return jax.lax.pmean(found, "devices"), logits

    got, parts = jax.pmap(shared, axis_name="devices")(images.reshape(2, 2, 8, 8, 3))
    np.testing.assert_allclose(parts.reshape(logits.shape), logits, atol=2e-5)
    for a, b in zip(jax.tree.leaves(expected), jax.tree.leaves(got), strict=True):
        scale = max(float(np.abs(a).max()), 1e-2)
        np.testing.assert_allclose(b[0], a, atol=2e-4 * scale)


def test_a_second_derivative_is_that_of_the_scanned_engine():
    """Through the gradient of the weights, as second-order DARTS takes it."""
    space, runs, _ = CASES["cell_mixture"]
    nets = [build(space, engine, num_cells=1) for engine in ("scan", "batched")]
    weights = nets[0].init(jax.random.key(0))
    images = jax.random.normal(jax.random.key(1), (3, 8, 8, 3))
    given = factors(runs)

    def second(net, given):
        def loss(weights, given):
            logits = net.apply(weights, with_factors(runs, given), images)
            return jnp.sum(jnp.sin(logits))

        def after(given):
            slope = jax.grad(loss)(weights, given)
            return loss(jax.tree.map(lambda w, g: w - 0.05 * g, weights, slope), given)

        return jax.grad(after)(given)

    expected, got = (compiled(functools.partial(second, net))(given) for net in nets)
    scale = float(np.abs(expected["cell"]).max())
    np.testing.assert_allclose(got["cell"], expected["cell"], atol=1e-3 * scale)


# --- the step -------------------------------------------------------------------


def primitives(jaxpr):
    for equation in jaxpr.eqns:
        yield equation.primitive.name
        for value in equation.params.values():
            for one in value if isinstance(value, tuple | list) else (value,):
                if isinstance(one, core.ClosedJaxpr):
                    yield from primitives(one.jaxpr)
                elif isinstance(one, core.Jaxpr):
                    yield from primitives(one)


#: DrNAS draws from a Dirichlet distribution, by rejection: a loop that must be.
DRAWN_BY_REJECTION = {"drnas"}


@pytest.mark.parametrize("name", sorted(methods.METHODS))
def test_a_step_branches_only_where_it_must(name):
    """Where alpha is not trained at first, or an epoch's end leaves a snapshot."""
    method = methods.METHODS[name]()
    made = nasjax_side.program(
        method,
        space="nasbench201",
        channels=4,
        num_cells=1,
        batch_size=2,
        engine="batched",
    )
    state = jax.eval_shape(made.new_state)
    batches = jax.eval_shape(lambda: nasjax_side.batches(2))
    with jax.numpy_dtype_promotion("standard"):  # optax's
        found = set(primitives(jax.make_jaxpr(made.step)(state, *batches).jaxpr))
    assert "conv_general_dilated" in found
    starts_later = method.order != 0 and method.arch_start > 0
    snapshots = method.take_snapshot is not keep_snapshots
    assert ("cond" in found) == (starts_later or snapshots)
    assert ("while" in found) == (name in DRAWN_BY_REJECTION)


def test_a_step_draws_and_learns_as_the_scanned_engine_does():
    method: Method = methods.METHODS["msg_das"]()
    both = bilevel.Optimizers(
        optimizers.weight_optimizer(schedules.constant(0.025)),
        optimizers.arch_optimizer(),
    )
    train, valid = nasjax_side.batches(4)
    small = [one._replace(images=one.images[:, :8, :8]) for one in (train, valid)]
    ends = []
    for engine in ("scan", "batched"):
        net = build(method.adapt(NB201), engine, num_cells=1, num_classes=10)
        step = bilevel.make_step(
            net, method, optimizers=both, steps_per_epoch=2, epochs=2
        )
        state = bilevel.init_state(jax.random.key(0), net, method, optimizers=both)
        with jax.numpy_dtype_promotion("standard"):  # optax's
            ends.append(compiled(step)(state, *small))
    (one, metrics), (other, others) = ends
    for name, value in metrics.items():
        np.testing.assert_allclose(others[name], value, rtol=1e-4, atol=1e-5)
    for a, b in zip(
        jax.tree.leaves((one.weights, one.alpha)),
        jax.tree.leaves((other.weights, other.alpha)),
        strict=True,
    ):
        np.testing.assert_allclose(b, a, atol=2e-4)


def test_auto_is_the_scanned_engine_on_a_cpu():
    assert build(NB201, "auto", num_cells=1).settings.engine == "scan"
    with pytest.raises(ValueError, match="engine='fast' is not one of auto, batched"):
        build(NB201, "fast", num_cells=1)
