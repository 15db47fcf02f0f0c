"""Beta-DARTS, FairDARTS, DSNAS, NASP, DrNAS, SDARTS, iDARTS, A2M: their equations."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasjax import bilevel, genotype, losses, methods, relaxations, schedules, spaces
from nasjax.arch_gradients import (
    implicit_arch_gradient,
    sharpness_aware_arch_gradient,
)
from nasjax.architecture import Mixture, Path
from nasjax.methods.baselines.beta_darts import beta_darts
from nasjax.methods.baselines.dsnas import dsnas, sample
from nasjax.methods.baselines.fair_darts import fair_darts
from nasjax.methods.baselines.idarts import idarts
from nasjax.methods.baselines.nasp import nasp
from nasjax.methods.baselines.sdarts import sdarts_adv, sdarts_rs
from tests import catalogue
from tests.catalogue import assert_same_bits, compiled, differ

ZERO = schedules.constant(0.0)


@functools.cache
def alpha_of(shape=(6, 5), seed=0):
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.normal(size=shape), jnp.float32)


# --- losses and relaxations -----------------------------------------------------


def test_beta_decays_gradient_is_softmax_over_the_edges():
    alpha = alpha_of()
    found = jax.grad(losses.beta_decay)(alpha)
    np.testing.assert_allclose(found, jax.nn.softmax(alpha) / 6, rtol=1e-6)


@pytest.mark.parametrize(("kind", "value"), [("l2", -0.05), ("l1", -0.2)])
def test_zero_one_is_a_saddle_at_a_half_and_least_at_the_ends(kind, value):
    weights = jnp.array([0.3, 0.5, 0.9, 0.5])
    found = losses.zero_one(weights, kind=kind)
    distances = np.abs(np.array(weights) - 0.5)
    expected = -(distances**2 if kind == "l2" else distances).mean()
    assert float(found) == pytest.approx(expected)
    assert float(found) == pytest.approx(value if kind == "l2" else -0.15)
    ends = losses.zero_one(jnp.array([0.0, 1.0]), kind=kind)
    assert float(ends) == (-0.25 if kind == "l2" else -0.5)


def test_zero_one_moves_no_alpha_that_is_0():
    def term(alpha):
        return losses.zero_one(jax.nn.sigmoid(alpha))

    np.testing.assert_array_equal(jax.grad(term)(jnp.zeros((3, 4))), 0)
    with pytest.raises(ValueError, match="kind='l3' is not one of l2, l1"):
        fair_darts(kind="l3")


def test_projection_is_on_the_simplex_and_leaves_what_is_there():
    q = jnp.asarray(np.random.default_rng(0).normal(size=(50, 5)), jnp.float32)
    found = np.asarray(relaxations.project_simplex_clip(q))
    assert (found >= 0).all()
    assert (found <= 1).all()
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-6)
    inside = jax.nn.softmax(q)
    np.testing.assert_allclose(
        relaxations.project_simplex_clip(inside), inside, rtol=1e-6
    )
    # What was cut off counts for nothing, where something is left.
    some = np.asarray(q).max(axis=1) > 0
    assert (found[some][np.asarray(q)[some] < 0] == 0).all()


def test_dirichlet_has_its_moments_and_their_gradient():
    """Mean c / sum(c), and d mean / d alpha, by the average of the pathwise one."""
    alpha = jnp.array([0.5, -0.7, 1.0])
    keys = jax.random.split(jax.random.key(0), 20_000)

    def mean(alpha):
        draws = jax.vmap(lambda key: relaxations.dirichlet(key, alpha))(keys)
        return draws.mean(axis=0)

    def exact(alpha):
        concentration = jax.nn.elu(alpha) + 1
        return concentration / concentration.sum()

    found, slopes = jax.jit(lambda a: (mean(a), jax.jacrev(mean)(a)))(alpha)
    np.testing.assert_allclose(found, exact(alpha), atol=0.01)
    np.testing.assert_allclose(slopes, jax.jacrev(exact)(alpha), atol=0.01)


# --- gradients of alpha ---------------------------------------------------------


def quadratic():
    """L_train = (w - Ba)'A(w - Ba)/2, w* = Ba; L_valid = |w - t|²/2 + |a|²/2."""
    rng = np.random.default_rng(1)
    root = rng.normal(size=(4, 4))
    a = jnp.asarray(root @ root.T + np.eye(4), jnp.float32)
    b, t, w, x = (
        jnp.asarray(rng.normal(size=s), jnp.float32) for s in ((4, 3), 4, 4, 3)
    )

    def train(w, x):
        return 0.5 * (w - b @ x) @ a @ (w - b @ x)

    def valid(w, x):
        return 0.5 * jnp.sum((w - t) ** 2) + 0.5 * jnp.sum(x**2)

    return train, valid, a, b, t, w, x


