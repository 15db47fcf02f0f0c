"""Rise and fall of a loss around a point, on losses whose answers are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy

from nasjax import analysis

RADIUS = 0.3


def quadratic(eigenvalues, seed=0):
    """Matrix and slope of ``x H x / 2 + b x``, and its value and gradient of a tree."""
    rng = np.random.default_rng(seed)
    q, _ = np.linalg.qr(rng.normal(size=2 * (len(eigenvalues),)))
    matrix, slope = q @ np.diag(eigenvalues) @ q.T, rng.normal(size=len(eigenvalues))

    def loss(tree):
        x = jnp.concatenate([tree["a"].ravel(), tree["b"]])
        h, b = (jnp.asarray(v, jnp.float32) for v in (matrix, slope))
        return 0.5 * x @ h @ x + b @ x

    return matrix, slope, jax.value_and_grad(loss)


def tree(values):
    """Four numbers as a tree of two arrays."""
    values = jnp.asarray(values, jnp.float32)
    return {"a": values[:2].reshape(1, 2), "b": values[2:]}


def largest(matrix, gradient, radius):
    """Largest ``e H e / 2 + g e`` in the ball: the secular equation of its sphere."""
    values, vectors = np.linalg.eigh(matrix)
    turned = vectors.T @ gradient

    def too_long(multiplier):
        return np.linalg.norm(turned / (multiplier - values)) - radius

    low = values.max() + 1e-9
    multiplier = scipy.optimize.brentq(too_long, low, low + 1e4)
    away = vectors @ (turned / (multiplier - values))
    return 0.5 * away @ matrix @ away + gradient @ away


EIGENVALUES = [3.0, 1.0, 0.5, -2.0]
POINT = np.array([0.4, -0.2, 0.1, 0.3])


def test_one_step_is_at_sams_point_and_to_first_order_radius_times_slope():
    matrix, slope, loss = quadratic(EIGENVALUES)
    gradient = matrix @ POINT + slope
    norm = np.linalg.norm(gradient)
    for radius in (RADIUS, 1e-2):
        away = radius * gradient / norm
        exact = gradient @ away + 0.5 * away @ matrix @ away
        found = float(analysis.ball_sharpness(loss, tree(POINT), radius=radius))
        assert found == pytest.approx(exact, rel=1e-3)
    assert found == pytest.approx(radius * norm, rel=2e-2)  # of the smaller ball


def test_more_steps_find_the_maximum_of_the_ball():
    matrix, slope, loss = quadratic(EIGENVALUES)
    exact = largest(matrix, matrix @ POINT + slope, RADIUS)
    found = [
        float(analysis.ball_sharpness(loss, tree(POINT), radius=RADIUS, steps=steps))
        for steps in (1, 2, 5, 30)
    ]
    assert sorted(found) == found
    assert found[0] < 0.999 * exact
    assert found[-1] == pytest.approx(exact, rel=1e-4)


@pytest.mark.parametrize("steps", [1, 3])
def test_where_the_loss_is_flat_or_at_its_height_nothing_is_larger(steps):
    flat = jax.value_and_grad(lambda t: 7.0 + 0.0 * t["b"].sum())
    hill = jax.value_and_grad(lambda t: -(t["a"] ** 2).sum() - (t["b"] ** 2).sum())
    for loss, point in ((flat, POINT), (hill, np.zeros(4))):
        value = analysis.ball_sharpness(loss, tree(point), radius=RADIUS, steps=steps)
        assert float(value) == 0.0
        drop = analysis.loss_drop(loss, tree(point), learning_rate=0.1)
        assert float(drop) == 0.0


def test_a_slope_whose_square_is_no_number_still_has_its_length():
    linear = jax.value_and_grad(lambda x: 1e-30 * x.sum())
    found = analysis.ball_sharpness(linear, jnp.zeros(4), radius=1.0)
    assert float(found) == pytest.approx(2e-30, rel=1e-5)


def test_a_drop_is_that_of_the_step_and_to_first_order_rate_times_slope_squared():
    matrix, slope, loss = quadratic(EIGENVALUES)
    gradient = matrix @ POINT + slope
    squared = gradient @ gradient
    for rate in (0.2, 1e-3):
        exact = rate * squared - 0.5 * rate**2 * gradient @ matrix @ gradient
        found = float(analysis.loss_drop(loss, tree(POINT), learning_rate=rate))
        assert found == pytest.approx(exact, rel=1e-3)
    assert found == pytest.approx(rate * squared, rel=5e-3)  # of the smaller step
    overshot = analysis.loss_drop(loss, tree(POINT), learning_rate=10.0)
    assert float(overshot) != 0.0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"radius": 0.0}, "radius=0.0 is not above 0"),
        ({"radius": float("nan")}, "radius=nan is not above 0"),
        ({"radius": 1.0, "steps": 0}, "steps=0 is not at least 1"),
    ],
)
def test_a_ball_without_points_or_steps_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        analysis.ball_sharpness(jax.value_and_grad(jnp.sum), jnp.zeros(2), **settings)
