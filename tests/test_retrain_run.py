"""A training to its end, stopped and gone on with, on devices and from a stream."""

import functools
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasjax import network, retrain
from nasjax.base import InputError
from nasjax.data import load
from nasjax.data.augment import channel_statistics
from nasjax.data.batches import Batch
from nasjax.interop import files, pytorch
from nasjax.interop import trained as interop
from nasjax.retrain.training import RESULT, WEIGHTS
from nasjax.runtime.loop import NotFiniteError, fingerprint
from nasjax.runtime.parallel import Devices
from tests import retraining
from tests.retraining import BATCH, EPOCHS, EXAMPLES, RECIPE, STEPS

TOTAL = EPOCHS * STEPS
#: Three steps a dispatch: of 3, 1, 3 and 1 steps.
STOPS = (0, 3, 4, 7)


@pytest.fixture(autouse=True, scope="module")
def quick_compilation():
    """Small shapes: most of the time would go into optimising what runs briefly."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def rows(folder: pathlib.Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").open()]


def without_times(found: list[dict]) -> list[dict]:
    clocks = ("images_per_second",)
    return [
        row | {"values": {k: v for k, v in row["values"].items() if k not in clocks}}
        for row in found
    ]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory):
    """Folder and result of the training run in one go."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return folder, retraining.run(retraining.training(), folder)


def after(dispatches: int):
    """A `stop` that is true once so many dispatches have begun."""
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > dispatches

    return stop


# --- to the end ------------------------------------------------------------------


def test_metrics_are_complete_and_in_order(undisturbed):
    folder, result = undisturbed
    found = rows(folder)
    assert [(row["phase"], row["step"], row["epoch"]) for row in found] == [
        ("train", 3, 0),
        ("train", 4, 0),
        ("valid", 4, 0),
        ("train", 7, 1),
        ("train", 8, 1),
        ("valid", 8, 1),
        ("result", 8, 1),
    ]
    train = found[3]["values"]
    assert set(train) == {
        "loss",
        "accuracy",
        "images_per_second",
        "schedule/learning_rate",
        "schedule/drop_path_rate",
    }
    # Of the last step of the dispatch: the second of two epochs.
    assert train["schedule/learning_rate"] == pytest.approx(0.025)
    assert train["schedule/drop_path_rate"] == pytest.approx(0.15)
    assert found[-2]["values"] == result.valid
    assert found[-1]["values"] == {f"test_{k}": v for k, v in result.test.items()}


def test_the_result_is_that_of_the_weights_it_leaves(undisturbed):
    """Read back from the file, with PyTorch's names, and tested by hand."""
    folder, result = undisturbed
    written = json.loads((folder / RESULT).read_text())
    assert written["test_accuracy"] == result.test["accuracy"]
    assert written["averaged"] is True
    trained = retraining.training().net
    variables = pytorch.from_state_dict(
        files.read(folder / WEIGHTS), trained.genotype, **trained.sizes
    )
    params = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    assert written["params"] == params
    # What is held out is not among the statistics that normalise the test split.
    data = retraining.training().feed
    used = np.asarray(data.train.half.ids)[np.asarray(data.train.half.weights) > 0]
    mean, std = channel_statistics(load("digits", max_examples=EXAMPLES).images[used])
    test = load("digits", split="test", max_examples=50)
    images = (test.images / np.float32(255) - mean) / std
    # The file says which images it takes, so that nobody has to know.
    again, described = interop.load(folder / WEIGHTS)
    said = described.images
    assert said.shape == trained.image_shape == test.image_shape
    np.testing.assert_allclose(said.mean, mean, rtol=1e-6)
    np.testing.assert_allclose(said.std, std, rtol=1e-6)
    np.testing.assert_allclose(said.normalise(test.images), images, atol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, again, variables)
    logits = network.apply(
        variables, jnp.asarray(images, jnp.float32), trained.genotype, **trained.sizes
    )
    hits = np.asarray(logits).argmax(axis=1) == test.labels
    assert result.test["accuracy"] == pytest.approx(hits.mean(), abs=1e-6)


