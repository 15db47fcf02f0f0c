"""The Flax modules are the pure functions, with the same weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nasjax
from nasjax import linen, methods, spaces, supernet
from tests.catalogue import compiled

SIZES = {"channels": 4, "num_cells": 1, "num_classes": 3}


@pytest.mark.parametrize("name", ["darts", "stc_nas"])
def test_supernet_is_the_pure_one(name):
    method = methods.METHODS[name]()
    space = method.adapt(spaces.nasbench201())
    pure = supernet.build(space, image_shape=(8, 8, 1), **SIZES)
    module = linen.Supernet(space, **SIZES)
    images = jax.random.normal(jax.random.key(0), (5, 8, 8, 1))
    alpha = method.init(jax.random.key(1), space)
    runs = method.relax(jax.random.key(2), alpha, jnp.zeros(()), space)
    weights = pure.init(jax.random.key(3))

    @compiled
    def both(weights):
        logits = module.apply({"params": weights}, images, runs)
        return logits, pure.apply(weights, runs, images)

    np.testing.assert_array_equal(*both(weights))
    shapes = jax.eval_shape(module.init, jax.random.key(4), images, runs)
    types = [jax.tree.map(lambda a: (a.shape, a.dtype), t) for t in (shapes, weights)]
    assert types[0]["params"] == types[1]


def test_what_init_draws_depends_on_its_key():
    module = linen.Supernet(spaces.nasbench201(), **SIZES)
    method = methods.darts()
    alpha = method.init(jax.random.key(1), module.space)
    runs = method.relax(jax.random.key(2), alpha, jnp.zeros(()), module.space)
    init = compiled(module.init)
    images = jnp.zeros((2, 8, 8, 3))
    one, same, other = (
        init(jax.random.key(seed), images, runs)["params"]["head"]["kernel"]
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, same)
    assert not np.allclose(one, other)


def test_everything_public_is_there():
    for name in nasjax.__all__:
        assert getattr(nasjax, name) is not None
    assert set(nasjax.__all__) <= set(dir(nasjax))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = nasjax.nothing
