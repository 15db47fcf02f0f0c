"""Gumbel samples and edge weights against exact probabilities and closed forms."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nasjax import methods, relaxations, schedules, spaces
from nasjax.architecture import Path, to_path
from tests.catalogue import compiled

#: The first example compiles, which no deadline foresees.
repeatable = settings(deadline=None, derandomize=True, max_examples=30)
ALPHA = np.array([0.5, -1.0, 1.5, 0.0], np.float32)
#: Chance that a right sampler fails a statistical test, had its key been drawn.
FALSE_ALARM = 1e-6


@functools.partial(compiled, static_argnames=("k", "number"))
def draws(key, alpha, temperature, *, k, number):
    """``[number, K, ..., O]``."""
    keys = jax.random.split(key, number)
    sample = functools.partial(
        relaxations.gumbel_top_k, alpha=alpha, k=k, temperature=temperature
    )
    return jax.vmap(sample)(keys)


# --- what is drawn --------------------------------------------------------------


@repeatable
@given(
    hnp.arrays(np.float32, (6, 5), elements=st.floats(-20, 20, width=32)),
    st.integers(1, 5),
    st.sampled_from([0.1, 1.0, 10.0]),
)
def test_choices_are_one_hot_and_exclusive_over_k(alpha, k, temperature):
    chosen = relaxations.gumbel_top_k(
        jax.random.key(0), jnp.asarray(alpha), k=k, temperature=temperature
    )
    assert chosen.shape == (k, 6, 5)
    assert chosen.dtype == jnp.float32
    assert set(np.unique(chosen)) <= {0.0, 1.0}
    np.testing.assert_array_equal(chosen.sum(axis=-1), np.ones((k, 6)))
    assert chosen.sum(axis=0).max() == 1.0


def plackett_luce(alpha, k):
    """Probability of each ordered choice of k without replacement, by enumeration."""
    weight = np.exp(alpha.astype(np.float64))
    chances = {}
    for order in itertools.permutations(range(len(alpha)), k):
        left, chance = weight.sum(), 1.0
        for op in order:
            chance *= weight[op] / left
            left -= weight[op]
        chances[order] = chance
    return chances


@pytest.mark.parametrize("k", [1, 2, 3])
def test_inclusion_is_plackett_luce_without_replacement(key, k):
    number = 60_000
    chosen = np.asarray(draws(key, jnp.asarray(ALPHA), 2.0, k=k, number=number))
    chances = plackett_luce(ALPHA, k)
    orders = chosen.argmax(axis=-1)
    seen = [np.sum((orders == order).all(axis=1)) for order in chances]
    expected = number * np.array(list(chances.values()))
    assert expected.sum() == pytest.approx(number)
    assert scipy.stats.chisquare(seen, expected).pvalue > FALSE_ALARM
    included = chosen.sum(axis=1).mean(axis=0)
    exact = [sum(p for o, p in chances.items() if op in o) for op in range(4)]
    # Hoeffding's bound for each of the four operations.
    bound = math.sqrt(math.log(2 * 4 / FALSE_ALARM) / (2 * number))
    np.testing.assert_allclose(included, exact, atol=bound)


def test_edges_are_drawn_apart_and_keys_repeat(key):
    alpha = jnp.zeros((64, 4))
    one, again, other = (
        relaxations.gumbel_top_k(k, alpha, k=1, temperature=1.0)
        for k in (key, key, jax.random.key(1))
    )
    np.testing.assert_array_equal(one, again)
    assert (np.asarray(one) != np.asarray(other)).any()
    assert len(np.unique(one[0].argmax(axis=-1))) == 4


def test_the_temperature_does_not_change_what_is_drawn(key):
    """The argmax of (alpha + g) / tau is that of alpha + g."""
    alpha = jnp.asarray(ALPHA)
    cold, hot = (draws(key, alpha, t, k=2, number=500) for t in (0.1, 10.0))
    np.testing.assert_array_equal(cold, hot)


def test_a_strong_alpha_is_picked_at_a_low_temperature(key):
    """A lead of 40 is lost with probability exp(-40)."""
    alpha = jnp.asarray([0.0, 40.0, 0.0])
    chosen = draws(key, alpha, 1e-3, k=1, number=1000)[:, 0]
    np.testing.assert_array_equal(chosen, np.tile([0.0, 1.0, 0.0], (1000, 1)))
    soft = relaxations.gumbel_softmax(key, alpha, temperature=1e-3, hard=False)
    np.testing.assert_array_equal(soft, [0.0, 1.0, 0.0])


# --- with replacement, and as one graph -----------------------------------------


def test_draws_with_replacement_are_independent_and_softmax(key):
    """Each ordered pair by the product of two softmax probabilities."""
    number = 60_000
    alpha = jnp.broadcast_to(jnp.asarray(ALPHA), (number, 4))
    chosen = relaxations.gumbel_with_replacement(key, alpha, k=2, temperature=0.5)
    assert chosen.shape == (2, number, 4)
    np.testing.assert_array_equal(chosen.sum(axis=-1), np.ones((2, number)))
    first, second = np.asarray(chosen.argmax(axis=-1))
    chance = scipy.special.softmax(np.float64(ALPHA))
    seen = np.bincount(4 * first + second, minlength=16)
    expected = number * np.outer(chance, chance).ravel()
    assert scipy.stats.chisquare(seen, expected).pvalue > FALSE_ALARM


def test_one_draw_is_the_same_with_and_without_replacement(key):
    alpha = jnp.asarray(np.tile(ALPHA, (6, 1)))
    c = jnp.arange(24.0).reshape(1, 6, 4)

    def run(sample):
        return jax.value_and_grad(
            lambda a: jnp.vdot(sample(key, a, k=1, temperature=0.7), c)
        )(alpha)

    one, other = (
        run(s) for s in (relaxations.gumbel_top_k, relaxations.gumbel_with_replacement)
    )
    np.testing.assert_array_equal(one[0], other[0])
    np.testing.assert_array_equal(one[1], other[1])


def test_the_gradient_with_replacement_is_each_draws_own(key):
    jacobian = jax.jacrev(
        functools.partial(
            relaxations.gumbel_with_replacement, key, k=6, temperature=2.0
        )
    )(jnp.asarray(ALPHA))
    noise = np.asarray(jax.random.gumbel(key, (6, 4)), np.float64)
    for row, soft in zip(
        jacobian, scipy.special.softmax((ALPHA + noise) / 2.0, axis=1), strict=True
    ):
        expected = (np.diag(soft) - np.outer(soft, soft)) / 2.0
        np.testing.assert_allclose(row, expected, atol=1e-6)


@pytest.mark.parametrize("replacement", [False, True])
def test_one_graph_hands_back_what_the_paths_do(key, replacement):
    """Weights 0 and 1; of a linear loss the gradient of all paths' sum."""
    sample = (
        relaxations.gumbel_with_replacement if replacement else relaxations.gumbel_top_k
    )
    alpha = jnp.asarray(np.tile(ALPHA, (32, 1)))
    c = jnp.asarray(np.random.default_rng(0).normal(size=(32, 4)), jnp.float32)

    def choices(alpha):
        return sample(key, alpha, k=3, temperature=2.0)

    def as_paths(alpha):
        path = to_path(choices(alpha))
        own = jnp.take_along_axis(jnp.tile(c, (3, 1, 1)), path.operation[..., None], 2)
        return jnp.vdot(path.weight, own[..., 0])

    def as_one(alpha):
        return jnp.vdot(relaxations.union(choices(alpha)), c)

    weights = np.asarray(relaxations.union(choices(alpha)))
    times = np.asarray(choices(alpha)).sum(axis=0)
    np.testing.assert_array_equal(weights, times > 0)
    assert (times.max() > 1) == replacement
    np.testing.assert_allclose(
        jax.grad(as_one)(alpha), jax.grad(as_paths)(alpha), atol=1e-6
    )


