"""The ring of teachers against a dictionary, and distillation against PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy
from hypothesis import given, settings
from hypothesis import strategies as st

from nasjax import losses, teachers

#: The first example compiles, which no deadline foresees.
repeatable = settings(deadline=None, derandomize=True, max_examples=40)
EXAMPLES, CLASSES, BATCH = 5, 3, 4

record = jax.jit(teachers.record)
vote = jax.jit(teachers.vote)
record_average = jax.jit(teachers.record_average)


def probabilities(seed, batch=BATCH):
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.ones(CLASSES), batch).astype(np.float32)


def new_ring(window, **settings):
    return teachers.init_ring(
        window=window, num_examples=EXAMPLES, num_classes=CLASSES, **settings
    )


def put(ring, ids, probs, epoch):
    return record(ring, jnp.asarray(ids, jnp.int32), jnp.asarray(probs), epoch=epoch)


def votes(ring, ids, epoch):
    return vote(ring, jnp.asarray(ids, jnp.int32), epoch=epoch)


# --- the ring -------------------------------------------------------------------


class Model:
    """What a ring means: what was last said of an example in each epoch.

    Entries of one residue modulo K stand in one place, so the later one is left.
    """

    def __init__(self, window):
        self.window, self.said = window, {}

    def record(self, ids, probs, epoch):
        for example, row in zip(ids, probs, strict=True):
            if example < EXAMPLES:
                own = self.said.setdefault(example, {})
                for old in [e for e in own if (e - epoch) % self.window == 0]:
                    del own[old]
                own[epoch] = row

    def vote(self, example, epoch):
        own = self.said.get(example, {})
        valid = [own[e] for e in range(epoch - self.window, epoch) if e in own]
        return np.mean(valid, axis=0) if valid else None


#: Epochs passed since the batch before (0 stays, 3 drops some), and its examples, of
#: which those from EXAMPLES on only fill the batch up.
BATCHES = st.tuples(
    st.integers(0, 3), st.permutations(range(EXAMPLES + 2)).map(lambda p: p[:BATCH])
)


@repeatable
@given(st.integers(1, 3), st.lists(BATCHES, min_size=1, max_size=10))
def test_a_ring_is_a_dictionary_of_epochs(window, batches):
    ring, model, epoch = new_ring(window), Model(window), 0
    for number, (passed, ids) in enumerate(batches):
        epoch += passed
        for at in (epoch, epoch + 1):
            probs, valid = votes(ring, range(EXAMPLES), at)
            for example in range(EXAMPLES):
                expected = model.vote(example, at)
                assert bool(valid[example]) == (expected is not None)
                if expected is None:
                    assert not np.asarray(probs[example]).any()
                else:
                    np.testing.assert_allclose(probs[example], expected, rtol=1e-6)
        said = probabilities(number)
        ring = put(ring, ids, said, epoch)
        model.record(ids, said, epoch)


@pytest.mark.parametrize("window", [1, 2, 3])
def test_a_vote_is_the_mean_of_the_last_k_epochs(window):
    ring = new_ring(window)
    said = [probabilities(epoch, EXAMPLES) for epoch in range(5)]
    for epoch in range(5):
        probs, valid = votes(ring, range(EXAMPLES), epoch)
        assert valid.all() if epoch else not valid.any()
        if epoch:
            expected = np.mean(said[max(epoch - window, 0) : epoch], axis=0)
            np.testing.assert_allclose(probs, expected, rtol=1e-6)
        ring = put(ring, range(EXAMPLES), said[epoch], epoch)


def test_a_dropped_batch_leaves_no_stale_vote():
    """Example 0 misses epoch 1: epoch 2 has half its votes, epoch 3 none."""
    ring = put(new_ring(2), [0, 1], probabilities(0, 2), 0)
    ring = put(ring, [1], probabilities(1, 1), 1)
    probs, valid = votes(ring, [0, 1, 2], 2)
    assert valid.tolist() == [True, True, False]
    np.testing.assert_allclose(probs[0], probabilities(0, 2)[0], rtol=1e-6)
    both = (probabilities(0, 2)[1] + probabilities(1, 1)[0]) / 2
    np.testing.assert_allclose(probs[1], both, rtol=1e-6)
    assert votes(ring, [0, 1, 2], 3)[1].tolist() == [False, True, False]
    assert votes(ring, [0, 1, 2], 4)[1].tolist() == [False, False, False]


def test_a_repeated_epoch_replaces_its_entries():
    """As after a resume in the middle of an epoch; it never votes for itself."""
    ring = put(new_ring(2), [0], probabilities(0, 1), 4)
    ring = put(ring, [0], probabilities(1, 1), 5)
    ring = put(ring, [0], probabilities(2, 1), 5)
    assert votes(ring, [0], 4)[1].tolist() == [False]
    np.testing.assert_allclose(votes(ring, [0], 5)[0], probabilities(0, 1), rtol=1e-6)
    expected = (probabilities(0, 1) + probabilities(2, 1)) / 2
    np.testing.assert_allclose(votes(ring, [0], 6)[0], expected, rtol=1e-6)


def test_ids_from_m_on_are_left_out():
    before = put(new_ring(2), range(BATCH), probabilities(0), 0)
    after = put(before, [EXAMPLES, EXAMPLES + 1, 10**6, 2**31 - 1], probabilities(1), 1)
    jax.tree.map(np.testing.assert_array_equal, after, before)


def test_an_empty_ring_has_no_vote_in_any_epoch():
    for epoch in (0, 1, 600):
        probs, valid = votes(new_ring(3), range(EXAMPLES), epoch)
        assert not valid.any()
        assert not probs.any()


def test_bfloat16_entries_vote_in_float32():
    ring = new_ring(2, dtype=jnp.bfloat16)
    said = [probabilities(epoch, EXAMPLES) for epoch in range(2)]
    for epoch in range(2):
        ring = put(ring, range(EXAMPLES), said[epoch], epoch)
    assert ring.probs.dtype == jnp.bfloat16
    probs, valid = votes(ring, range(EXAMPLES), 2)
    assert probs.dtype == jnp.float32
    assert valid.all()
    # Split an ulp of eight bits of mantissa.
    np.testing.assert_allclose(probs, np.mean(said, axis=0), rtol=2**-8)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_bytes_of_a_ring_are_those_of_its_arrays(dtype):
    ring = new_ring(3, dtype=jnp.dtype(dtype))
    expected = teachers.ring_bytes(
        window=3, num_examples=EXAMPLES, num_classes=CLASSES, dtype=jnp.dtype(dtype)
    )
    assert sum(leaf.nbytes for leaf in ring) == expected


@pytest.mark.parametrize("name", ["window", "num_examples", "num_classes"])
def test_an_empty_size_is_refused(name):
    sizes = {"window": 2, "num_examples": 5, "num_classes": 3} | {name: 0}
    with pytest.raises(ValueError, match=f"{name} is 0; it is at least 1"):
        teachers.init_ring(**sizes)


# --- the running average --------------------------------------------------------


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9])
def test_the_average_is_its_recurrence(decay):
    """v <- d v + (1 - d) p from v = p, whatever epochs an example missed."""
    ring, expected = new_ring(1), {}
    for epoch, ids in enumerate([[0, 1], [1, 2], [0, 1], [EXAMPLES, 1]]):
        said = probabilities(epoch, 2)
        ids_ = jnp.asarray(ids, jnp.int32)
        ring = record_average(ring, ids_, jnp.asarray(said), epoch=epoch, decay=decay)
        for example, p in zip(ids, said.astype(np.float64), strict=True):
            before = expected.get(example, p)
            expected[example] = decay * before + (1 - decay) * p
    probs, seen = teachers.recall_average(ring, jnp.arange(EXAMPLES))
    assert seen.tolist() == [True, True, True, False, False]
    assert probs.dtype == jnp.float32
    for example in range(3):
        np.testing.assert_allclose(probs[example], expected[example], rtol=1e-5)
    assert not probs[3:].any()


# --- distillation ---------------------------------------------------------------


def pair(seed=0, batch=7):
    rng = np.random.default_rng(seed)
    teacher = rng.dirichlet(np.ones(CLASSES), batch).astype(np.float32)
    teacher[0] = [1.0, 0.0, 0.0]  # sure of a class
    return teacher, (3 * rng.normal(size=(batch, CLASSES))).astype(np.float32)


def test_distillation_is_scipys_relative_entropy():
    teacher, logits = pair()
    student = scipy.special.softmax(logits.astype(np.float64), axis=1)
    expected = scipy.special.rel_entr(teacher.astype(np.float64), student).sum(axis=1)
    each = losses.kl_per_example(jnp.asarray(teacher), jnp.asarray(logits))
    np.testing.assert_allclose(each, expected, rtol=1e-5, atol=1e-6)
    mean = losses.distillation_kl(jnp.asarray(teacher), jnp.asarray(logits))
    assert float(mean) == pytest.approx(expected.mean(), rel=1e-5)


def test_distillation_is_pytorchs_batchmean_with_its_gradient():
    torch = pytest.importorskip("torch")
    teacher, logits = pair(1)
    there = torch.tensor(logits, requires_grad=True)
    loss = torch.nn.functional.kl_div(
        torch.log_softmax(there, dim=1), torch.tensor(teacher), reduction="batchmean"
    )
    loss.backward()
    value, gradient = jax.value_and_grad(losses.distillation_kl, argnums=1)(
        jnp.asarray(teacher), jnp.asarray(logits)
    )
    assert float(value) == pytest.approx(loss.item(), rel=1e-5)
    np.testing.assert_allclose(gradient, there.grad.numpy(), atol=1e-6)
    student = scipy.special.softmax(logits.astype(np.float64), axis=1)
    np.testing.assert_allclose(gradient, (student - teacher) / 7, atol=1e-6)


@pytest.mark.parametrize("loss", [losses.distillation_kl, losses.soft_cross_entropy])
def test_a_teacher_gets_no_gradient(loss):
    """Not through its probabilities, and not through what they were made of."""
    teacher, logits = map(jnp.asarray, pair())

    def taught_by(teacher_logits):
        return loss(jax.nn.softmax(teacher_logits), logits).sum()

    assert not jax.grad(lambda t: loss(t, logits).sum())(teacher).any()
    assert not jax.grad(taught_by)(logits + 1.0).any()


def test_a_student_that_says_what_the_ring_holds_has_no_loss():
    said = probabilities(3, EXAMPLES)
    ring = put(new_ring(1), range(EXAMPLES), said, 0)
    probs, _ = votes(ring, range(EXAMPLES), 1)
    value, gradient = jax.value_and_grad(losses.distillation_kl, argnums=1)(
        probs, jnp.log(jnp.asarray(said))
    )
    assert abs(float(value)) < 1e-6
    np.testing.assert_allclose(gradient, np.zeros((EXAMPLES, CLASSES)), atol=1e-6)
