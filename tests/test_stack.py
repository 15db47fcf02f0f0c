"""The backward pass of a stack of paths against plain autodiff of the same cells."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from nasjax import layers, methods, spaces, supernet
from nasjax.architecture import Drop, Mixture, Path, fold_in_cell
from nasjax.engine.scan import apply_cell, inputs, stack, stages

#: The same numbers, compiled in half the time.
compiled = functools.partial(
    jax.jit, compiler_options={"xla_backend_optimization_level": 0}
)


def plain(constant, weights, factors, paths, first, begun):
    """The stack under autodiff: every stage as the mixture's runner has it.

    Each is begun here, the first too: its gradient takes the direct way.
    """
    del begun
    states = constant.before(first)
    for stage, own in zip(constant.stages, weights, strict=True):
        kind = stage.cell_type
        path = stack._with_factors(paths[kind], factors[kind])
        begun = stage.prepare_inputs(own.stage_params, states)
        states = stack._mixed_stage(stage, own, path, states, begun)
    return states[-1]


def plain_norm(before, norm_axis, *operands):
    return layers.batch_norm(before(*operands), axis_name=norm_axis)


def plain_choice(norm_axis, index, prepared, kernel, x):
    made = plain_norm(inputs._before_norm, norm_axis, kernel, x)
    return lax.select_n(index, *prepared, made)


def random_path(space, seed, *, drop=False, offset=False):
    rng = np.random.default_rng(seed)
    edges = space.num_edges
    keys = jax.random.split(jax.random.key(seed), edges)
    return Path(
        jnp.asarray(rng.integers(0, space.num_ops, edges), jnp.int32),
        jnp.asarray(rng.uniform(0.5, 1.5, edges), jnp.float32),
        jnp.asarray(rng.random(edges) < 0.8),
        Drop(keys, jnp.full(edges, 0.2)) if drop else None,
        jnp.asarray(rng.normal(size=edges), jnp.float32) if offset else None,
    )


def problem(name, num_cells, stem, *, offset):
    """A small network's loss of its weights and of its paths' factors, and both."""
    space = spaces.SPACES[name]()
    if name == "darts":  # fewer candidates compile sooner
        space = spaces.darts(num_nodes=2).without(
            "max_pool_3x3", "sep_conv_3x3", "sep_conv_5x5", "dil_conv_5x5"
        )
    size = 32 if stem == "imagenet" else 8
    net = supernet.build(
        space,
        channels=4,  # none of one channel, whose kernel has a gradient of rounding only
        num_cells=num_cells,
        num_classes=3,
        image_shape=(size, size, 1),
        **({"stem": stem} if stem != "cifar" else {}),
    )
    weights = net.init(jax.random.key(0))
    paths = {kind: random_path(space, 1, offset=offset) for kind in space.cell_types}
    images = jax.random.normal(jax.random.key(2), (3, size, size, 1))

    def loss(weights, factors):
        runs = {kind: stack._with_factors(paths[kind], factors[kind]) for kind in paths}
        return (net.apply(weights, runs, images) ** 2).sum()

    return loss, weights, {kind: stack._factors(path) for kind, path in paths.items()}


def first_derivative(loss, *arguments):
    return jax.value_and_grad(loss, (0, 1))(*arguments)


def second_derivative(loss, *arguments):
    """The gradient of the gradient's inner product with a fixed tree like it."""

    def slope(*arguments):
        gradients = jax.tree.leaves(jax.grad(loss, (0, 1))(*arguments))
        waves = [
            jnp.cos(jnp.arange(leaf.size, dtype=jnp.float32)) for leaf in gradients
        ]
        return sum(
            jnp.vdot(leaf.reshape(-1), wave)
            for leaf, wave in zip(gradients, waves, strict=True)
        )

    return jax.grad(slope, (0, 1))(*arguments)


# Lengths with one cell, with two and with more in a stage, and with entries from
# outside in the middle of one.
@pytest.mark.parametrize(
    ("name", "num_cells", "stem", "derivative", "offset"),
    [
        ("darts", 2, "cifar", first_derivative, False),
        ("darts", 10, "cifar", first_derivative, True),
        ("darts", 3, "imagenet", first_derivative, False),
        ("nasbench201", 2, "cifar", first_derivative, True),
        ("darts", 2, "cifar", second_derivative, False),
    ],
)
def test_gradients_are_those_of_autodiff(
    name, num_cells, stem, derivative, offset, monkeypatch
):
    loss, *arguments = problem(name, num_cells, stem, offset=offset)
    ours = compiled(lambda *x: derivative(loss, *x))(*arguments)
    calls = []

    def counted(*args):
        calls.append(args)
        return plain(*args)

    monkeypatch.setattr(stack, "_run_paths", counted)
    monkeypatch.setattr(inputs, "recomputed_to_norm", plain_norm)
    monkeypatch.setattr(inputs, "_entry_or_made", plain_choice)
    monkeypatch.setattr(stages, "recomputed_to_norm", plain_norm)
    theirs = compiled(lambda *x: derivative(loss, *x))(*arguments)
    assert calls
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        atol = 2e-5 * float(jnp.abs(b).max())
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=atol)


@pytest.mark.parametrize("runner", ["path", "mixture"])
def test_a_stage_of_nasbench201_is_its_cells_one_by_one(runner):
    """Each with its own weights and its own noise."""
    space = methods.METHODS["msg_das"]().adapt(spaces.SPACES["nasbench201"]())
    size = {"channels": 4, "num_cells": 2, "num_classes": 3}
    net = supernet.build(space, image_shape=(16, 16, 1), **size)
    weights = net.init(jax.random.key(0))
    path = random_path(space, 3, drop=True)
    skip = space.primitives.index("skip_connect")  # it drops blocks
    path = path._replace(operation=path.operation.at[0].set(skip))
    path = path._replace(active=path.active.at[0].set(True))
    if runner == "mixture":
        path = Mixture(jnp.full((6, 5), 0.5), path.drop)
    images = jax.random.normal(jax.random.key(2), (3, 16, 16, 1))
    context = net.settings.context

    def one_by_one(weights, images, *, noise):
        x = net.stem(weights, images)[0][-1]
        for stage, edges in enumerate(weights["stages"]):
            if stage:
                stage_params = weights["residuals"][stage - 1]
                x = stages._apply_residual(stage_params, x, context=context)
            for cell in range(2):
                x = apply_cell(
                    jax.tree.map(lambda leaf: leaf[cell], edges),  # noqa: B023
                    fold_in_cell(path, noise(2 * stage + cell)),
                    (x,),
                    space=space,
                    reduction=False,
                    context=context,
                )
        last = weights["last"]
        x = layers.affine(context.batch_norm(x), last["scale"], last["offset"])
        return layers.apply_head(weights["head"], layers.relu(x))

    got = compiled(net.apply)(weights, {"cell": path}, images)
    for noise, same in ((lambda number: number, True), (lambda number: 0, False)):
        expected = compiled(functools.partial(one_by_one, noise=noise))(weights, images)
        assert np.allclose(got, expected, rtol=1e-4, atol=1e-5) == same