# --- its gradient ---------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.5, 3.0])
def test_the_gradient_is_the_soft_jacobian_over_what_is_left(key, temperature):
    """dh/dalpha = (diag(h) - hh') / tau, h the softmax without earlier choices."""
    k = 3
    sample = functools.partial(
        relaxations.gumbel_top_k, key, k=k, temperature=temperature
    )
    jacobian = jax.jacrev(sample)(jnp.asarray(ALPHA))
    scores = (ALPHA + np.asarray(jax.random.gumbel(key, (4,)), np.float64)) / (
        temperature
    )
    left = np.ones(4, bool)
    for row in range(k):
        soft = np.zeros(4)
        soft[left] = scipy.special.softmax(scores[left])
        expected = (np.diag(soft) - np.outer(soft, soft)) / temperature
        np.testing.assert_allclose(jacobian[row], expected, atol=1e-6)
        left[np.argmax(np.where(left, scores, -np.inf))] = False


def test_the_last_operation_left_has_no_gradient(key):
    sample = functools.partial(relaxations.gumbel_top_k, key, k=4, temperature=1.0)
    jacobian = np.asarray(jax.jacrev(sample)(jnp.asarray(ALPHA)))
    assert np.isfinite(jacobian).all()
    assert not jacobian[3].any()
    assert jacobian[2].any()


