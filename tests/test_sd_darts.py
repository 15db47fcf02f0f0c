"""Voting teachers in the loss of the weights: when, of what, and how much."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy

from nasjax import losses, methods, schedules, spaces
from nasjax.architecture import Mixture
from nasjax.bilevel import summarise
from nasjax.data.batches import Batch
from nasjax.methods.sd_darts import add_voting_teachers
from nasjax.search import epoch as epochs
from tests import catalogue
from tests.catalogue import STEPS, compiled

EXAMPLES, CLASSES, BATCH = 6, 3, 3
BATCHES = ([4, 0, 2], [5, 1, 3])


def batch(rows, weights=(1.0, 1.0, 1.0)):
    rows = jnp.asarray(rows, jnp.int32)
    return Batch(
        images=jnp.zeros((BATCH, 1, 1, 1)),
        labels=jnp.zeros(BATCH, jnp.int32),
        ids=rows + 100,  # a memory is read by rows, not by ids
        rows=rows,
        weights=jnp.asarray(weights),
    )


def said(epoch):
    """What the supernet says of every example in an epoch."""
    rng = np.random.default_rng(epoch)
    return rng.dirichlet(np.ones(CLASSES), EXAMPLES).astype(np.float32)


LOGITS = np.random.default_rng(99).normal(size=(BATCH, CLASSES)).astype(np.float32)


class Taught:
    """A method's memory and added loss, compiled, without a network."""

    def __init__(self, method):
        self.memory = method.init_memory(EXAMPLES, CLASSES)
        self._remember = compiled(method.remember)
        self._loss = compiled(functools.partial(self._added, method))

    @staticmethod
    def _added(method, memory, data, logits, epoch, progress):
        terms = methods.Terms(
            space=spaces.nasbench201(),
            alpha={},
            architecture={},
            logits=logits,
            batch=data,
            memory=memory,
            progress=progress,
            epoch=epoch,
            forward=lambda architecture: logits,
            mean=functools.partial(losses.weighted_mean, weights=data.weights),
        )
        return method.weight_loss(terms)

    def loss(self, data, epoch, progress=0.5, logits=LOGITS):
        arguments = data, jnp.asarray(logits), jnp.int32(epoch), jnp.float32(progress)
        return float(self._loss(self.memory, *arguments))

    def remember(self, data, probs, epoch):
        self.memory = self._remember(
            self.memory, data, jnp.asarray(probs), jnp.int32(epoch)
        )

    def epoch(self, epoch):
        """One epoch of all batches; the loss of each."""
        values = []
        for rows in BATCHES:
            values.append(self.loss(batch(rows), epoch))
            self.remember(batch(rows), said(epoch)[rows], epoch)
        return values


def kl(teacher, logits=LOGITS, weights=(1.0, 1.0, 1.0)):
    student = scipy.special.softmax(logits.astype(np.float64), axis=1)
    each = scipy.special.rel_entr(teacher.astype(np.float64), student).sum(axis=1)
    return np.average(each, weights=weights)


# --- warm-up and window ---------------------------------------------------------


@pytest.mark.parametrize(("warmup", "window"), [(4, 2), (4, 1), (3, 3)])
def test_teachers_teach_from_the_warm_up_on_with_their_full_vote(warmup, window):
    """Not in epoch warmup - 1; in epoch warmup all K have voted; K are recorded."""
    taught = Taught(methods.sd_darts(warmup=warmup, window=window))
    for epoch in range(warmup + 3):
        values = taught.epoch(epoch)
        for rows, value in zip(BATCHES, values, strict=True):
            if epoch < warmup:
                assert value == 0.0
            else:
                voters = [said(e) for e in range(epoch - window, epoch)]
                expected = kl(np.mean(voters, axis=0)[rows])
                assert value == pytest.approx(expected, rel=1e-5)
        written = np.asarray(taught.memory.epochs)
        recorded = set(range(warmup - window, epoch + 1))
        kept = set(sorted(recorded)[-window:])
        assert set(written[written >= 0].tolist()) == kept
    assert taught.memory.probs.shape == (window, EXAMPLES, CLASSES)


