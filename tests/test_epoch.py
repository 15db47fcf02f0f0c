"""Many steps in one dispatch, and the evaluation of the supernet."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from nasjax.bilevel import SearchState, make_step
from nasjax.data import Batch, Dataset, DeviceData, epoch_order, take, to_device
from nasjax.data.batches import Split
from nasjax.search import epoch, fingerprint
from tests import searching
from tests.compilations import lowered
from tests.searching import BATCH, EPOCHS, STEPS, TASKS


def at(step: int) -> jax.Array:
    return jnp.asarray(step, jnp.int32)


# --- which examples --------------------------------------------------------------


def plain_data(num: int, train_fraction: float, batch_size: int) -> DeviceData:
    images = np.zeros((num, 1, 1, 1), np.uint8)
    labels = np.arange(num, dtype=np.int32) % 2
    dataset = Dataset("plain", images, labels, ("even", "odd"))
    return to_device(
        dataset, batch_size=batch_size, seed=0, train_fraction=train_fraction
    )


def ids_of(half: Split) -> np.ndarray:
    """Of the examples of a half, without what fills it up."""
    return np.sort(np.asarray(half.ids)[np.asarray(half.weights) == 1])


def record(state: SearchState, train, valid):
    """A step that only counts what it is given."""
    memory = {
        name: state.memory[name].at[batch.ids].add(batch.weights)
        for name, batch in (("train", train), ("valid", valid))
    }
    metrics = {
        "weight_count": train.weights.sum(),
        "arch_count": valid.weights.sum(),
    }
    return state._replace(step=state.step + 1, memory=memory), metrics


def counted_epochs(num: int, fraction: float, batch_size: int, epochs: int = 1):
    """How often each example counted, after each of some epochs."""
    data = plain_data(num, fraction, batch_size)
    steps = epoch.steps_per_epoch(data)
    dispatch = jax.jit(epoch.make_dispatch(record, num_steps=steps, augmentation=None))
    memory = {name: jnp.zeros(num) for name in ("train", "valid")}
    state = SearchState(at(0), (), {}, (), (), memory, jax.random.key(1))
    keys = epoch.data_keys(jax.random.key(0))
    counts, metrics = [], []
    for done in range(1, epochs + 1):
        state, sums = dispatch(state, data, keys, at(done * steps))
        counts.append({k: np.asarray(v) for k, v in state.memory.items()})
        metrics.append(sums)
    return data, counts, metrics


@pytest.mark.parametrize(
    ("num", "batch_size"),
    [(32, 8), (30, 8), (31, 8), (7, 16), (12, 1)],
    ids=["even", "ragged", "odd", "one batch", "ones"],
)
def test_an_epoch_counts_every_example_once_in_its_half(num: int, batch_size: int):
    data, counts, metrics = counted_epochs(num, 0.5, batch_size, epochs=2)
    train = np.isin(np.arange(num), ids_of(data.train))
    for epochs, count in enumerate(counts, start=1):
        np.testing.assert_array_equal(count["train"], epochs * train)
        # The odd example is in train: valid may start over for its one batch more.
        surplus = count["valid"] - epochs * ~train
        assert (surplus >= 0).all()
        steps = [-(-part.sum() // batch_size) for part in (train, ~train)]
        if steps[0] == steps[1]:
            assert (surplus == 0).all()
    for sums in metrics:
        assert float(sums["weight_count"]) == train.sum()


def test_the_larger_half_sets_the_steps_and_the_smaller_one_repeats():
    data, [count], [sums] = counted_epochs(40, 0.75, 8)
    train = np.isin(np.arange(40), ids_of(data.train))
    assert epoch.steps_per_epoch(data) == 4  # 30 examples in batches of 8
    np.testing.assert_array_equal(count["train"], train)
    # 10 examples make two batches, of 8 and of 2, which come once more.
    assert sums["arch_count"] == 2 * 10
    np.testing.assert_array_equal(count["valid"][~train], np.full(10, 2.0))
    assert (count["valid"][train] == 0).all()


# --- steps -----------------------------------------------------------------------


@pytest.mark.parametrize("name", TASKS)
def test_one_dispatch_is_its_single_steps_to_the_bit(name: str):
    search = searching.task(name)
    whole, single = search.new_state(), search.new_state()
    for first in (0, STEPS):  # of both epochs
        stop = first + STEPS
        whole, sums = search.dispatch(whole, search.data, search.keys, at(stop))
        added = dict.fromkeys(sums, np.float32(0))
        for step in range(first, stop):
            single, metrics = search.dispatch(
                single, search.data, search.keys, at(step + 1)
            )
            added = {k: added[k] + np.asarray(v) for k, v in metrics.items()}
        assert fingerprint(whole) == fingerprint(single)
        for metric, value in sums.items():  # a compiler may fuse the sum
            np.testing.assert_allclose(value, added[metric], rtol=1e-6)
        assert sums["weight_count"] == searching.num_examples(search.data.train)
        assert sums["arch_count"] == searching.num_examples(search.data.valid)


def test_a_dispatch_at_its_stop_changes_nothing():
    search = searching.task("linear")
    before = fingerprint(search.new_state())
    after, sums = search.dispatch(search.new_state(), search.data, search.keys, at(0))
    assert fingerprint(after) == before
    assert all(value == 0 for value in sums.values())


def batch_of(search, half: str, *, epoch: int, index: int) -> Batch:
    """A batch of an epoch, cut by hand."""
    data, keys = search.data, search.keys
    part, order_key, augmentation_key = {
        "weight": (data.train, keys.train_order, keys.train_augmentation),
        "arch": (data.valid, keys.valid_order, keys.valid_augmentation),
    }[half]
    order = epoch_order(order_key, part.weights, epoch=epoch)
    return take(
        data,
        part,
        order[index],
        augmentation_key,
        epoch=epoch,
        augmentation=searching.AUGMENTATION,
    )


def manual_epoch(search, number: int, step, state: SearchState):
    """The batches of an epoch, given to the step one by one."""
    sums: dict[str, float] = {}
    for index in range(STEPS):
        batches = (
            batch_of(search, half, epoch=number, index=index)
            for half in ("weight", "arch")
        )
        state, metrics = step(state, *batches)
        sums = {k: sums.get(k, 0.0) + float(v) for k, v in metrics.items()}
    return state, sums


def test_a_dispatch_is_the_step_on_batches_cut_by_hand():
    search = searching.task("linear")
    with jax.numpy_dtype_promotion("standard"):
        step = jax.jit(
            make_step(
                search.net,
                search.method,
                optimizers=searching.both_optimizers(),
                steps_per_epoch=STEPS,
                epochs=EPOCHS,
            )
        )
        by_hand = search.new_state()
        state = search.new_state()
        for number in range(EPOCHS):
            by_hand, expected = manual_epoch(search, number, step, by_hand)
            stop = at((number + 1) * STEPS)
            state, sums = search.dispatch(state, search.data, search.keys, stop)
            assert sums.pop("steps") == STEPS
            assert set(sums) == set(expected)
            for name, value in expected.items():
                np.testing.assert_allclose(sums[name], value, rtol=1e-5, err_msg=name)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
        (state.weights, state.alpha),
        (by_hand.weights, by_hand.alpha),
    )


def linear_sums(weights, alpha, batch) -> tuple[float, float]:
    """Summed cross-entropy and hits of the linear supernet, in NumPy."""
    mixture = scipy.special.softmax(np.asarray(alpha["cell"], np.float64), axis=-1)
    kernel = np.einsum("eo,eopy->py", mixture, np.asarray(weights["kernel"]))
    logits = np.asarray(batch.images).reshape(BATCH, -1) @ kernel
    logp = scipy.special.log_softmax(logits, axis=1)
    labels, counted = np.asarray(batch.labels), np.asarray(batch.weights)
    loss = -counted @ logp[np.arange(BATCH), labels]
    return loss, counted @ (logits.argmax(axis=1) == labels)


@pytest.mark.parametrize("index", [0, STEPS - 1], ids=["whole", "ragged"])
def test_the_metrics_of_a_step_are_sums_over_its_examples(index: int):
    search = searching.task("linear")
    data, keys = search.data, search.keys
    before, _ = search.dispatch(search.new_state(), data, keys, at(index))
    weights, alpha = before.weights, before.alpha
    # The state is donated; what is compared with has to outlive it.
    weights, alpha = jax.tree.map(np.asarray, (weights, dict(alpha)))
    after, sums = search.dispatch(before, data, keys, at(index + 1))
    for half, its_alpha in (("arch", alpha), ("weight", after.alpha)):
        # The weights' loss is taken after alpha's update.
        batch = batch_of(search, half, epoch=0, index=index)
        loss, hits = linear_sums(weights, its_alpha, batch)
        assert sums[f"{half}_count"] == batch.weights.sum()
        assert sums[f"{half}_accuracy"] == hits
        np.testing.assert_allclose(sums[f"{half}_loss"], loss, rtol=1e-5)
    assert sums["weight_count"] == (BATCH if index == 0 else 39 % BATCH)


def test_dispatches_of_any_length_are_one_program():
    traced = []

    def step(state, train, valid):
        traced.append(1)
        return record(state, train, valid)

    data = plain_data(40, 0.5, 4)
    dispatch = jax.jit(epoch.make_dispatch(step, num_steps=5, augmentation=None))
    memory = {name: jnp.zeros(40) for name in ("train", "valid")}
    state = SearchState(at(0), (), {}, (), (), memory, jax.random.key(1))
    keys = epoch.data_keys(jax.random.key(0))
    state, _ = dispatch(state, data, keys, at(1))
    first = len(traced)
    with lowered() as names:
        for stop in (2, 4, 5, 7, 10):
            state, _ = dispatch(state, data, keys, at(stop))
            assert state.step == stop
    assert len(traced) == first > 0
    assert "jit(dispatch)" not in names


# --- evaluation ------------------------------------------------------------------


def sums_by_hand(search, state, batches: int | None = None) -> tuple[float, float, int]:
    """Hits, loss and examples of the validation batches, cut by hand."""
    architecture = search.method.relax(
        state.key, state.alpha, jnp.ones(()), search.net.space
    )
    half = jax.tree.map(np.asarray, search.data.valid)
    mean, std = (np.asarray(part) for part in (search.data.mean, search.data.std))
    order = epoch_order(search.keys.valid_order, search.data.valid.weights, epoch=0)
    apply, slots = jax.jit(search.net.apply), np.arange(BATCH)
    hits = loss = 0.0
    seen: list[int] = []
    for rows in np.asarray(order)[:batches]:
        images = (half.images[rows, slots] / np.float32(255) - mean) / std
        logits = np.asarray(apply(state.weights, architecture, images))
        expected, counted = half.labels[rows, slots], half.weights[rows, slots]
        logp = scipy.special.log_softmax(logits.astype(np.float64), axis=1)
        hits += counted @ (logits.argmax(axis=1) == expected)
        loss -= counted @ logp[slots, expected]
        seen += half.ids[rows, slots][counted == 1].tolist()
    assert len(set(seen)) == len(seen)
    return hits, loss, len(seen)


def test_evaluate_agrees_with_numpy_on_the_same_batches():
    search = searching.task("cells")
    state, _ = search.dispatch(search.new_state(), search.data, search.keys, at(STEPS))
    sums = search.evaluate(state, search.data, search.keys)
    hits, loss, count = sums_by_hand(search, state)
    assert sums["valid_count"] == count == searching.num_examples(search.data.valid)
    assert sums["valid_accuracy"] == hits
    np.testing.assert_allclose(sums["valid_loss"], loss, rtol=1e-4)
    # Neither none nor all: the comparison above says something.
    assert 0 < hits < count


@pytest.mark.parametrize("batches", [1, 2, 99])
def test_evaluate_on_a_few_batches_takes_the_first(batches: int):
    search = searching.task("linear")
    state = search.new_state()
    architecture = epoch.final_architecture(search.net, search.method, state)
    sums = epoch.evaluate(
        search.net,
        state.weights,
        architecture,
        search.data,
        search.keys,
        batches=batches,
    )
    hits, loss, count = sums_by_hand(search, state, batches)
    assert (sums["valid_count"], sums["valid_accuracy"]) == (count, hits)
    assert count == min(batches * BATCH, searching.num_examples(search.data.valid))
    np.testing.assert_allclose(sums["valid_loss"], loss, rtol=1e-5)


def test_evaluate_leaves_no_trace_of_the_train_half_nor_of_what_fills_up():
    search = searching.task("linear")
    state = search.new_state()
    data = search.data
    train = data.train._replace(
        images=jnp.full_like(data.train.images, 255), labels=data.train.labels[::-1]
    )
    fills = data.valid.weights == 0
    assert fills.any()
    valid = data.valid._replace(labels=jnp.where(fills, 9, data.valid.labels))
    first = search.evaluate(state, data, search.keys)
    assert first == search.evaluate(state, data._replace(train=train), search.keys)
    assert first == search.evaluate(state, data._replace(valid=valid), search.keys)
    assert first["valid_loss"] > 0