@pytest.mark.parametrize("temperature", [1e-3, 1.0, 1e4])
def test_gradients_are_finite_at_any_temperature(key, temperature):
    alpha = jnp.asarray([[80.0, 0.0, -80.0], [0.0, 0.0, 0.0]])

    def loss(alpha):
        chosen = relaxations.gumbel_top_k(key, alpha, k=3, temperature=temperature)
        return jnp.vdot(chosen, jnp.arange(18.0).reshape(3, 2, 3))

    assert np.isfinite(jax.grad(loss)(alpha)).all()


# --- gumbel_softmax, GDAS's path ------------------------------------------------


@pytest.mark.parametrize("temperature", [0.3, 5.0])
def test_one_choice_is_the_hard_gumbel_softmax_and_gdas_sampler(key, temperature):
    alpha = jnp.asarray(np.tile(ALPHA, (6, 1)))
    weights = jnp.asarray(np.random.default_rng(0).normal(size=(6, 4)), jnp.float32)

    def top(alpha):
        return relaxations.gumbel_top_k(key, alpha, k=1, temperature=temperature)[0]

    def hard(alpha):
        return relaxations.gumbel_softmax(key, alpha, temperature=temperature)

    one, other = (
        jax.value_and_grad(lambda a, f=f: jnp.vdot(f(a), weights))(alpha)
        for f in (top, hard)
    )
    assert float(one[0]) == float(other[0])
    np.testing.assert_array_equal(one[1], other[1])

    space = spaces.nasbench201()._replace(operations=spaces.darts().operations[:4])
    gdas = methods.gdas(temperature=schedules.constant(temperature))
    path = gdas.relax(key, {"cell": alpha}, jnp.float32(0.5), space)["cell"]
    (subkey,) = jax.random.split(key, 1)
    chosen = relaxations.gumbel_softmax(subkey, alpha, temperature=temperature)
    np.testing.assert_array_equal(path.operation, chosen.argmax(axis=-1))


def test_the_soft_sample_is_its_formula(key):
    alpha = np.tile(ALPHA, (6, 1))
    soft = relaxations.gumbel_softmax(
        key, jnp.asarray(alpha), temperature=0.7, hard=False
    )
    noise = np.asarray(jax.random.gumbel(key, (6, 4)), np.float64)
    expected = scipy.special.softmax((alpha + noise) / 0.7, axis=1)
    np.testing.assert_allclose(soft, expected, rtol=1e-5, atol=1e-7)
    hard = relaxations.gumbel_softmax(key, jnp.asarray(alpha), temperature=0.7)
    np.testing.assert_array_equal(hard.argmax(axis=-1), soft.argmax(axis=-1))


def test_a_path_keeps_the_choice_and_its_gradient(key):
    """One forward; backward the soft Jacobian's row of what was chosen."""
    alpha = jnp.asarray(np.tile(ALPHA, (6, 1)))

    def weight(alpha):
        chosen = relaxations.gumbel_softmax(key, alpha, temperature=2.0)
        path = to_path(chosen)
        return path.weight.sum(), path

    gradient, path = jax.grad(weight, has_aux=True)(alpha)
    assert isinstance(path, Path)
    assert path.operation.dtype == jnp.int32
    assert path.active.all()
    np.testing.assert_array_equal(path.weight, np.ones(6))
    noise = np.asarray(jax.random.gumbel(key, (6, 4)), np.float64)
    soft = scipy.special.softmax((np.asarray(alpha) + noise) / 2.0, axis=1)
    rows = np.arange(6), np.asarray(path.operation)
    own = soft[rows][:, None]
    expected = own * (np.eye(4)[rows[1]] - soft) / 2.0
    np.testing.assert_allclose(gradient, expected, atol=1e-6)