def test_without_a_warm_up_teaching_starts_at_the_first_vote():
    taught = Taught(methods.sd_darts(warmup=0, window=2))
    assert taught.epoch(0) == [0.0, 0.0]
    values = taught.epoch(1)
    expected = [kl(said(0)[rows]) for rows in BATCHES]
    assert values == pytest.approx(expected, rel=1e-5)


def test_an_example_without_a_vote_has_no_term():
    """It still counts in the mean, with 0."""
    taught = Taught(methods.sd_darts(warmup=1, window=1))
    taught.remember(batch([0, 1, 2]), said(0)[[0, 1, 2]], 0)
    value = taught.loss(batch([0, 1, 5]), 1)
    student = scipy.special.softmax(LOGITS.astype(np.float64), axis=1)
    each = scipy.special.rel_entr(said(0)[:2].astype(np.float64), student[:2])
    assert value == pytest.approx(each.sum() / 3, rel=1e-5)
    assert taught.loss(batch([3, 4, 5]), 1) == 0.0
    assert taught.loss(batch([0, 1, 2]), 2) == 0.0  # the vote is too old


def test_what_fills_a_batch_up_is_neither_taught_nor_recorded():
    taught = Taught(methods.sd_darts(warmup=1, window=1))
    ragged = (1.0, 1.0, 0.0)
    taught.remember(batch([0, 1, 2], ragged), said(0)[[0, 1, 2]], 0)
    assert (np.asarray(taught.memory.epochs[0]) == 0).tolist() == [
        True, True, False, False, False, False,
    ]  # fmt: skip
    value = taught.loss(batch([0, 1, 1], ragged), 1)
    expected = kl(said(0)[[0, 1, 1]], weights=ragged)
    assert value == pytest.approx(expected, rel=1e-5)


def test_the_strength_follows_its_schedule():
    taught = Taught(
        methods.sd_darts(strength=schedules.linear(0.0, 4.0), warmup=1, window=1)
    )
    taught.epoch(0)
    plain = kl(said(0)[BATCHES[0]])
    for progress in (0.0, 0.25, 1.0):
        value = taught.loss(batch(BATCHES[0]), 1, progress)
        assert value == pytest.approx(4 * progress * plain, rel=1e-5)


@pytest.mark.parametrize(
    ("metric", "order"), [("euclidean", 2), ("manhattan", 1), ("cosine", None)]
)
def test_another_metric_takes_the_place_of_kl(metric, order):
    taught = Taught(methods.sd_darts(warmup=1, window=1, metric=metric))
    assert taught.epoch(0) == [0.0, 0.0]
    student = scipy.special.softmax(LOGITS.astype(np.float64), axis=1)
    for rows, value in zip(BATCHES, taught.epoch(1), strict=True):
        teacher = said(0)[rows].astype(np.float64)
        if order is None:
            unit = [v / np.linalg.norm(v, axis=1)[:, None] for v in (teacher, student)]
            each = 1 - (unit[0] * unit[1]).sum(axis=1)
        else:
            each = np.linalg.norm(teacher - student, ord=order, axis=1)
        assert value == pytest.approx(each.mean(), rel=1e-5)


# --- voting ---------------------------------------------------------------------


@pytest.mark.parametrize("decay", [0.0, 0.8])
def test_an_average_teaches_by_its_recurrence(decay):
    method = methods.sd_darts(warmup=3, window=2, voting="ema", decay=decay)
    taught, average = Taught(method), None
    for epoch in range(6):
        values = taught.epoch(epoch)
        if epoch < 3:
            assert values == [0.0, 0.0]
        else:
            expected = [kl(average[rows]) for rows in BATCHES]
            assert values == pytest.approx(expected, rel=1e-5)
        if epoch >= 1:  # recording starts K before the warm-up ends
            own = said(epoch).astype(np.float64)
            average = own if epoch == 1 else decay * average + (1 - decay) * own
    assert taught.memory.probs.shape == (1, EXAMPLES, CLASSES)