def test_no_example_is_both_trained_on_and_held_out():
    data = retraining.training().feed
    parts = [
        set(np.asarray(part.half.ids)[np.asarray(part.half.weights) > 0].tolist())
        for part in (data.train, data.valid)
    ]
    assert (len(parts[0]), len(parts[1])) == (60, 30)
    assert not parts[0] & parts[1]


def counting(trained: retrain.Training) -> tuple[retrain.Training, list[str]]:
    asked: list[str] = []

    def evaluate(state, split: str):
        asked.append(split)
        return trained.evaluate(state, split)

    return trained._replace(evaluate=evaluate), asked


def test_the_test_split_is_evaluated_once_and_last(tmp_path):
    trained, asked = counting(retraining.training())
    for dispatches in (1, 2):
        assert retraining.run(trained, tmp_path, stop=after(dispatches)) is None
    assert "test" not in asked
    assert retraining.run(trained, tmp_path) is not None
    assert asked.count("test") == 1


def test_all_examples_may_be_trained_on(tmp_path):
    trained = retraining.prepare(retraining.feed(valid_fraction=0.0))
    assert trained.feed.steps_per_epoch == 6
    result = retraining.run(trained, tmp_path)
    assert result.valid == {}
    assert "valid" not in {row["phase"] for row in rows(tmp_path)}
    assert "valid_accuracy" not in json.loads((tmp_path / RESULT).read_text())


# --- stopped ---------------------------------------------------------------------


@pytest.mark.parametrize("dispatches", range(len(STOPS)))
def test_a_stopped_training_goes_on_to_the_same_bits(
    tmp_path, dispatches: int, undisturbed
):
    trained = retraining.training()
    assert retraining.run(trained, tmp_path, stop=after(dispatches)) is None
    assert not (tmp_path / RESULT).exists()
    assert retraining.final_state(trained, tmp_path).step == STOPS[dispatches]
    folder, result = undisturbed
    assert retraining.run(trained, tmp_path) == result
    states = [retraining.final_state(trained, f) for f in (folder, tmp_path)]
    assert fingerprint(states[0]) == fingerprint(states[1])
    assert (tmp_path / WEIGHTS).read_bytes() == (folder / WEIGHTS).read_bytes()
    if STOPS[dispatches] in (0, 3, 4, 7):
        assert without_times(rows(tmp_path)) == without_times(rows(folder))


def test_the_length_of_a_dispatch_changes_no_bit(tmp_path, undisturbed):
    folder, result = undisturbed
    trained = retraining.training()
    assert retraining.run(trained, tmp_path, steps_per_dispatch=100) == result
    states = [retraining.final_state(trained, f) for f in (folder, tmp_path)]
    assert fingerprint(states[0]) == fingerprint(states[1])


def test_a_seed_decides_the_weights():
    states = [
        retraining.training()._replace(**other).new_state()
        for other in ({}, {"new_state": retraining.prepare(
            retraining.training().feed, seed=1).new_state})
    ]  # fmt: skip
    kernels = [np.asarray(s.params["stem"][0]["kernel"]) for s in states]
    assert (kernels[0] != kernels[1]).mean() > 0.9


# --- several devices -------------------------------------------------------------


def four() -> retrain.Training:
    return retraining.prepare(
        retraining.feed(number=4), recipe=RECIPE._replace(micro_batches=2)
    )


def test_four_devices_train_as_one_does(tmp_path):
    """Micro-batches, drop path, moments, a ragged batch and the average among it."""
    one = retraining.prepare(retraining.feed(), recipe=RECIPE._replace(micro_batches=2))
    results = [
        retraining.run(trained, tmp_path / name)
        for name, trained in (("one", one), ("four", four()))
    ]
    states = [retraining.final_state(one, tmp_path / name) for name in ("one", "four")]
    for a, b in zip(
        jax.tree.leaves(states[0].evaluated),
        jax.tree.leaves(states[1].evaluated),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-4)
    for name in results[0].test:
        assert results[0].test[name] == pytest.approx(results[1].test[name], abs=1e-3)
    # One device goes on with what four have saved.
    (tmp_path / "four" / RESULT).unlink()
    assert retraining.run(one, tmp_path / "four").test["loss"] == pytest.approx(
        results[0].test["loss"], abs=1e-3
    )


