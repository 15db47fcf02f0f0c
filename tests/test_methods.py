"""The methods: how alpha starts, what is sampled, added, projected and derived."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy

from nasjax import methods, schedules, spaces
from nasjax.architecture import Mixture

PROGRESS = jnp.float32(0.25)


def searched(name, method):
    return method.adapt(spaces.SPACES[name]())


every_space = pytest.mark.parametrize("name", spaces.SPACES)


def uneven_alpha(space, seed=0, low=0.0, high=1.0):
    """No two entries alike: with a noise of zero it is known what is sampled."""
    rng = np.random.default_rng(seed)
    shape = space.num_edges, space.num_ops
    return {
        name: jnp.asarray(rng.uniform(low, high, shape), jnp.float32)
        for name in space.cell_types
    }


def terms(space, alpha, architecture, progress=PROGRESS):
    return methods.Terms(
        space=space,
        alpha=alpha,
        architecture=architecture,
        logits=jnp.zeros((2, 3)),
        batch=None,
        memory=(),
        progress=progress,
        epoch=jnp.int32(0),
        forward=None,
        mean=jnp.mean,
    )


# --- DARTS ----------------------------------------------------------------------


@every_space
@pytest.mark.parametrize("scale", [1e-3, 0.5])
def test_darts_starts_at_scaled_normals(key, name, scale):
    space = searched(name, methods.darts())
    alpha = methods.darts(alpha_scale=scale).init(key, space)
    assert tuple(alpha) == space.cell_types
    values = np.stack([alpha[cell] for cell in space.cell_types])
    assert values.shape[1:] == (space.num_edges, space.num_ops)
    assert values.dtype == np.float32
    assert scipy.stats.kstest(values.ravel() / scale, "norm").pvalue > 1e-4
    assert len(np.unique(values)) == values.size  # cells are drawn apart


def test_darts_starts_at_a_thousandth_by_default(key):
    alpha = methods.darts().init(key, spaces.darts())
    assert 5e-4 < np.std(alpha["normal"]) < 2e-3


@every_space
def test_darts_mixes_by_softmax_whatever_the_key_and_progress(key, name):
    method = methods.darts()
    space = searched(name, method)
    assert space == spaces.SPACES[name]()
    alpha = uneven_alpha(space, low=-2.0)
    architecture = method.relax(key, alpha, PROGRESS, space)
    other = method.relax(jax.random.key(9), alpha, jnp.float32(1.0), space)
    for cell, mixture in architecture.items():
        assert isinstance(mixture, Mixture)
        expected = scipy.special.softmax(np.float64(alpha[cell]), axis=1)
        np.testing.assert_allclose(mixture.weights, expected, rtol=1e-5)
        np.testing.assert_array_equal(mixture.weights, other[cell].weights)


def test_darts_refuses_another_order():
    with pytest.raises(ValueError, match="order=3 is not 1 or 2"):
        methods.darts(order=3)


# --- STC-NAS: what is sampled ---------------------------------------------------


@every_space
def test_stc_nas_starts_at_three_tenths_without_none(key, name):
    method = methods.stc_nas()
    space = searched(name, method)
    full = spaces.SPACES[name]()
    assert space.primitives == full.primitives[1:]
    assert "none" not in space.primitives
    assert method.adapt(space) == space
    kept = methods.stc_nas(keep_none=True).adapt(full)
    assert ("none" in kept.primitives) == (name == "nasbench201")
    alpha = method.init(key, space)
    assert tuple(alpha) == space.cell_types
    for values in alpha.values():
        assert values.dtype == jnp.float32
        expected = np.full((space.num_edges, space.num_ops), 0.3, np.float32)
        np.testing.assert_array_equal(values, expected)


def test_stc_nas_without_cell_consistency_runs_every_edge(key):
    """Table 8's ablation; the same operations, of the same noise."""
    kept, every = methods.stc_nas(), methods.stc_nas(cell_consistency=False)
    space = searched("darts", kept)
    alpha = kept.init(key, space)
    for name, path in every.relax(key, alpha, PROGRESS, space).items():
        own = kept.relax(key, alpha, PROGRESS, space)[name]
        assert np.asarray(path.active).all()
        assert np.asarray(own.active).sum() == 8
        np.testing.assert_array_equal(path.operation, own.operation)