@pytest.mark.parametrize("terms", [0, 1, 3])
def test_implicit_gradient_is_the_neumann_series(terms):
    train, valid, a, b, t, w, x = quadratic()
    gamma = 0.5 / float(jnp.linalg.eigvalsh(a).max())
    value, found = implicit_arch_gradient(
        train, valid, w, x, learning_rate=gamma, terms=terms
    )
    series = sum(
        np.linalg.matrix_power(np.eye(4) - gamma * np.asarray(a), k)
        for k in range(terms + 1)
    )
    # grad_a <grad_w L_train, s> = -B'A s
    expected = x + gamma * b.T @ a @ (series @ (w - t))
    assert float(value) == pytest.approx(float(valid(w, x)))
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=1e-5)


def test_implicit_gradient_of_many_terms_is_that_of_the_minimum():
    train, valid, a, b, _, _, x = quadratic()
    gamma = 1.0 / float(jnp.linalg.eigvalsh(a).max())
    _, found = implicit_arch_gradient(
        train, valid, b @ x, x, learning_rate=gamma, terms=200
    )
    expected = jax.grad(lambda x: valid(b @ x, x))(x)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("rho", [0.0, 0.3])
def test_sharpness_aware_gradient_of_a_quadratic(rho):
    """L = a'Ha/2: the gradient at (1 + rho H) a, through that."""
    _, _, h, *_ = quadratic()
    arch = alpha_of((4,))
    value, found = sharpness_aware_arch_gradient(
        lambda w, arch: 0.5 * arch @ h @ arch, (), arch, rho=rho
    )
    moved = np.eye(4) + rho * np.asarray(h)
    at = moved @ np.asarray(arch)
    assert float(value) == pytest.approx(0.5 * at @ np.asarray(h) @ at, rel=1e-4)
    np.testing.assert_allclose(found, moved @ np.asarray(h) @ at, rtol=1e-4)


# --- what is run ----------------------------------------------------------------


def test_dsnas_runs_weight_1_with_the_gradient_of_the_log_probability():
    alpha = alpha_of()
    path, pull = jax.vjp(lambda a: sample(jax.random.key(3), a).weight, alpha)
    np.testing.assert_array_equal(path, 1)
    chosen = jax.nn.one_hot(sample(jax.random.key(3), alpha).operation, 5)
    expected = chosen - jax.nn.softmax(alpha)
    np.testing.assert_allclose(pull(jnp.ones(6))[0], expected, rtol=1e-5, atol=1e-6)


def test_dsnas_draws_by_softmax():
    alpha = jnp.tile(jnp.array([0.0, 1.0, -1.0]), (4000, 1))
    drawn = np.asarray(sample(jax.random.key(0), alpha).operation)
    shares = np.bincount(drawn, minlength=3) / len(drawn)
    np.testing.assert_allclose(shares, jax.nn.softmax(alpha[0]), atol=0.04)


def test_nasp_runs_its_discrete_cell_in_both_passes():
    space, method = spaces.darts(), nasp()
    alpha = {
        name: 0.5 + 0.1 * alpha_of((14, 8), seed)
        for seed, name in enumerate(space.cell_types)
    }
    args = jax.random.key(0), alpha, jnp.zeros(()), space
    paths, mixtures = method.weight_relax(*args), method.relax(*args)
    for name, path in paths.items():
        assert isinstance(path, Path)
        assert int(path.active.sum()) == 8  # two per node
        one_hot = jnp.where(path.active[:, None], jax.nn.one_hot(path.operation, 8), 0)
        np.testing.assert_allclose(mixtures[name].weights, one_hot, atol=1e-6)
    # The gradient at the discrete cell is that of the continuous alpha.
    pulled = jax.grad(
        lambda a: (method.relax(args[0], a, *args[2:])["normal"].weights ** 2).sum()
    )(alpha)
    np.testing.assert_allclose(
        pulled["normal"], 2 * mixtures["normal"].weights, atol=1e-6
    )
    moved = {name: value * 10 - 3 for name, value in alpha.items()}
    for value in method.project(moved, {}, jnp.zeros(()), space).values():
        assert float(value.min()) >= 0
        assert float(value.max()) <= 1