def test_entries_of_bfloat16_teach_to_their_rounding():
    taught = Taught(methods.sd_darts(warmup=1, window=1, ring_dtype="bfloat16"))
    assert taught.memory.probs.dtype == jnp.bfloat16
    taught.epoch(0)
    stored = said(0).astype(jnp.bfloat16).astype(np.float32)
    student = jax.nn.log_softmax(jnp.asarray(LOGITS))
    rows = BATCHES[0]
    cross = scipy.special.xlogy(stored, stored)[rows] - stored[rows] * student
    assert taught.loss(batch(rows), 1) == pytest.approx(
        float(cross.sum(axis=1).mean()), rel=1e-4
    )


def test_the_gradient_is_the_students_and_none_is_the_teachers():
    method = methods.sd_darts(warmup=1, window=1, strength=schedules.constant(0.7))
    taught = Taught(method)
    taught.epoch(0)
    rows = BATCHES[0]

    def loss(logits, probs):
        memory = taught.memory._replace(probs=probs)
        arguments = jnp.int32(1), jnp.float32(0.5)
        return Taught._added(method, memory, batch(rows), logits, *arguments)

    own, teachers = compiled(jax.grad(loss, argnums=(0, 1)))(
        jnp.asarray(LOGITS), taught.memory.probs
    )
    student = scipy.special.softmax(LOGITS.astype(np.float64), axis=1)
    expected = 0.7 * (student - said(0)[rows]) / BATCH
    np.testing.assert_allclose(own, expected, atol=1e-6)
    assert not teachers.any()


# --- in the step ----------------------------------------------------------------


def test_the_step_records_and_is_taught_what_the_supernet_said():
    """The first step of the second epoch, from its batch, by the network itself."""
    small = catalogue.searched("sd_darts")
    state, _ = small.advance(small.start, STEPS)
    after, sums = small.advance(state, STEPS + 1)
    data = catalogue.batch_of(small, STEPS, "train")
    # Alpha's pass comes first.
    mixture = {"cell": Mixture(jax.nn.softmax(after.alpha["cell"]))}
    logits = compiled(small.net.apply)(state.weights, mixture, data.images)
    real = np.asarray(data.weights) > 0
    rows = np.asarray(data.rows)[real]
    now = scipy.special.softmax(np.float64(logits), axis=1)
    np.testing.assert_allclose(after.memory.probs[0, rows], now[real], atol=1e-5)
    assert (np.asarray(after.memory.epochs)[0, rows] == 1).all()
    others = np.delete(np.asarray(after.memory.epochs)[0], rows)
    assert set(others.tolist()) <= {0, -(2**30)}
    before = np.float64(np.asarray(state.memory.probs)[0, rows])
    expected = scipy.special.rel_entr(before, now[real]).sum(axis=1).mean()
    means = summarise(jax.device_get(sums))
    assert means["weight_added_loss"] == pytest.approx(expected, rel=1e-3)
    assert means["arch_added_loss"] == 0.0
    assert expected > 1e-4


def test_an_epoch_records_every_example_once():
    small = catalogue.searched("sd_darts")
    state, _ = small.advance(small.start, STEPS)
    written = np.asarray(state.memory.epochs)[0]
    real = np.asarray(small.data.train.weights).ravel() > 0
    assert written.shape == real.shape
    np.testing.assert_array_equal(written == 0, real)
    assert epochs.steps_per_epoch(small.data) == STEPS


# --- refusals -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"window": 0}, "window=0 is not at least 1"),
        ({"warmup": -1}, "warmup=-1 is not at least 0"),
        ({"metric": "l2"}, "metric='l2' is not one of kl, euclidean, manhattan, cos"),
        ({"voting": "median"}, "voting='median' is not one of mean, ema"),
        ({"decay": 1.0}, r"decay=1.0 is not in \[0, 1\)"),
        ({"decay": -0.1}, r"decay=-0.1 is not in \[0, 1\)"),
        ({"ring_dtype": "float16"}, "ring_dtype='float16' is not float32 or bfloat16"),
    ],
)
@pytest.mark.parametrize("make", [methods.sd_darts, methods.stc_nas_sd])
def test_bad_settings_are_refused(make, settings, message):
    with pytest.raises(ValueError, match=message):
        make(**settings)


def test_two_memories_in_one_method_are_refused():
    with pytest.raises(ValueError, match="sd_darts has a memory already"):
        add_voting_teachers(methods.sd_darts())