@every_space
def test_stc_nas_samples_as_many_edges_as_are_derived(name):
    method = methods.stc_nas()
    space = searched(name, method)
    relax = jax.jit(lambda key, alpha: method.relax(key, alpha, PROGRESS, space))
    alpha = method.init(jax.random.key(0), space)
    target = np.array([target for _, target in space.edges])
    seen, patterns = set(), set()
    for seed in range(25):
        for path in relax(jax.random.key(seed), alpha).values():
            active = np.asarray(path.active)
            for node in set(target):
                incoming = target == node
                kept = 2 if name == "darts" else incoming.sum()
                assert active[incoming].sum() == kept
            seen |= set(np.asarray(path.operation)[active].tolist())
            patterns.add(tuple(active.tolist()))
            np.testing.assert_array_equal(path.weight, np.full(len(target), 0.3, "f4"))
    assert seen == set(range(space.num_ops))
    assert (len(patterns) > 1) == (name == "darts")


def test_stc_nas_samples_its_cells_apart(key):
    method = methods.stc_nas()
    space = searched("darts", method)
    paths = method.relax(key, method.init(key, space), jnp.float32(0.0), space)
    normal, reduction = paths["normal"], paths["reduce"]
    assert (np.asarray(normal.operation) != np.asarray(reduction.operation)).any()


@every_space
def test_at_the_end_the_sampled_cell_is_the_derived_one(key, name):
    """Source and target consistent: no noise is left, and the edges agree."""
    method = methods.stc_nas()
    space = searched(name, method)
    alpha = uneven_alpha(space)
    paths = method.relax(key, alpha, jnp.float32(1.0), space)
    derived = method.derive(space, alpha).cells
    for cell, path in paths.items():
        sampled = tuple(
            (space.primitives[int(path.operation[edge])], space.edges[edge][0])
            for edge in np.flatnonzero(path.active)
        )
        assert sampled == derived[cell]
        strongest = np.asarray(alpha[cell]).max(axis=1)
        np.testing.assert_array_equal(path.weight, strongest)


def test_schedules_end_where_the_paper_says():
    named = methods.stc_nas().schedules
    ends = {k: [float(s(jnp.float32(p))) for p in (0, 1)] for k, s in named.items()}
    assert ends == {
        "noise_range": [pytest.approx(0.3), 0.0],
        "js_strength": [0.0, 2.0],
    }


def test_the_noise_of_a_schedule_is_the_noise_that_is_drawn():
    """A lead of 0.2 is lost at a range of 0.3, never at one of 0.15."""
    method = methods.stc_nas()
    space = searched("nasbench201", method)
    alpha = {"cell": jnp.zeros((6, 5)).at[:, 2].set(0.2)}
    relax = jax.jit(lambda key, p: method.relax(key, alpha, p, space)["cell"])
    lost = {
        progress: any(
            (relax(jax.random.key(seed), jnp.float32(progress)).operation != 2).any()
            for seed in range(30)
        )
        for progress in (0.0, 0.5)
    }
    assert lost == {0.0: True, 0.5: False}


@pytest.mark.parametrize("activation", ["relu", "softmax", "sigmoid"])
def test_activations_weigh_and_derive(key, activation):
    by_hand = {
        "relu": lambda a: np.maximum(a, 0),
        "softmax": lambda a: scipy.special.softmax(a, axis=1),
        "sigmoid": scipy.special.expit,
    }[activation]
    method = methods.stc_nas(activation=activation)
    space = searched("nasbench201", method)
    alpha = uneven_alpha(space, low=-1.0)
    path = method.relax(key, alpha, jnp.float32(1.0), space)["cell"]
    expected = by_hand(np.float64(alpha["cell"]))
    edges = np.arange(6)
    np.testing.assert_allclose(
        path.weight, expected[edges, np.asarray(path.operation)], rtol=1e-5
    )
    strengths = method.strengths(alpha, space)
    assert set(strengths) == {"cell"}
    np.testing.assert_allclose(strengths["cell"], expected, rtol=1e-5)


def test_stc_nas_refuses_another_activation():
    with pytest.raises(ValueError, match=r"'tanh' is not one of \['relu', 'sigmoid'"):
        methods.stc_nas(activation="tanh")


# --- derivation and composition -------------------------------------------------


