"""Losses against SciPy and PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nasjax import losses, schedules

#: The first example compiles, which no deadline foresees.
repeatable = settings(deadline=None, derandomize=True, max_examples=50)


def simplex(values):
    """Probabilities from non-negative numbers, some of them zero."""
    values = values.astype(np.float64)
    values[..., 0] += (values.sum(axis=-1) == 0).astype(np.float64)
    return (values / values.sum(axis=-1, keepdims=True)).astype(np.float32)


PAIRS = hnp.arrays(
    np.float32,
    st.sampled_from([(2, 1, 2), (2, 3, 5)]),
    elements=st.one_of(st.just(0.0), st.floats(2**-10, 1, width=32)),
).map(simplex)


@repeatable
@given(PAIRS)
def test_js_is_scipys_distance_squared(pair):
    p, q = pair
    value = np.asarray(losses.js_divergence(jnp.asarray(p), jnp.asarray(q)))
    expected = scipy.spatial.distance.jensenshannon(
        p.astype(np.float64), q.astype(np.float64), axis=-1
    )
    np.testing.assert_allclose(value, np.nan_to_num(expected) ** 2, atol=5e-7)
    assert (value >= -1e-6).all()
    assert (value <= np.log(2) + 1e-6).all()
    swapped = losses.js_divergence(jnp.asarray(q), jnp.asarray(p))
    np.testing.assert_allclose(value, swapped, atol=1e-6)


@repeatable
@given(PAIRS)
def test_js_has_a_finite_gradient_even_at_zeros(pair):
    gradient = jax.grad(lambda p, q: losses.js_divergence(p, q).sum(), argnums=(0, 1))(
        *map(jnp.asarray, pair)
    )
    assert np.isfinite(gradient).all()


def test_js_at_its_ends_and_along_another_axis():
    one, other = jnp.array([1.0, 0.0, 0.0]), jnp.array([0.0, 0.5, 0.5])
    assert float(losses.js_divergence(one, one)) == 0.0
    assert float(losses.js_divergence(one, other)) == pytest.approx(np.log(2))
    p = np.random.default_rng(0).dirichlet(np.ones(4), 3).astype(np.float32)
    q = np.random.default_rng(1).dirichlet(np.ones(4), 3).astype(np.float32)
    np.testing.assert_allclose(
        losses.js_divergence(jnp.asarray(p.T), jnp.asarray(q.T), axis=0),
        scipy.spatial.distance.jensenshannon(p, q, axis=1) ** 2,
        atol=1e-6,
    )


def test_js_has_the_gradient_of_its_formula():
    """d JS / d p_i = log(p_i / m_i) / 2."""
    p, q = jnp.array([0.2, 0.5, 0.3]), jnp.array([0.6, 0.1, 0.3])
    gradient = jax.grad(losses.js_divergence)(p, q)
    np.testing.assert_allclose(
        gradient, 0.5 * np.log(np.asarray(p) / (0.5 * np.asarray(p + q))), atol=1e-6
    )


# --- cross-entropy --------------------------------------------------------------


def example(seed=0, batch=7, classes=4):
    rng = np.random.default_rng(seed)
    logits = (3 * rng.normal(size=(batch, classes))).astype(np.float32)
    labels = rng.integers(0, classes, batch).astype(np.int32)
    weights = rng.integers(0, 2, batch).astype(np.float32)
    return logits, labels, weights


def test_cross_entropy_is_the_mean_over_examples_of_weight_1():
    logits, labels, weights = example()
    value = losses.cross_entropy(*map(jnp.asarray, (logits, labels, weights)))
    log_p = scipy.special.log_softmax(logits.astype(np.float64), axis=1)
    each = -log_p[np.arange(7), labels]
    assert float(value) == pytest.approx(each[weights == 1].mean(), rel=1e-6)


def test_cross_entropy_is_pytorchs_with_its_gradient():
    torch = pytest.importorskip("torch")
    logits, labels, _ = example(1)
    there = torch.tensor(logits, requires_grad=True)
    loss = torch.nn.functional.cross_entropy(there, torch.tensor(labels).long())
    loss.backward()
    value, gradient = jax.value_and_grad(losses.cross_entropy)(
        jnp.asarray(logits), jnp.asarray(labels), jnp.ones(7)
    )
    assert float(value) == pytest.approx(loss.item(), rel=1e-6)
    np.testing.assert_allclose(gradient, there.grad.numpy(), atol=1e-7)


def test_cross_entropy_of_bfloat16_logits_is_taken_in_float32():
    logits, labels, weights = (jnp.asarray(a) for a in example())
    narrow = logits.astype(jnp.bfloat16)
    value = losses.cross_entropy(narrow, labels, weights)
    assert value.dtype == jnp.float32
    wide = losses.cross_entropy(narrow.astype(jnp.float32), labels, weights)
    assert float(value) == float(wide)


def test_a_batch_of_weight_0_has_no_loss_and_no_gradient():
    logits, labels, _ = (jnp.asarray(a) for a in example())
    value, gradient = jax.value_and_grad(losses.cross_entropy)(
        logits, labels, jnp.zeros(7)
    )
    assert float(value) == 0.0
    np.testing.assert_array_equal(gradient, np.zeros(logits.shape))


def test_an_example_of_weight_0_has_no_gradient():
    logits, labels, weights = (jnp.asarray(a) for a in example())
    gradient = np.asarray(jax.grad(losses.cross_entropy)(logits, labels, weights))
    empty = np.asarray(weights) == 0
    assert 0 < empty.sum() < 7
    assert not gradient[empty].any()
    assert gradient[~empty].all()


@repeatable
@given(
    hnp.arrays(np.float32, 5, elements=st.floats(-100, 100, width=32)),
    hnp.arrays(np.float32, 5, elements=st.sampled_from([0.0, 0.5, 1.0, 2.0])),
)
def test_weighted_mean_is_numpys_average(values, weights):
    mean = float(losses.weighted_mean(jnp.asarray(values), jnp.asarray(weights)))
    if weights.any():
        wide = values.astype(np.float64)
        assert mean == pytest.approx(np.average(wide, weights=weights), abs=1e-4)
    else:
        assert mean == 0.0


@pytest.mark.parametrize("devices", [1, 2, 4])
def test_a_weighted_mean_over_devices_is_that_of_all_their_examples(devices):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(devices, 8 // devices)).astype(np.float32)
    weights = np.ones_like(values)
    weights[-1, -2:] = 0.0  # one device may have nothing but fillers
    mean = jax.vmap(
        lambda v, w: losses.weighted_mean(v, w, axis_name="devices"),
        axis_name="devices",
    )(jnp.asarray(values), jnp.asarray(weights))
    expected = np.average(values.astype(np.float64), weights=weights)
    np.testing.assert_allclose(mean, np.full(devices, expected), rtol=1e-5)


# --- distillation ---------------------------------------------------------------


def teacher_and_student(seed=0):
    rng = np.random.default_rng(seed)
    teacher = simplex(rng.uniform(0, 1, (6, 4)) * rng.integers(0, 2, (6, 4)))
    teacher[0] = [0, 1, 0, 0]  # sure of a class
    return teacher, (3 * rng.normal(size=(6, 4))).astype(np.float32)


@pytest.mark.parametrize(
    "name", ["kl_per_example", "distillation_kl", "soft_cross_entropy"]
)
def test_distillation_is_pytorchs_with_its_gradient_and_none_to_the_teacher(name):
    torch = pytest.importorskip("torch")
    teacher, logits = teacher_and_student()
    there = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
    log_student = torch.log_softmax(there, dim=1)
    target = torch.tensor(np.float64(teacher))
    functional = torch.nn.functional
    if name == "soft_cross_entropy":
        each = functional.cross_entropy(there, target, reduction="none")
    else:
        each = functional.kl_div(log_student, target, reduction="none").sum(1)
    if name == "distillation_kl":
        each = functional.kl_div(log_student, target, reduction="batchmean")
    each.sum().backward()

    loss = getattr(losses, name)
    value = loss(jnp.asarray(teacher), jnp.asarray(logits))
    np.testing.assert_allclose(value, each.detach().numpy(), rtol=1e-5, atol=1e-6)
    d_teacher, d_logits = jax.grad(lambda *a: loss(*a).sum(), argnums=(0, 1))(
        jnp.asarray(teacher), jnp.asarray(logits)
    )
    np.testing.assert_allclose(d_logits, there.grad.numpy(), atol=1e-6)
    assert not np.asarray(d_teacher).any()


def test_distillation_is_zero_where_the_student_agrees():
    _, logits = teacher_and_student(1)
    teacher = jax.nn.softmax(jnp.asarray(logits))
    same = losses.kl_per_example(teacher, jnp.asarray(logits))
    np.testing.assert_allclose(same, np.zeros(6), atol=1e-6)
    narrow = jnp.asarray(logits, jnp.bfloat16)
    assert losses.kl_per_example(teacher, narrow).dtype == jnp.float32
    assert losses.soft_cross_entropy(teacher, narrow).dtype == jnp.float32


SCIPY = {"euclidean": "euclidean", "manhattan": "cityblock", "cosine": "cosine"}


@pytest.mark.parametrize("metric", SCIPY)
def test_a_distance_of_outputs_is_scipys_with_the_gradient_of_its_differences(metric):
    teacher, logits = teacher_and_student()
    there = getattr(scipy.spatial.distance, SCIPY[metric])

    def expected(logits):
        student = scipy.special.softmax(np.float64(logits), axis=1)
        pairs = zip(np.float64(teacher), student, strict=True)
        return np.array([there(*pair) for pair in pairs])

    loss = losses.DISTANCES[metric]
    value = loss(jnp.asarray(teacher), jnp.asarray(logits))
    np.testing.assert_allclose(value, expected(logits), rtol=1e-5, atol=1e-6)
    d_teacher, d_logits = jax.grad(lambda *a: loss(*a).sum(), argnums=(0, 1))(
        jnp.asarray(teacher), jnp.asarray(logits)
    )
    steps = 1e-6 * np.eye(4)
    slopes = [(expected(logits + s) - expected(logits - s)) / 2e-6 for s in steps]
    np.testing.assert_allclose(d_logits, np.stack(slopes, axis=1), atol=1e-5)
    assert not np.asarray(d_teacher).any()


@pytest.mark.parametrize("metric", losses.DISTANCES)
def test_a_distance_has_a_finite_gradient_where_both_are_equal_and_without_a_teacher(
    metric,
):
    _, logits = teacher_and_student(1)
    logits = jnp.asarray(logits).at[0].set(jnp.array([200.0, 0.0, 0.0, 0.0]))
    same = jax.nn.softmax(logits)
    for teacher, at in ((same, 0.0), (jnp.zeros_like(same), None)):
        loss = losses.DISTANCES[metric]
        value, gradient = jax.value_and_grad(lambda s: loss(teacher, s).sum())(logits)  # noqa: B023
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()
        if at is not None:
            assert abs(float(value) - at) < 1e-5
            assert np.abs(gradient).max() < 1e-5
    narrow = logits.astype(jnp.bfloat16)
    assert losses.DISTANCES[metric](same, narrow).dtype == jnp.float32


# --- the rest -------------------------------------------------------------------


def test_hits_are_the_largest_logits_of_the_label():
    logits = jnp.array([[0.0, 2.0, 1.0], [3.0, 0.0, 0.0], [0.0, 0.0, -1.0]])
    hits = losses.accuracy_hits(logits, jnp.array([1, 2, 0]))
    assert hits.dtype == jnp.float32
    assert hits.tolist() == [1.0, 0.0, 1.0]


@repeatable
@given(hnp.arrays(np.float32, (2, 4), elements=st.floats(0, 100, width=16)))
def test_normalised_sums_to_one_or_is_zero(weights):
    value = np.asarray(losses.normalised(jnp.asarray(weights)))
    total = weights.astype(np.float64).sum(axis=-1, keepdims=True)
    expected = np.divide(weights, total, out=np.zeros((2, 4)), where=total > 0)
    np.testing.assert_allclose(value, expected, rtol=1e-5)


def test_normalised_has_a_finite_gradient_at_zero():
    gradient = jax.grad(lambda w: losses.normalised(w)[0])(jnp.zeros(3))
    assert np.isfinite(gradient).all()


def test_entropy_is_scipys():
    p = simplex(np.array([[1, 0, 0, 0], [1, 1, 1, 1], [1, 2, 0, 4]], np.float32))
    np.testing.assert_allclose(
        losses.entropy(jnp.asarray(p)), scipy.stats.entropy(p, axis=1), atol=1e-6
    )


# --- schedules ------------------------------------------------------------------


@pytest.mark.parametrize("progress", [0.0, 0.25, 0.5, 1.0])
def test_schedules_follow_their_formulas(progress):
    at = jnp.float32(progress)
    assert float(schedules.linear(0.3, 0.0)(at)) == pytest.approx(0.3 * (1 - progress))
    assert float(schedules.linear(0.0, 2.0)(at)) == pytest.approx(2 * progress)
    assert float(schedules.constant(0.7)(at)) == pytest.approx(0.7)
    wanted = 0.001 + 0.024 * (1 + np.cos(np.pi * progress)) / 2
    assert float(schedules.cosine(0.025, 0.001)(at)) == pytest.approx(wanted, rel=1e-5)


def test_a_schedule_by_epoch_changes_between_epochs_only():
    falling = schedules.linear(1.0, 0.0)
    schedule = falling.of_steps(steps_per_epoch=3, epochs=4)
    values = [float(schedule(jnp.int32(step))) for step in range(12)]
    np.testing.assert_allclose(values, np.repeat([1.0, 0.75, 0.5, 0.25], 3))
