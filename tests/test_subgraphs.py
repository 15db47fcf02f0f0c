"""The sum over sub-graphs against plain autodiff, and what it keeps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasjax.engine.subgraphs import summed

K, SIZE = 3, 4


def loss(shared, fixed, one):
    """Of every argument something; what it shows depends on them too."""
    weights, alpha = shared
    rows, labels = fixed
    strength, number = one
    hidden = jnp.sin(rows @ weights[number]) * strength + alpha[None]
    return (hidden[labels] ** 2).sum(), hidden


def plain(shared, fixed, each):
    found = [
        loss(shared, fixed, jax.tree.map(lambda leaf: leaf[k], each))  # noqa: B023
        for k in range(K)
    ]
    values, seen = zip(*found, strict=True)
    return sum(values[1:], values[0]), jnp.stack(seen)


@pytest.fixture
def arguments(key):
    keys = jax.random.split(key, 4)
    weights = jax.random.normal(keys[0], (K, SIZE, SIZE))
    shared = weights, jax.random.normal(keys[1], (SIZE,))
    fixed = jax.random.normal(keys[2], (SIZE, SIZE)), jnp.array([0, 2, 1])
    each = jax.random.normal(keys[3], (K,)), jnp.array([2, 0, 2])
    return shared, fixed, each


def test_values_and_gradients_are_those_of_the_plain_sum(arguments):
    shared, fixed, (strengths, numbers) = arguments

    def run(total):
        def of(shared, strengths):
            value, seen = total(shared, fixed, (strengths, numbers))
            return jnp.sin(value) * 3.0, seen

        return jax.jit(jax.value_and_grad(of, (0, 1), has_aux=True))

    def own(*arguments):
        return summed(loss, *arguments)

    for got, expected in zip(
        jax.tree.leaves(run(own)(shared, strengths)),
        jax.tree.leaves(run(plain)(shared, strengths)),
        strict=True,
    ):
        assert np.abs(expected).max() > 0.01
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)
    for got, expected in zip(own(*arguments), plain(*arguments), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_the_gradient_has_a_gradient(arguments):
    """As the second order asks: of a function of the gradient in the weights."""
    shared, fixed, (strengths, numbers) = arguments

    def slope(strengths, total):
        def of(weights):
            return total((weights, shared[1]), fixed, (strengths, numbers))[0]

        return (jax.grad(of)(shared[0]) ** 3).sum()

    def own(*arguments):
        return summed(loss, *arguments)

    got, expected = (jax.grad(slope)(strengths, total) for total in (own, plain))
    assert np.abs(expected).min() > 0.01
    np.testing.assert_allclose(got, expected, rtol=1e-4)


def test_nothing_is_differentiated_of_what_is_fixed_or_seen(arguments):
    shared, fixed, each = arguments

    def of_fixed(rows):
        return summed(loss, shared, (rows, fixed[1]), each)[0]

    def of_seen(shared):
        return summed(loss, shared, fixed, each)[1].sum()

    assert not jax.grad(of_fixed)(fixed[0]).any()
    for leaf in jax.tree.leaves(jax.grad(of_seen)(shared)):
        assert not leaf.any()


def test_memory_does_not_grow_with_the_number_of_sub_graphs():
    rows = jnp.ones((256, 256))

    def deep(weights, fixed, strength):
        hidden = fixed
        for _ in range(6):
            hidden = jnp.sin(hidden @ weights) * strength
        return hidden.sum(), ()

    def temporaries(total, number):
        each = jnp.ones((number,))
        gradient = jax.jit(jax.grad(lambda weights: total(weights, each)))
        analysis = gradient.lower(rows).compile().memory_analysis()
        return analysis.temp_size_in_bytes

    def own(weights, each):
        return summed(deep, weights, rows, each)[0]

    def mapped(weights, each):
        return jax.lax.map(lambda one: deep(weights, rows, one)[0], each).sum()

    few, many = temporaries(own, 2), temporaries(own, 8)
    assert many < few + rows.nbytes
    assert temporaries(mapped, 8) > few + 6 * 5 * rows.nbytes  # the others' are kept