# --- refusals -------------------------------------------------------------------


@pytest.mark.parametrize("k", [0, -1, 5])
def test_k_beyond_the_operations_is_refused(key, k):
    with pytest.raises(ValueError, match=f"k={k} is not from 1 to 4"):
        relaxations.gumbel_top_k(key, jnp.asarray(ALPHA), k=k, temperature=1.0)
    if k < 1:
        with pytest.raises(ValueError, match=f"k={k} is not at least 1"):
            relaxations.gumbel_with_replacement(
                key, jnp.asarray(ALPHA), k=k, temperature=1.0
            )


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_a_temperature_not_above_zero_is_refused(key, temperature):
    alpha = jnp.asarray(ALPHA)
    for hard in (True, False):
        with pytest.raises(ValueError, match="it must be above 0"):
            relaxations.gumbel_softmax(key, alpha, temperature=temperature, hard=hard)
    with pytest.raises(ValueError, match="it must be above 0"):
        relaxations.gumbel_top_k(key, alpha, k=2, temperature=temperature)
    with pytest.raises(ValueError, match="it must be above 0"):
        relaxations.gumbel_with_replacement(key, alpha, k=2, temperature=temperature)


@pytest.mark.parametrize("name", ["gdas", "snas", "msg_das", "gumbel_js"])
@pytest.mark.parametrize("ends", [(1.0, 0.0), (0.0, 1.0), (1.0, -1.0)])
def test_methods_refuse_a_temperature_that_reaches_zero(name, ends):
    with pytest.raises(ValueError, match=r"temperature goes down to .* above 0"):
        methods.METHODS[name](temperature=schedules.linear(*ends))


@pytest.mark.parametrize("name", ["msg_das", "gumbel_js"])
def test_methods_refuse_more_subgraphs_than_operations(name):
    with pytest.raises(ValueError, match="k=0 is not at least 1"):
        methods.METHODS[name](k=0)
    if name == "msg_das":  # each of them from all operations
        method = methods.msg_das(k=6, replacement=True)
        assert method.adapt(spaces.nasbench201()).num_ops == 5
    method = methods.METHODS[name](k=6)
    with pytest.raises(ValueError, match="k=6 is more than the 5 operations"):
        method.adapt(spaces.nasbench201())
    assert method.adapt(spaces.darts()).num_ops == 8


# --- edge_softmax ---------------------------------------------------------------


@pytest.mark.parametrize("name", spaces.SPACES)
def test_edge_weights_are_a_softmax_over_the_edges_into_a_node(name):
    space = spaces.SPACES[name]()
    beta = np.random.default_rng(0).normal(size=space.num_edges).astype(np.float32)
    weights = np.asarray(relaxations.edge_softmax(space, jnp.asarray(beta)))
    target = np.array([target for _, target in space.edges])
    for node in set(target):
        into = target == node
        expected = scipy.special.softmax(beta[into].astype(np.float64))
        np.testing.assert_allclose(weights[into], expected, rtol=1e-5)
        assert weights[into].sum() == pytest.approx(1.0, abs=1e-6)


def test_edge_weights_have_the_gradient_of_a_softmax_at_its_ends():
    """Into one node of NAS-Bench-201: the others get none."""
    space = spaces.nasbench201()
    beta = jnp.asarray([0.0, 90.0, -90.0, 0.3, 0.1, -0.2])
    jacobian = jax.jacrev(functools.partial(relaxations.edge_softmax, space))(beta)
    soft = scipy.special.softmax(np.float64(beta[3:]))
    expected = np.zeros((6, 6))
    expected[3:, 3:] = np.diag(soft) - np.outer(soft, soft)
    np.testing.assert_allclose(jacobian, expected, atol=1e-6)
