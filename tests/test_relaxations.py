"""Relaxations against exact probabilities, quadrature and plain Python."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nasjax import relaxations, spaces

#: The first example compiles, which no deadline foresees.
repeatable = settings(deadline=None, derandomize=True, max_examples=50)
FLOATS = st.floats(-30, 30, width=32)
TABLES = hnp.arrays(
    np.float32, st.sampled_from([(3,), (4, 1), (2, 3, 5)]), elements=FLOATS
)


@repeatable
@given(TABLES)
def test_softmax_is_scipys(alpha):
    expected = scipy.special.softmax(alpha.astype(np.float64), axis=-1)
    value = relaxations.softmax(jnp.asarray(alpha))
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(value, expected, rtol=2e-5, atol=1e-7)


# --- Kronecker sampling ---------------------------------------------------------


def probability(alpha, noise_range):
    """Of each operation to be the largest of alpha + U(0, r), by quadrature.

    P(n) = E[prod over m of P(alpha_m + eps_m < alpha_n + eps_n)].
    """

    def density(eps, n):
        others = np.delete(alpha, n)
        below = (alpha[n] + eps - others) / noise_range
        return np.prod(np.clip(below, 0.0, 1.0)) / noise_range

    kinks = [
        sorted({float(np.clip(m - a + s, 0, noise_range)) for m in alpha
                for s in (0.0, noise_range)})
        for a in alpha
    ]  # fmt: skip
    return np.array(
        [
            scipy.integrate.quad(
                density, 0.0, noise_range, args=(n,), points=kinks[n], limit=200
            )[0]
            for n in range(len(alpha))
        ]
    )


def test_quadrature_has_the_closed_form_of_two_operations():
    """P(0 wins) = 1 - (1 - d/r)²/2 for a lead of d < r: the oracle's own check."""
    lead, r = 0.12, 0.3
    expected = 1 - (1 - lead / r) ** 2 / 2
    np.testing.assert_allclose(
        probability(np.array([lead, 0.0]), r), [expected, 1 - expected], rtol=1e-6
    )


@pytest.mark.parametrize(
    ("alpha", "noise_range"),
    [
        ([0.12, 0.0], 0.3),
        ([0.3, 0.3, 0.3], 0.3),
        ([0.35, 0.3, 0.2], 0.3),
        ([0.5, 0.45, 0.1, 0.42], 0.3),
        ([-0.2, 0.1, 0.0], 1.0),
    ],
)
def test_frequencies_are_the_probabilities(alpha, noise_range):
    draws = 40_000
    many = jnp.broadcast_to(jnp.asarray(alpha, jnp.float32), (draws, len(alpha)))
    sample = relaxations.sample_kronecker(
        jax.random.key(5), many, noise_range=noise_range
    )
    counts = np.bincount(sample.operation, minlength=len(alpha))
    exact = probability(np.array(alpha), noise_range)
    assert exact.sum() == pytest.approx(1.0, abs=1e-6)
    possible = exact > 1e-9
    assert (counts[~possible] == 0).all()
    chi = ((counts - draws * exact)[possible] ** 2 / (draws * exact[possible])).sum()
    # One draw of the key in a million would be farther off.
    assert chi < scipy.stats.chi2.isf(1e-6, possible.sum() - 1)


def test_the_score_is_the_noisy_maximum():
    alpha = jnp.full((2_000, 3), 0.3)
    sample = relaxations.sample_kronecker(jax.random.key(1), alpha, noise_range=0.2)
    noise = np.asarray(sample.score) - 0.3
    assert noise.min() >= 0.0
    assert noise.max() <= 0.2 + 1e-6
    # The maximum of three uniforms: P(max < x) = (x/r)³, of mean 3r/4.
    assert (
        scipy.stats.kstest(noise, lambda x: np.clip(x / 0.2, 0, 1) ** 3).pvalue > 1e-6
    )


@repeatable
@given(TABLES)
def test_without_noise_the_largest_alpha_runs(alpha):
    dense = relaxations.relu_kronecker(
        jax.random.key(0), jnp.asarray(alpha), noise_range=0.0
    )
    expected = np.zeros_like(alpha)
    best = alpha.argmax(axis=-1)[..., None]
    peak = np.take_along_axis(alpha, best, axis=-1)
    np.put_along_axis(expected, best, np.maximum(peak, 0), axis=-1)
    np.testing.assert_array_equal(dense, expected)