@pytest.mark.parametrize(
    ("number", "micro", "message"),
    [
        (1, 3, "micro_batches is 3; it must divide a batch of 16"),
        (4, 8, "micro_batches is 8; it must divide a batch of 16 on 4 devices"),
        (3, 1, "batch_size is 16; it must be a multiple of the 3 devices"),
    ],
)
def test_a_batch_that_is_not_shared_evenly_is_refused(number, micro, message):
    with pytest.raises(InputError, match=message):
        retraining.prepare(
            retraining.feed()._replace(devices=Devices(number, BATCH)),
            recipe=RECIPE._replace(micro_batches=micro),
        )


# --- from a stream ---------------------------------------------------------------


class Numbers:
    """Batches of the digits by number, as a stream of files would give them."""

    def __init__(self, split: str, number: int, *, shuffled: bool = False):
        self._data = load("digits", split=split, max_examples=number)
        self._shuffled = shuffled
        self.opened: list[int] = []
        self.steps_per_epoch = -(-number // BATCH)

    def batches(self, *, start: int = 0, stop: int | None = None):
        self.opened.append(start)
        index = start
        while stop is None or index < stop:
            yield self._batch(index)
            index += 1

    def _batch(self, index: int) -> Batch:
        epoch, step = divmod(index, self.steps_per_epoch)
        number = len(self._data.labels)
        order = np.arange(number)
        if self._shuffled:
            order = np.random.default_rng(epoch).permutation(number)
        at = step * BATCH + np.arange(BATCH)
        ids = order[at % number].astype(np.int32)
        weights = (at < number).astype(np.float32)
        images, labels = self._data.images[ids], self._data.labels[ids]
        return Batch(images, labels, ids, ids, weights)


@functools.cache
def streamed() -> retrain.Training:
    return retraining.prepare(
        retrain.streamed(
            Numbers("train", 60, shuffled=True),
            Numbers("test", 50),
            valid=Numbers("train", 20),
            mean=[0.5],
            std=[0.25],
            devices=Devices(1, BATCH),
        )
    )


def test_a_stream_is_gone_on_with_where_it_was_stopped(tmp_path):
    trained = streamed()
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    result = retraining.run(trained, whole)
    trained.feed.train.opened.clear()
    assert retraining.run(trained, parts, stop=after(1)) is None
    assert retraining.run(trained, parts) == result
    assert trained.feed.train.opened == [0, 3]
    states = [retraining.final_state(trained, folder) for folder in (whole, parts)]
    assert fingerprint(states[0]) == fingerprint(states[1])
    assert without_times(rows(whole)) == without_times(rows(parts))
    assert {row["phase"] for row in rows(whole)} == {"train", "valid", "result"}


def test_a_stream_is_measured_as_the_device_measures():
    """The same examples, from either."""
    data = retraining.training().feed
    state = retraining.training().new_state()
    ours = streamed().feed._replace(mean=data.train.mean, std=data.train.std)
    measure = retrain.make_measure(retraining.training().net)
    one, other = (
        jax.device_get(feed.evaluate(measure)(state, "test")) for feed in (data, ours)
    )
    assert one["count"] == other["count"] == 50
    for name in one:
        assert float(one[name]) == pytest.approx(float(other[name]), rel=1e-5)


# --- broken ----------------------------------------------------------------------


def test_a_learning_rate_that_is_too_large_is_no_result(tmp_path):
    recipe = RECIPE._replace(learning_rate=1e38, clip_norm=0.0)
    trained = retraining.prepare(retraining.feed(), recipe=recipe)
    with pytest.raises(NotFiniteError, match="at step 2: loss is nan"):
        retraining.run(trained, tmp_path)
    assert not (tmp_path / RESULT).exists()
    assert not (tmp_path / WEIGHTS).exists()


def test_a_test_split_of_other_images_is_refused():
    train = load("digits", max_examples=EXAMPLES)
    test = train._replace(images=train.images[:, :6])
    with pytest.raises(InputError, match=r"image_shape of the test split must be"):
        retrain.resident(train, test, devices=Devices(1, BATCH))