def test_fair_darts_leaves_out_edges_below_the_threshold():
    method = fair_darts(threshold=0.85)
    space = method.adapt(spaces.darts())
    low, high = -1.0, 3.0  # sigmoid 0.27 and 0.95
    alpha = {name: np.full((14, 7), low) for name in space.cell_types}
    alpha["normal"][0, 3] = high
    found = method.derive(space, alpha)
    assert found.normal[0] == (space.primitives[3], 0)
    assert [op for op, _ in found.normal[1:]] == ["none"] * 7
    assert [op for op, _ in found.reduce] == ["none"] * 8
    whole = fair_darts()
    kept = whole.derive(whole.adapt(spaces.darts()), alpha)
    assert "none" not in dict(kept.normal)
    assert genotype.Genotype.from_json(found.to_json()) == found


# --- attacks --------------------------------------------------------------------


def test_an_attack_raises_the_loss_and_stays_near():
    costs = jnp.asarray(np.random.default_rng(2).normal(size=(3, 4)), jnp.float32)
    q = jax.nn.softmax(alpha_of((3, 4)))
    method = sdarts_adv(epsilon=schedules.constant(0.1))

    def loss(architecture):
        return (costs * architecture["cell"].weights).sum()

    start = {"cell": Mixture(q)}
    found = method.attack(jax.random.key(0), loss, start, jnp.float32(0.5))
    assert float(loss(found)) > float(loss(start)) + 0.05
    weights = np.asarray(found["cell"].weights)
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-6)
    # In the ball before the projection, which divides by a sum of at most 1 + 4 eps.
    assert (np.abs(weights - q) <= 0.1 + 0.4).all()

    # A loss that falls whatever is done leaves the mixture alone.
    def worse(architecture):
        return -((architecture["cell"].weights - q) ** 2).sum()

    same = method.attack(jax.random.key(0), worse, start, jnp.float32(0.5))
    np.testing.assert_array_equal(same["cell"].weights, q)


def trained(method, seed=0):
    """Two bilevel steps of a network without cells."""
    net = catalogue.gated(method.adapt(catalogue.space()))
    both = catalogue.both_optimizers()
    step = compiled(
        bilevel.make_step(net, method, optimizers=both, steps_per_epoch=1, epochs=4)
    )
    state = bilevel.init_state(
        jax.random.key(seed), net, method, optimizers=both, num_examples=4
    )
    batches = [
        catalogue.some_batch(0, [2, 0, 1, 3]),
        catalogue.some_batch(1, [0, 1, 2, 3]),
    ]
    with jax.numpy_dtype_promotion("standard"):  # Adam of optax promotes an integer
        for _ in range(2):
            state, _ = step(state, *batches)
    return state


@functools.cache
def plain():
    return trained(methods.darts())


@pytest.mark.parametrize(
    ("make", "strength"),
    [
        (lambda s: beta_darts(strength=s), "strength"),
        (lambda s: sdarts_rs(epsilon=s), "epsilon"),
        (lambda s: sdarts_adv(epsilon=s, steps=2), "epsilon"),
    ],
    ids=["beta_darts", "sdarts_rs", "sdarts_adv"],
)
def test_at_strength_0_the_search_is_darts_to_the_bit(make, strength):
    found = trained(make(ZERO))
    assert_same_bits(found.alpha, plain().alpha)
    assert_same_bits(found.weights, plain().weights)
    other = trained(make(schedules.constant(0.5)))
    moved = other.alpha if strength == "strength" else other.weights
    assert differ(moved, plain().alpha if strength == "strength" else plain().weights)


def test_a2m_at_rho_0_is_darts():
    from nasjax.methods.baselines.a2m import a2m

    found = trained(a2m(rho=0.0))
    close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
    jax.tree.map(close, found.alpha, plain().alpha)
    assert differ(trained(a2m(rho=0.5)).alpha, plain().alpha)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fair_darts(threshold=1.0), "threshold=1.0 is not from 0 to below 1"),
        (lambda: nasp(alpha_start=2.0), "alpha_start=2.0 is not from 0 to 1"),
        (lambda: sdarts_adv(steps=0), "steps=0 is not at least 1"),
        (lambda: idarts(learning_rate=0.0), "learning_rate=0.0 is not above 0"),
        (lambda: idarts(terms=-1), "terms=-1 is below 0"),
        (lambda: sdarts_rs(epsilon=0.3), "epsilon is 0.3; expected is a schedule"),
    ],
)
def test_a_wrong_setting_is_refused_in_a_line(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_dsnas_starts_at_1():
    alpha = dsnas().init(jax.random.key(0), catalogue.space())["cell"]
    assert abs(float(alpha.mean()) - 1) < 0.02
    assert 0 < float(alpha.std()) < 0.03
