"""Teachers kept as weights: when they are taken, of what, and what they teach."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy

from nasjax import methods, schedules
from nasjax.architecture import Mixture
from nasjax.bilevel import summarise
from nasjax.methods.msg_das import gumbel_paths
from nasjax.methods.weight_teachers import add_weight_teachers, vote
from nasjax.runtime.finite import first_not_finite
from nasjax.runtime.loop import fingerprint
from nasjax.runtime.parallel import Devices
from tests import catalogue, searching
from tests.catalogue import BATCH, STEPS, assert_same_bits, compiled

WARMUP, WINDOW = 2, 2


@functools.cache
def small(num_devices=1):
    method = methods.sd_darts(teacher="weights", warmup=WARMUP, window=WINDOW)
    return catalogue.search(method, num_devices)


@functools.cache
def ends():
    """The states after each epoch, and the sums of its metrics."""
    search = small()
    state, found = search.start, []
    for epoch in range(WARMUP + 2):
        state, sums = search.advance(state, (epoch + 1) * STEPS)
        found.append((jax.device_get(state), summarise(jax.device_get(sums))))
    return found


# --- when, and of what ------------------------------------------------------------


def test_the_supernets_of_the_last_epochs_are_kept_to_the_bit():
    for epoch, (state, _) in enumerate(ends()):
        kept = state.snapshots
        there = range(max(0, epoch - WINDOW + 1), epoch + 1)
        assert sorted(e for e in kept.epochs.tolist() if e >= 0) == list(there)
        for past in there:
            slot = kept.epochs.tolist().index(past)
            one = jax.tree.map(lambda leaf: leaf[slot], (kept.weights, kept.alpha))  # noqa: B023
            before = ends()[past][0]
            assert_same_bits(one, (before.weights, before.alpha))


def test_nothing_is_kept_in_the_middle_of_an_epoch():
    state = ends()[0][0]
    after, _ = small().advance(jax.device_put(state), STEPS + 1)
    assert_same_bits(after.snapshots, state.snapshots)


def test_teachers_teach_from_the_warm_up_on():
    added = [values["weight_added_loss"] for _, values in ends()]
    assert added[:WARMUP] == [0.0] * WARMUP
    assert min(added[WARMUP:]) > 1e-4
    assert all(values["arch_added_loss"] == 0.0 for _, values in ends())


def test_the_student_is_taught_by_the_mean_of_what_they_say_of_its_batch():
    """Of the first step after an epoch, by the network itself."""
    search, state = small(), jax.device_put(ends()[WARMUP][0])
    number = (WARMUP + 1) * STEPS
    after, sums = search.advance(state, number + 1)
    data = catalogue.batch_of(search, number, "train")

    def said(weights, alpha):
        mixture = {"cell": Mixture(jax.nn.softmax(alpha["cell"]))}
        logits = compiled(search.net.apply)(weights, mixture, data.images)
        return scipy.special.softmax(np.float64(logits), axis=1)

    past = [ends()[epoch][0] for epoch in (WARMUP - 1, WARMUP)]
    teacher = np.mean([said(one.weights, one.alpha) for one in past], axis=0)
    student = said(state.weights, after.alpha)  # alpha's pass comes first
    each = scipy.special.rel_entr(teacher, student).sum(axis=1)
    expected = np.average(each, weights=np.asarray(data.weights))
    means = summarise(jax.device_get(sums))
    assert means["weight_added_loss"] == pytest.approx(expected, rel=1e-3)
    assert expected > 1e-4


def test_a_vote_counts_the_epochs_of_its_window_alone():
    probs = np.random.default_rng(0).dirichlet(np.ones(3), (3, 4)).astype(np.float32)
    make = methods.weight_teachers.init_snapshots
    kept = make({"p": jnp.zeros((4, 3))}, {}, window=3)
    for epoch in (4, 6):  # not 5
        kept = methods.weight_teachers.take_snapshot(
            kept, {"p": jnp.asarray(probs[epoch % 3])}, {}, epoch=epoch
        )

    def rerun(weights, alpha):
        return weights["p"]

    for epoch, there in ((4, []), (5, [4]), (7, [4, 6]), (8, [6]), (10, [])):
        said, valid = vote(kept, rerun, epoch=epoch)
        assert valid.tolist() == [bool(there)] * 4
        expected = np.mean([probs[e % 3] for e in there], axis=0) if there else 0.0
        np.testing.assert_allclose(said, np.broadcast_to(expected, (4, 3)), rtol=1e-6)


# --- composition -----------------------------------------------------------------


def test_without_strength_the_search_is_the_one_without_teachers_to_the_bit():
    none = add_weight_teachers(
        methods.darts(), warmup=0, window=1, strength=schedules.constant(0.0)
    )
    found = []
    for search in (catalogue.searched("darts"), catalogue.search(none)):
        state = search.start
        for stop in (STEPS, STEPS + 1):
            state, _ = search.advance(state, stop)
        found.append(state)
    assert_same_bits(found[1]._replace(snapshots=()), found[0])


def test_a_teacher_of_the_same_weights_and_alpha_says_what_the_student_says():
    """Of exclusive sub-graphs as well: with their draws, and the mean over them."""
    paths = gumbel_paths(k=2, temperature=schedules.linear(10.0, 1.0))
    method = add_weight_teachers(paths, warmup=0, window=1, metric="manhattan")
    search = catalogue.search(method._replace(arch_start=99))
    state, _ = search.advance(search.start, STEPS)
    after, sums = search.advance(state, STEPS + 1)
    data = catalogue.batch_of(search, STEPS, "train")
    step_key = jax.random.fold_in(state.key, state.step)
    runs = method.relax(
        jax.random.split(step_key, 3)[2],
        state.alpha,
        jnp.float32(1 / catalogue.EPOCHS),
        search.net.space,
    )
    probs = []
    for k in range(2):
        one = jax.tree.map(lambda leaf: leaf[k], runs)  # noqa: B023
        logits = compiled(search.net.apply)(state.weights, one, data.images)
        probs.append(scipy.special.softmax(np.float64(logits), axis=1))
    # Each sub-graph is taught by the mean of both.
    each = [np.abs(np.mean(probs, axis=0) - one).sum(axis=1) for one in probs]
    expected = np.average(np.mean(each, axis=0), weights=np.asarray(data.weights))
    means = summarise(jax.device_get(sums))
    assert means["weight_added_loss"] == pytest.approx(expected, rel=1e-3)
    assert expected > 1e-3
    assert_same_bits(after.snapshots, state.snapshots)


def test_a_method_keeps_a_ring_and_snapshots_at_a_time():
    both = add_weight_teachers(methods.stc_nas_sd())
    assert both.init_memory is not methods.stc_nas().init_memory
    with pytest.raises(ValueError, match="has snapshots already"):
        add_weight_teachers(both)


# --- devices, resume, seeds -------------------------------------------------------


def test_four_devices_keep_and_ask_the_teachers_of_one():
    assert jax.local_device_count() >= 4
    four = small(4)
    number = (WARMUP + 1) * STEPS
    state = four.devices.shard_state(jax.device_put(ends()[WARMUP - 1][0]))
    state, sums = four.advance(state, number)
    for leaf in jax.tree.leaves(state.snapshots):
        rows = catalogue.bits(leaf)
        assert (rows == rows[:1]).all()
    gathered = jax.device_get(four.devices.gather_state(state))
    expected, values = ends()[WARMUP]
    pairs = zip(*map(jax.tree.leaves, (gathered, expected)), strict=True)
    for one, other in pairs:
        np.testing.assert_allclose(
            catalogue.bits(one), catalogue.bits(other), rtol=1e-4, atol=1e-5
        )
    means = summarise(jax.device_get(sums))
    assert means == pytest.approx(values, rel=1e-4, abs=1e-5)
    back = Devices(2, BATCH)
    assert_same_bits(back.gather_state(back.shard_state(expected)), expected)


def test_snapshots_survive_a_stop(tmp_path):
    taught = methods.sd_darts(teacher="weights", warmup=1, window=1)
    search = searching.prepare(searching.linear_net(), taught)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    genotype = searching.run(search, whole)
    asked = iter([False, False, False, True])
    assert searching.run(search, parts, stop=lambda: next(asked)) is None
    assert searching.run(search, parts) == genotype
    states = [searching.final_state(search, folder) for folder in (whole, parts)]
    assert fingerprint(states[0]) == fingerprint(states[1])
    assert states[0].snapshots.epochs.tolist() == [searching.EPOCHS - 1]
    assert first_not_finite({"snapshots": states[0].snapshots.weights}) is None


# --- refusals ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"teacher": "logits"}, "teacher='logits' is not one of outputs, weights"),
        ({"teacher": "weights", "window": 0}, "window=0 is not at least 1"),
        ({"teacher": "weights", "voting": "ema"}, "are of teacher='outputs'; kept"),
        ({"teacher": "weights", "ring_dtype": "bfloat16"}, "kept weights take mean"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        methods.sd_darts(**settings)