def test_only_the_sampled_positive_entry_has_a_gradient():
    rng = np.random.default_rng(0)
    alpha = jnp.asarray(rng.uniform(-0.3, 0.3, (200, 4)), jnp.float32)
    key = jax.random.key(2)
    sample = relaxations.sample_kronecker(key, alpha, noise_range=0.5)
    gradient = jax.grad(
        lambda a: relaxations.sample_kronecker(key, a, noise_range=0.5).weight.sum()
    )(alpha)
    sampled = np.eye(4, dtype=bool)[np.asarray(sample.operation)]
    np.testing.assert_array_equal(gradient, sampled & (np.asarray(alpha) > 0))
    negative = np.asarray(alpha)[sampled] < 0
    assert 10 < negative.sum() < 190  # both kinds are there
    np.testing.assert_array_equal(sample.weight, np.maximum(alpha[sampled], 0))
    dense = jax.grad(
        lambda a: relaxations.relu_kronecker(key, a, noise_range=0.5).sum()
    )(alpha)
    np.testing.assert_array_equal(dense, gradient)
    score = jax.grad(
        lambda a: relaxations.sample_kronecker(key, a, noise_range=0.5).score.sum()
    )(alpha)
    np.testing.assert_array_equal(score, np.zeros((200, 4)))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize(
    ("activation", "value", "slope"),
    [
        (relaxations.softmax, scipy.special.softmax, lambda w: w * (1 - w)),
        (jax.nn.sigmoid, sigmoid, lambda w: w * (1 - w)),
    ],
    ids=["softmax", "sigmoid"],
)
def test_other_activations_weigh_the_sampled_operation(activation, value, slope):
    alpha = np.array([0.1, 0.9, -0.4], np.float32)
    weight, gradient = jax.value_and_grad(
        lambda a: (
            relaxations.sample_kronecker(
                jax.random.key(0), a, noise_range=0.0, activation=activation
            ).weight
        )
    )(jnp.asarray(alpha))
    expected = value(alpha.astype(np.float64))[1]
    assert float(weight) == pytest.approx(expected, rel=1e-6)
    assert float(gradient[1]) == pytest.approx(slope(expected), rel=1e-5)
    competes = activation is relaxations.softmax
    assert (np.asarray(gradient)[[0, 2]] != 0).all() == competes


def test_an_infinite_entry_that_is_not_sampled_stays_out():
    alpha = jnp.asarray([0.5, -jnp.inf, 0.2])
    weight, gradient = jax.value_and_grad(
        lambda a: (
            relaxations.sample_kronecker(jax.random.key(0), a, noise_range=0.0).weight
        )
    )(alpha)
    assert float(weight) == 0.5
    np.testing.assert_array_equal(gradient, [1.0, 0.0, 0.0])


def test_the_same_key_samples_the_same_and_edges_sample_apart():
    alpha = jnp.full((64, 5), 0.3)
    sample = functools.partial(
        relaxations.sample_kronecker, alpha=alpha, noise_range=0.3
    )
    one, again, other = (sample(jax.random.key(k)).operation for k in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert (np.asarray(one) != np.asarray(other)).any()
    assert len(np.unique(one)) == 5


# --- which edges ----------------------------------------------------------------


def strongest_by_hand(space, score):
    kept = []
    for target in sorted({target for _, target in space.edges}):
        incoming = [e for e, (_, t) in enumerate(space.edges) if t == target]
        kept += sorted(incoming, key=lambda e: (-score[e], e))[:2]
    return [edge in kept for edge in range(space.num_edges)]


@repeatable
@given(
    hnp.arrays(np.float32, 14, elements=st.sampled_from([-1.0, 0.0, 0.25, 0.5, 2.0]))
)
def test_two_strongest_edges_a_node_with_ties_to_the_earlier(score):
    space = spaces.darts()
    active = relaxations.strongest_edges(space, jnp.asarray(score))
    assert active.dtype == bool
    assert active.tolist() == strongest_by_hand(space, score)


def test_every_order_of_scores_of_a_small_cell():
    space = spaces.darts(num_nodes=2)
    edges = jax.jit(functools.partial(relaxations.strongest_edges, space))
    for order in itertools.permutations(range(5)):
        score = np.array(order, np.float32)
        assert edges(score).tolist() == strongest_by_hand(space, score)


def test_nasbench201_keeps_every_edge():
    score = jnp.arange(6.0)
    assert relaxations.strongest_edges(spaces.nasbench201(), score).all()
