"""The halves, the batches of an epoch, and a batch itself."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasjax.base import InputError
from nasjax.data import (
    Augmentation,
    Dataset,
    epoch_order,
    num_steps,
    preprocess,
    split_half,
    take,
    to_device,
    to_device_with_test,
)

RNG = np.random.default_rng(0)


def make(num: int = 11, name: str = "x", size: int = 4) -> Dataset:
    images = RNG.integers(0, 256, (num, size, 4, 3)).astype(np.uint8)
    return Dataset(name, images, np.arange(num, dtype=np.int32) % 2, ("a", "b"))


@given(
    seed=st.integers(0, 2**31),
    num=st.integers(2, 300),
    fraction=st.floats(0.01, 0.99),
)
def test_halves_are_a_partition(seed: int, num: int, fraction: float):
    try:
        train, valid = split_half(seed, num, train_fraction=fraction)
    except InputError:
        assert min(fraction, 1 - fraction) * num < 1
        return
    assert sorted([*train, *valid]) == list(range(num))
    assert (np.diff(train) > 0).all()
    assert (np.diff(valid) > 0).all()
    assert train.dtype == valid.dtype == np.int32
    assert abs(len(train) - fraction * num) < 1


def test_halves_depend_on_the_seed_and_train_gets_the_odd_one():
    first, again, other = (split_half(seed, 101)[0] for seed in (3, 3, 4))
    assert len(first) == 51
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert len(split_half(0, 100, train_fraction=0.07)[0]) == 7


@pytest.mark.parametrize(
    ("num", "fraction"), [(1, 0.5), (10, 0), (10, 1), (10, 1.5), (10, -1), (3, 0.9)]
)
def test_an_empty_half_is_refused(num: int, fraction: float):
    with pytest.raises(InputError, match="train_fraction must leave an example"):
        split_half(0, num, train_fraction=fraction)


def test_device_data_has_the_statistics_of_its_train_part():
    dataset = make()
    data = to_device(dataset, seed=1)
    np.testing.assert_array_equal(data.images, dataset.images)
    np.testing.assert_array_equal(data.labels, dataset.labels)
    assert data.images.dtype == jnp.uint8
    assert data.train_ids.dtype == data.labels.dtype == jnp.int32
    pixels = dataset.images[np.asarray(data.train_ids)] / 255
    np.testing.assert_allclose(data.mean, pixels.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(data.std, pixels.std((0, 1, 2)), rtol=1e-5)


def test_a_test_split_follows_the_training_split():
    train, test = make(7), make(3)
    data = to_device_with_test(train, test)
    assert data.train_ids.tolist() == list(range(7))
    np.testing.assert_array_equal(data.images[data.valid_ids], test.images)
    np.testing.assert_array_equal(data.labels[data.valid_ids], test.labels)
    pixels = train.images / 255
    np.testing.assert_allclose(data.mean, pixels.mean((0, 1, 2)), rtol=1e-5)
    with pytest.raises(InputError, match="image_shape of the test split"):
        to_device_with_test(train, make(3, size=5))


@settings(max_examples=12, deadline=None)
@given(
    num=st.integers(1, 20),
    batch_size=st.integers(1, 25),
    extra=st.integers(0, 3),
    epoch=st.integers(0, 5),
)
def test_every_example_counts_once_an_epoch(num, batch_size, extra, epoch):
    ids = np.arange(num, dtype=np.int32) * 3 + 5
    steps = num_steps(num, batch_size)
    assert (steps - 1) * batch_size < num <= steps * batch_size
    order, weights = (
        np.asarray(part)
        for part in epoch_order(
            jax.random.key(0),
            jnp.asarray(ids),
            epoch=epoch,
            batch_size=batch_size,
            num_steps=steps + extra,
        )
    )
    assert order.shape == weights.shape == (steps + extra, batch_size)
    assert order.dtype == np.int32
    assert weights.dtype == np.float32
    counted = order[:steps][weights[:steps] == 1]
    assert sorted(counted) == ids.tolist()
    # The fill comes from the start of the same order.
    flat = order.ravel()
    np.testing.assert_array_equal(flat, np.resize(flat[:num], flat.shape))
    assert set(np.unique(weights)) <= {0, 1}
    # A batch beyond the needed ones repeats: its loss is no 0/0, none counts twice.
    for batch, weight in zip(order[steps:], weights[steps:], strict=True):
        assert weight.sum() == min(num, batch_size)
        assert len(set(batch[weight == 1])) == weight.sum()


def test_order_is_new_every_epoch_and_jits_with_a_traced_epoch():
    ids, key = jnp.arange(64), jax.random.key(0)
    plain = functools.partial(epoch_order, batch_size=10)
    traced = jax.jit(plain)
    for epoch in (0, 3):
        for eager, compiled in zip(
            plain(key, ids, epoch=epoch), traced(key, ids, epoch=epoch), strict=True
        ):
            np.testing.assert_array_equal(eager, compiled)
    assert traced._cache_size() == 1
    first, second = traced(key, ids, epoch=0)[0], traced(key, ids, epoch=1)[0]
    assert (first != second).any()
    other = traced(jax.random.key(1), ids, epoch=0)[0]
    assert (first != other).any()


def test_the_smaller_half_follows_the_larger():
    train, valid = split_half(0, 9)  # 5 and 4: in pairs, 3 batches and 2
    steps = num_steps(len(train), 2)
    order, weights = epoch_order(
        jax.random.key(0), jnp.asarray(valid), epoch=0, batch_size=2, num_steps=steps
    )
    assert weights.tolist() == [[1, 1]] * 3
    np.testing.assert_array_equal(order[2], order[0])


def test_too_few_steps_are_refused():
    with pytest.raises(InputError, match=r"at least 3 for 5 examples .* got 2"):
        epoch_order(
            jax.random.key(0), jnp.arange(5), epoch=0, batch_size=2, num_steps=2
        )
    for bad in ((0, 4), (4, 0)):
        with pytest.raises(InputError, match="at least 1"):
            num_steps(*bad)


def test_take_gathers_and_preprocesses():
    data = to_device(make(), seed=0)
    ids, weights = jnp.array([7, 2, 2], jnp.int32), jnp.array([1, 1, 0], jnp.float32)
    key, augmentation = jax.random.key(3), Augmentation(pad=1, cutout=2)

    @jax.jit
    def run(epoch):
        return take(data, ids, weights, key, epoch=epoch, augmentation=augmentation)

    batch = run(4)
    wanted = preprocess(
        key,
        data.images[ids],
        ids,
        epoch=4,
        augmentation=augmentation,
        mean=data.mean,
        std=data.std,
    )
    np.testing.assert_allclose(batch.images, wanted, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(batch.labels, np.asarray(data.labels)[[7, 2, 2]])
    np.testing.assert_array_equal(batch.ids, ids)
    np.testing.assert_array_equal(batch.weights, weights)
    plain = take(data, ids, weights, key, epoch=4, augmentation=None).images
    assert (np.asarray(plain) != np.asarray(batch.images)).any()
