"""The halves, the batches of an epoch, and a batch itself."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy
from hypothesis import given, settings
from hypothesis import strategies as st

from nasjax.base import InputError
from nasjax.data import (
    Augmentation,
    Dataset,
    DeviceData,
    epoch_order,
    num_steps,
    preprocess,
    split_half,
    take,
    to_device,
    to_device_halves,
)
from nasjax.data.batches import Split, slots

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


# --- on the device ---------------------------------------------------------------


def real(half: Split) -> np.ndarray:
    """``[T, B]``, whether an example stands there; else it only fills up."""
    return np.asarray(half.weights) == 1


def test_device_data_has_the_examples_of_its_halves_and_the_statistics_of_train():
    dataset = make()
    data = to_device(dataset, batch_size=4, seed=1)
    parts = split_half(1, 11)
    for half, ids in zip((data.train, data.valid), parts, strict=True):
        assert half.images.shape == (2, 4, 4, 4, 3)
        assert half.images.dtype == jnp.uint8
        assert half.labels.dtype == half.ids.dtype == jnp.int32
        assert half.weights.dtype == jnp.float32
        assert half.ids[real(half)].tolist() == ids.tolist()
        # Fillers are examples of the same half, whole.
        np.testing.assert_array_equal(half.images, dataset.images[half.ids])
        np.testing.assert_array_equal(half.labels, dataset.labels[half.ids])
        assert set(np.ravel(half.ids)) == set(ids)
    pixels = dataset.images[parts[0]] / 255
    np.testing.assert_allclose(data.mean, pixels.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(data.std, pixels.std((0, 1, 2)), rtol=1e-5)


def test_fillers_do_not_weigh_in_the_statistics():
    dataset = make(9)
    one, other = (to_device(dataset, batch_size=n, seed=0) for n in (5, 64))
    np.testing.assert_array_equal(one.mean, other.mean)
    np.testing.assert_array_equal(one.std, other.std)


def test_a_test_split_follows_the_training_split():
    train, test = make(7), make(3)
    data = to_device_halves(train, test, batch_size=4)
    assert data.train.ids[real(data.train)].tolist() == list(range(7))
    assert data.valid.ids[real(data.valid)].tolist() == [7, 8, 9]
    np.testing.assert_array_equal(data.valid.images[0, :3], test.images)
    np.testing.assert_array_equal(data.valid.labels[0, :3], test.labels)
    pixels = train.images / 255
    np.testing.assert_allclose(data.mean, pixels.mean((0, 1, 2)), rtol=1e-5)
    with pytest.raises(InputError, match="image_shape of the valid half"):
        to_device_halves(train, make(3, size=5), batch_size=4)


@given(num=st.integers(1, 60), batch_size=st.integers(1, 70))
def test_slots_hold_every_example_once_and_fillers_of_their_own_slot(
    num: int, batch_size: int
):
    position, weights = slots(num, batch_size)
    steps = num_steps(num, batch_size)
    assert (steps - 1) * batch_size < num <= steps * batch_size
    assert position.shape == weights.shape == (steps, batch_size)
    assert position.dtype == np.int32
    assert weights.dtype == np.float32
    assert position[weights == 1].tolist() == list(range(num))
    assert set(np.unique(weights)) <= {0.0, 1.0}
    assert ((position >= 0) & (position < num)).all()
    for slot in range(batch_size):
        own = position[weights[:, slot] == 1, slot]
        assert (own % batch_size == slot).all()
        fillers = position[weights[:, slot] == 0, slot]
        if len(own):
            assert (fillers == own[0]).all()


@pytest.mark.parametrize("bad", [(0, 4), (4, 0), (-1, 4), (4, -2)])
def test_no_examples_and_empty_batches_are_refused(bad: tuple[int, int]):
    for count in (num_steps, slots):
        with pytest.raises(InputError, match="must be at least 1, got"):
            count(*bad)


# --- the order of an epoch -------------------------------------------------------


#: One compilation a shape, where every operation on its own would take one.
fast_order = jax.jit(epoch_order, static_argnames="num_steps")


def order_of(num: int, batch_size: int, **settings) -> tuple[np.ndarray, ...]:
    """Positions and weights of the batches of an epoch, ``[T', B]`` each."""
    position, weights = slots(num, batch_size)
    settings = {"epoch": 0} | settings
    order = fast_order(jax.random.key(0), jnp.asarray(weights), **settings)
    assert order.dtype == jnp.int32
    rows, columns = np.asarray(order), np.arange(batch_size)
    return position[rows, columns], weights[rows, columns]


@settings(max_examples=12, deadline=None)
@given(
    num=st.integers(1, 20),
    batch_size=st.integers(1, 25),
    extra=st.integers(0, 5),
    epoch=st.integers(0, 5),
)
def test_every_example_comes_once_an_epoch(num, batch_size, extra, epoch):
    needed = num_steps(num, batch_size)
    examples, weights = order_of(num, batch_size, epoch=epoch, num_steps=needed + extra)
    assert examples.shape == (needed + extra, batch_size)
    assert sorted(examples[:needed][weights[:needed] == 1]) == list(range(num))
    # Only the last of the needed batches has fillers, so no loss is 0/0.
    assert (weights[: needed - 1] == 1).all()
    assert weights[needed - 1].any()
    # An example stands in its slot, whenever it comes.
    slot = np.broadcast_to(np.arange(batch_size), examples.shape)
    assert (examples % batch_size == slot)[weights == 1].all()
    # More batches than needed are those of the start once more.
    np.testing.assert_array_equal(examples, np.resize(examples[:needed], slot.shape))
    for batch, weight in zip(examples, weights, strict=True):
        assert len(set(batch[weight == 1])) == weight.sum()


@pytest.mark.parametrize(
    ("num", "width", "devices"), [(30, 4, 2), (61, 2, 4), (10, 1, 4), (5, 4, 4)]
)
@pytest.mark.parametrize("epoch", [0, 3])
def test_the_order_of_a_slot_does_not_depend_on_its_device(num, width, devices, epoch):
    _, weights = slots(num, width * devices)
    key = jax.random.key(3)
    whole = fast_order(key, jnp.asarray(weights), epoch=epoch)
    for first in range(0, width * devices, width):
        own = slice(first, first + width)
        part = fast_order(
            key, jnp.asarray(weights[:, own]), epoch=epoch, first_slot=first
        )
        np.testing.assert_array_equal(part, whole[:, own])


def test_the_order_is_new_every_epoch_and_in_every_slot_and_jits():
    weights, key = jnp.ones((16, 10)), jax.random.key(0)
    traces = []

    @jax.jit
    def traced(key, weights, *, epoch):
        traces.append(1)
        return epoch_order(key, weights, epoch=epoch)

    for epoch in (0, 3):
        eager = epoch_order(key, weights, epoch=epoch)
        np.testing.assert_array_equal(eager, traced(key, weights, epoch=epoch))
    assert len(traces) == 1
    first, second = (np.asarray(traced(key, weights, epoch=e)) for e in (0, 1))
    other = np.asarray(traced(jax.random.key(1), weights, epoch=0))
    for order in (first, second, other):
        assert (np.sort(order, axis=0) == np.arange(16)[:, None]).all()
    # Of 160 places, one in 16 is the same by chance.
    for order in (second, other, first[:, ::-1]):
        assert (order != first).mean() > 0.8


def test_every_order_of_a_slot_is_as_likely_as_another():
    """Six orders of three examples, and the filler of a fourth last in all."""
    weights = jnp.concatenate([jnp.ones((3, 600)), jnp.zeros((1, 600))])
    order = np.asarray(epoch_order(jax.random.key(2), weights, epoch=0))
    assert (order[3] == 3).all()
    counts = np.unique(order, axis=1, return_counts=True)[1]
    assert len(counts) == 6
    assert scipy.stats.chisquare(counts).pvalue > 1e-4


def test_the_smaller_half_follows_the_larger():
    # 5 and 4 examples, in pairs: 3 batches and 2.
    examples, weights = order_of(4, 2, num_steps=num_steps(5, 2))
    assert weights.tolist() == [[1, 1]] * 3
    np.testing.assert_array_equal(examples[2], examples[0])


def test_too_few_steps_are_refused():
    with pytest.raises(InputError, match="num_steps must be at least 3, got 2"):
        epoch_order(jax.random.key(0), jnp.ones((3, 2)), epoch=0, num_steps=2)


# --- a batch ---------------------------------------------------------------------


@functools.partial(jax.jit, static_argnames="augmentation")
def epoch_of(data: DeviceData, half: Split, epoch: int, augmentation=None):
    """The batches of an epoch, stacked."""
    order = epoch_order(jax.random.key(4), half.weights, epoch=epoch)
    key, settings = jax.random.key(5), {"epoch": epoch, "augmentation": augmentation}
    return jax.lax.map(lambda at: take(data, half, at, key, **settings), order)


def test_take_gathers_and_preprocesses():
    dataset = make()
    data = to_device(dataset, batch_size=3, seed=0)
    order = jnp.array([1, 0, 1], jnp.int32)
    key, augmentation = jax.random.key(3), Augmentation(pad=1, cutout=2)

    @jax.jit
    def run(epoch):
        return take(
            data, data.train, order, key, epoch=epoch, augmentation=augmentation
        )

    batch = run(4)
    ids = np.asarray(data.train.ids)[[1, 0, 1], [0, 1, 2]]
    wanted = preprocess(
        key,
        jnp.asarray(dataset.images[ids]),
        jnp.asarray(ids),
        epoch=4,
        augmentation=augmentation,
        mean=data.mean,
        std=data.std,
    )
    np.testing.assert_allclose(batch.images, wanted, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(batch.labels, dataset.labels[ids])
    np.testing.assert_array_equal(batch.ids, ids)
    assert batch.rows.tolist() == [3, 1, 5]
    assert batch.weights.tolist() == [1, 1, 1]
    plain = take(data, data.train, order, key, epoch=4, augmentation=None).images
    assert (np.asarray(plain) != np.asarray(batch.images)).any()


@pytest.mark.parametrize(
    ("num", "batch_size", "fraction"),
    [(21, 4, 0.5), (6, 8, 0.7), (12, 3, 0.25)],
    ids=["ragged", "one batch", "even"],
)
def test_an_example_keeps_its_row_and_its_slot_and_shares_neither(
    num: int, batch_size: int, fraction: float
):
    data = to_device(make(num), batch_size=batch_size, seed=1, train_fraction=fraction)
    for half in (data.train, data.valid):
        found: dict[int, set[tuple[int, int]]] = {}
        for epoch in range(3):
            batches = jax.tree.map(np.asarray, epoch_of(data, half, epoch))
            for step, slot in np.argwhere(batches.weights):
                place = int(batches.rows[step, slot]), int(slot)
                found.setdefault(int(batches.ids[step, slot]), set()).add(place)
            # One row a place: none twice in a batch, nor in the half.
            assert sorted(batches.rows.ravel()) == list(range(half.weights.size))
        assert set(found) == set(half.ids[real(half)].tolist())
        assert all(len(places) == 1 for places in found.values())
        assert len(set.union(*found.values())) == len(found)


def test_an_example_looks_the_same_whatever_the_batch_size():
    """Its augmentation follows from its id and the epoch."""
    dataset, augmentation = make(12), Augmentation(pad=1, cutout=2)
    looks = []
    for batch_size in (2, 16):
        data = to_device(dataset, batch_size=batch_size, seed=0)
        batches = epoch_of(data, data.train, 2, augmentation)
        batches = jax.tree.map(np.asarray, batches)
        counted = batches.weights == 1
        ids = batches.ids[counted].tolist()
        looks.append(dict(zip(ids, batches.images[counted], strict=True)))
    for other in looks[1:]:
        assert set(other) == set(looks[0])
        for example, image in looks[0].items():
            np.testing.assert_allclose(other[example], image, rtol=1e-6, atol=1e-6)