def test_a_genotype_is_derived_by_strengths():
    """ReLU makes all negative entries alike, softmax compares edges otherwise."""
    space = methods.stc_nas().adapt(spaces.darts())
    alpha = np.full((14, 7), 0.1, np.float32)
    alpha[:, 2] = 0.2
    alpha[0] = 3.0  # uniformly strong: the largest alpha, the weakest softmax
    cells = {"normal": jnp.asarray(alpha), "reduce": jnp.asarray(alpha)}
    by_relu = methods.stc_nas().derive(space, cells)
    by_softmax = methods.darts().derive(space, cells)
    assert by_relu.normal[:2] == ((space.primitives[0], 0), (space.primitives[2], 1))
    # Node 2 has two edges whatever their strength; node 4, four.
    alpha[5] = 3.0
    cells = {"normal": jnp.asarray(alpha), "reduce": jnp.asarray(alpha)}
    by_relu = methods.stc_nas().derive(space, cells)
    by_softmax = methods.darts().derive(space, cells)
    assert [source for _, source in by_relu.normal[4:6]] == [0, 1]
    assert by_relu.normal[4] == (space.primitives[0], 0)
    assert [source for _, source in by_softmax.normal[4:6]] == [1, 2]


@pytest.mark.parametrize("name", methods.METHODS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_alpha_that_is_not_finite_derives_nothing(name, bad):
    """Whatever the strengths make of it: ReLU makes a plain 0 of -inf."""
    method = methods.METHODS[name]()
    space = searched("nasbench201", method)
    start = method.init(jax.random.key(0), space)
    method.derive(space, start)
    for part, values in start.items():
        broken = {**start, part: values.at[2].set(bad)}
        with pytest.raises(ValueError, match="not finite"):
            method.derive(space, broken)


@pytest.mark.parametrize(
    ("add", "field"),
    [
        (methods.add_arch_loss, "arch_loss"),
        (methods.add_weight_loss, "weight_loss"),
    ],
)
def test_added_losses_add(add, field):
    space = spaces.nasbench201()
    alpha = uneven_alpha(space)
    at = terms(space, alpha, {})
    method = methods.darts()
    assert float(getattr(method, field)(at)) == 0.0
    once = add(method, lambda t: 2.0 * t.progress)
    half = schedules.linear(1.0, 3.0)
    twice = add(once, lambda t: t.alpha["cell"].sum(), strength=half, name="pull")
    total = float(np.float64(alpha["cell"]).sum())
    assert float(getattr(once, field)(at)) == pytest.approx(0.5)
    # A quarter of the way, a strength from 1 to 3 is 1.5.
    both = float(getattr(twice, field)(at))
    assert both == pytest.approx(0.5 + 1.5 * total, rel=1e-5)
    assert (dict(once.schedules), twice.schedules) == ({}, {"pull": half})
    assert float(getattr(method, field)(at)) == 0.0  # a new method, not a changed one
    other = "weight_loss" if field == "arch_loss" else "arch_loss"
    assert getattr(twice, other) is getattr(method, other)


def test_defaults_do_nothing():
    method = methods.Method("mine", None, None)
    space = spaces.darts()
    alpha = uneven_alpha(space)
    assert method.adapt(space) is space
    assert method.project(alpha, {}, PROGRESS, space) is alpha
    assert method.init_memory(10, 3) == ()
    at = terms(space, alpha, {})
    assert method.remember(at.memory, None, None, None) is at.memory
    assert method.init_snapshots({}, alpha) == ()
    assert method.take_snapshot(at.memory, {}, alpha, None) is at.memory
    assert method.recall((), None, None) == {}
    assert float(method.arch_loss(at)) == float(method.weight_loss(at)) == 0.0
    assert (method.order, method.arch_start) == (1, 0)
    assert method.subgraphs is None
    assert method.candidates is None
    assert not method.schedules
    for cell, strengths in method.strengths(alpha, space).items():
        expected = scipy.special.softmax(np.float64(alpha[cell]), axis=1)
        np.testing.assert_allclose(strengths, expected, rtol=1e-5)


def test_methods_go_by_their_names():
    assert {name: make().name for name, make in methods.METHODS.items()} == {
        name: name for name in methods.METHODS
    }
    assert all(re.fullmatch(r"[a-z0-9_]+", name) for name in methods.METHODS)
