"""Recipes, one step and one measurement of a training, against oracles."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasjax import losses, network, retrain
from nasjax.base import InputError
from nasjax.data.batches import Batch
from nasjax.interop import pytorch
from nasjax.network import functions
from nasjax.retrain import recipe as recipes
from nasjax.retrain import step as steps
from tests.retraining import CLASSES, GENOTYPE, WITH_HEAD, net

STEPS = 4


@pytest.fixture(autouse=True, scope="module")
def quick_compilation():
    """Small shapes: most of the time would go into optimising what runs once."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


# --- label smoothing -------------------------------------------------------------


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_label_smoothing_is_the_cross_entropy_of_its_targets(smoothing: float):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(5, 7)).astype(np.float32)
    labels = np.array([0, 6, 3, 3, 1], np.int32)
    target = np.full((5, 7), smoothing / 7)
    target[np.arange(5), labels] += 1 - smoothing
    log = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    ours = losses.smoothed_cross_entropy_per_example(
        jnp.asarray(logits), jnp.asarray(labels), smoothing=smoothing
    )
    np.testing.assert_allclose(ours, -(target * log).sum(axis=1), rtol=1e-5)


# --- schedules -------------------------------------------------------------------


def rates(steps_per_epoch: int, **fields) -> list[float]:
    recipe = retrain.Recipe(**fields)
    recipe.check()
    rate = recipes.learning_rate(recipe, steps_per_epoch=steps_per_epoch)
    number = recipe.epochs * steps_per_epoch
    return jax.vmap(rate)(jnp.arange(number, dtype=jnp.int32)).tolist()


def test_the_cosine_is_pytorchs():
    torch = pytest.importorskip("torch")
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], 0.025)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
    theirs = []
    for _ in range(10):
        theirs += 3 * [optimizer.param_groups[0]["lr"]]
        optimizer.step()
        schedule.step()
    ours = rates(3, epochs=10, learning_rate=0.025)
    np.testing.assert_allclose(ours, theirs, atol=1e-8)


def test_the_exponential_falls_by_its_factor_an_epoch():
    fields = {"epochs": 5, "learning_rate": 0.1, "decay": "exponential"}
    by_epoch = rates(4, **fields)
    np.testing.assert_allclose(
        by_epoch, np.repeat(0.1 * 0.97 ** np.arange(5), 4), rtol=1e-6
    )
    by_step = rates(4, **fields, decay_every="step")
    np.testing.assert_allclose(by_step, 0.1 * 0.97 ** (np.arange(20) / 4), rtol=1e-6)


@pytest.mark.parametrize("decay", ["cosine", "linear"])
def test_warm_up_rises_to_the_rate_and_the_decay_falls_to_its_end(decay: str):
    fields = {
        "epochs": 10, "warmup_epochs": 2, "learning_rate": 0.5,
        "learning_rate_end": 0.1, "decay": decay,
    }  # fmt: skip
    found = np.array(rates(50, **fields, decay_every="step"))
    np.testing.assert_allclose(found[:100], 0.5 * np.arange(1, 101) / 100, rtol=1e-5)
    assert found[100] == 0.5
    assert (np.diff(found[100:]) < 0).all()
    last = 399 / 400
    wave = 0.5 * (1 + np.cos(np.pi * last)) if decay == "cosine" else 1 - last
    assert found[-1] == pytest.approx(0.1 + 0.4 * wave, rel=1e-4)
    by_epoch = np.array(rates(50, **fields)).reshape(10, 50)
    assert (by_epoch == by_epoch[:, :1]).all()
    np.testing.assert_allclose(by_epoch[:3, 0], [0.25, 0.5, 0.5])


def test_a_constant_rate_stays():
    assert set(rates(3, epochs=2, decay="constant", learning_rate=0.5)) == {0.5}


def test_drop_path_rises_from_nothing_by_epoch():
    rate = recipes.drop_path_rate(
        retrain.Recipe(epochs=4, drop_path_rate=0.2), steps_per_epoch=3
    )
    found = jax.vmap(rate)(jnp.arange(12, dtype=jnp.int32))
    np.testing.assert_allclose(found, np.repeat([0.0, 0.05, 0.1, 0.15], 3), atol=1e-7)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"decay": "cosin"}, "decay is 'cosin'; it must be one of cosine, linear"),
        ({"decay_every": "day"}, "decay_every is 'day'; it must be one of epoch, step"),
        ({"drop_path_rate": 1.0}, "drop_path_rate is 1.0; .* at least 0 and below 1"),
        ({"label_smoothing": -0.1}, "label_smoothing is -0.1"),
        ({"micro_batches": 0}, "micro_batches is 0; it must be at least 1"),
        ({"ema_decay": 1.0}, "ema_decay is 1.0"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"epochs": 3, "warmup_epochs": 3}, "warmup_epochs is 3; .* below the 3"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(fields: dict, message: str):
    with pytest.raises(InputError, match=message):
        retrain.Recipe(**fields).check()


# --- moving average --------------------------------------------------------------


def test_the_moving_average_follows_its_recurrence():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(30, 3)).astype(np.float32)
    expected = np.zeros(3)
    average = {"a": jnp.zeros(3)}
    for done, value in enumerate(values):
        kept = min(0.6, (1 + done) / (10 + done))
        expected = kept * expected + (1 - kept) * value
        average = steps.moving_average(
            average, {"a": jnp.asarray(value)}, jnp.int32(done), decay=0.6
        )
    np.testing.assert_allclose(average["a"], expected, rtol=1e-5)


# --- micro-batches ---------------------------------------------------------------


@pytest.mark.parametrize("number", [1, 2, 3])
def test_gradients_of_micro_batches_add_up_to_the_batchs(number: int):
    """Of a model without batch normalisation: the closed form of least squares."""
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(6, 4)), rng.normal(size=4)
    y, weights = rng.normal(size=6), np.array([1, 1, 1, 1, 0, 1.0])
    residual = weights * (x @ w - y)

    def gradient(stats, x, y, weights):
        def loss(w):
            errors = jnp.square(x @ w - y)
            return jnp.vdot(errors, weights) / 5, {"count": weights.sum()}

        found, sums = jax.grad(loss, has_aux=True)(jnp.asarray(w, jnp.float32))
        return found, stats + 1, sums

    parts = tuple(jnp.asarray(a, jnp.float32) for a in (x, y, weights))
    found, stats, sums = steps.accumulate(gradient, jnp.zeros(()), parts, number=number)
    np.testing.assert_allclose(found, 2 * x.T @ residual / 5, rtol=1e-4, atol=1e-5)
    assert stats == number  # one after the other
    assert sums["count"] == 5


def test_micro_batches_are_every_kth_row():
    seen = []

    def gradient(stats, rows):
        jax.debug.callback(lambda r: seen.append(r.tolist()), rows, ordered=True)
        return rows.sum(), stats, {}

    steps.accumulate(gradient, (), (jnp.arange(6.0),), number=3)
    jax.effects_barrier()
    assert seen == [[0, 3], [1, 4], [2, 5]]


# --- one step --------------------------------------------------------------------


def batch_of(size: int, *, pixels: int = 32, seed: int = 0) -> Batch:
    rng = np.random.default_rng(seed)
    images = rng.normal(size=(size, pixels, pixels, 3)).astype(np.float32)
    labels = rng.integers(0, CLASSES, size).astype(np.int32)
    ids = np.arange(size, dtype=np.int32)
    weights = np.ones(size, np.float32)
    return Batch(*map(jnp.asarray, (images, labels, ids, ids, weights)))


RECIPE = retrain.Recipe(
    epochs=2,
    learning_rate=0.1,
    weight_decay=0.01,
    clip_norm=1.0,
    nesterov=True,
    label_smoothing=0.1,
    auxiliary_weight=0.4,
    drop_path_rate=0.0,
)


def test_two_steps_are_pytorchs():
    """Both heads, smoothed labels, clipping, decay and Nesterov's momentum."""
    oracle = pytest.importorskip("tests.oracles.torch_network")
    torch = oracle.torch
    trained = net(WITH_HEAD, auxiliary=True, image_shape=(32, 32, 3))
    state = steps.init_state(jax.random.key(0), trained, RECIPE, steps_per_epoch=STEPS)
    twin = oracle.DartsNetwork(trained.genotype, **trained.sizes, auxiliary=True)
    named = partial(
        pytorch.to_state_dict,
        genotype=trained.genotype,
        **trained.sizes,
        auxiliary=True,
    )
    start = named(state.evaluated)
    twin.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in start.items()})
    optimizer = torch.optim.SGD(
        twin.parameters(), 0.1, momentum=0.9, weight_decay=0.01, nesterov=True
    )
    entropy = torch.nn.CrossEntropyLoss(label_smoothing=0.1)
    step = jax.jit(steps.make_step(trained, RECIPE, steps_per_epoch=STEPS))
    for seed in (0, 1):
        batch = batch_of(4, seed=seed)
        state, sums = step(state, batch)
        images = torch.from_numpy(np.array(batch.images)).permute(0, 3, 1, 2)
        labels = torch.from_numpy(np.array(batch.labels)).long()
        twin.train()
        logits, auxiliary = twin(images.contiguous())
        both = entropy(logits, labels), entropy(auxiliary, labels)
        optimizer.zero_grad()
        (both[0] + 0.4 * both[1]).backward()
        torch.nn.utils.clip_grad_norm_(twin.parameters(), 1.0)
        optimizer.step()
        assert float(sums["loss"]) / 4 == pytest.approx(both[0].item(), rel=1e-3)
        assert float(sums["auxiliary_loss"]) / 4 == pytest.approx(
            both[1].item(), rel=1e-3
        )
    for name, theirs in twin.state_dict().items():
        if "num_batches" not in name:
            ours, moved = np.asarray(named(state.evaluated)[name]), theirs.numpy()
            scale = max(np.abs(moved).max(), 0.1)
            assert np.abs(ours - moved).max() <= 2e-3 * scale, name


@pytest.fixture(scope="module")
def small():
    """A net without a head, its state, and a batch whose last example fills it up."""
    recipe = RECIPE._replace(auxiliary_weight=0.0, drop_path_rate=0.5, clip_norm=0.0)
    trained = net(GENOTYPE)
    state = steps.init_state(jax.random.key(0), trained, recipe, steps_per_epoch=1)
    batch = batch_of(8, pixels=8)
    batch = batch._replace(weights=batch.weights.at[7].set(0.0))
    return trained, recipe, state._replace(step=jnp.int32(1)), batch


def test_micro_batches_are_normalised_on_their_own(small):
    """The mean gradient of the parts, each with its own moments."""
    trained, recipe, state, batch = small
    make = partial(steps.make_step, trained, steps_per_epoch=1)
    # Slot s of the batch is slot s // 2 of its part: it would drop other paths.
    recipe = recipe._replace(
        momentum=0.0, nesterov=False, weight_decay=0.0, drop_path_rate=0.0
    )
    parts = [jax.tree.map(lambda a, j=j: a[j::2], batch) for j in (0, 1)]
    moved, sums = jax.jit(make(recipe._replace(micro_batches=2)))(state, batch)
    assert float(sums["count"]) == 7
    plain = jax.jit(make(recipe))
    one, two = (plain(state, part) for part in parts)
    for path, old in jax.tree.leaves_with_path(state.params):
        a, b, both = (
            dict(jax.tree.leaves_with_path(s.params))[path] - old
            for s in (one[0], two[0], moved)
        )
        np.testing.assert_allclose(both, (4 * a + 3 * b) / 7, rtol=1e-3, atol=1e-6)
    # The running averages follow the second part after the first.
    after, _ = plain(one[0]._replace(params=state.params, step=state.step), parts[1])
    jax.tree.map(
        partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6),
        moved.batch_stats,
        after.batch_stats,
    )


def test_what_drop_path_drops_is_decided_for_each_slot():
    keys = jax.vmap(jax.random.fold_in, (None, 0))(
        jax.random.key(0), jnp.arange(6, dtype=jnp.int32)
    )
    rate = jnp.float32(0.4)
    keep = functions._keep(keys, rate, (3, 5, 6))
    assert keep.shape == (3, 5, 6)
    for slot in range(6):
        alone = functions.drop_path(keys[slot], rate, shape=(3, 5))
        np.testing.assert_array_equal(keep[..., slot], alone)
    many = jax.vmap(jax.random.fold_in, (None, 0))(
        jax.random.key(1), jnp.arange(2000, dtype=jnp.int32)
    )
    keep = functions._keep(many, rate, (3, 5, 2000))
    # Of mean 1, and not the same on two edges or for two examples.
    assert abs(float(keep.mean()) - 1) < 4 * (0.4 / 0.6 / keep.size) ** 0.5
    assert abs(float(np.corrcoef(keep[0, 0], keep[1, 3])[0, 1])) < 0.1


def test_the_average_starts_at_the_weights_and_follows_them(small):
    trained, recipe, _, batch = small
    recipe = recipe._replace(ema_decay=0.9)
    start = steps.init_state(jax.random.key(0), trained, recipe, steps_per_epoch=1)
    jax.tree.map(
        np.testing.assert_array_equal,
        start.average,
        {"params": start.params, "batch_stats": start.batch_stats},
    )
    state, _ = jax.jit(steps.make_step(trained, recipe, steps_per_epoch=1))(
        start, batch
    )
    for name in ("params", "batch_stats"):
        jax.tree.map(
            lambda old, new, mean: np.testing.assert_allclose(
                mean, 0.1 * old + 0.9 * new, rtol=1e-4, atol=1e-6
            ),
            getattr(start, name),
            getattr(state, name),
            state.average[name],
        )
    assert state.evaluated is state.average


# --- one measurement -------------------------------------------------------------


def test_a_measurement_is_of_the_examples_alone(small):
    trained, _, state, batch = small
    measured = jax.jit(steps.make_measure(trained))(state, batch)
    logits = np.asarray(
        network.apply(
            {"params": state.params, "batch_stats": state.batch_stats},
            batch.images,
            trained.genotype,
            **trained.sizes,
        )
    )[:7]
    labels = np.asarray(batch.labels)[:7]
    assert measured["count"] == 7
    hits = logits.argmax(axis=1) == labels
    assert float(measured["accuracy"]) == hits.sum()
    log = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    assert float(measured["loss"]) == pytest.approx(
        -log[np.arange(7), labels].sum(), rel=1e-4
    )
    assert set(measured) == {"loss", "accuracy", "count"}


def test_an_average_is_measured_beside_the_last_weights(small):
    trained, _, state, batch = small
    other = trained.init(jax.random.key(5))
    both = state._replace(average=other)
    measure = jax.jit(steps.make_measure(trained))
    measured = measure(both, batch)
    alone = measure(state, batch)
    averaged = measure(state._replace(**other), batch)
    for name in ("loss", "accuracy"):
        assert measured[f"last_{name}"] == pytest.approx(float(alone[name]), rel=1e-5)
        assert measured[name] == pytest.approx(float(averaged[name]), rel=1e-5)
    assert measured["loss"] != measured["last_loss"]


def test_many_classes_have_a_top_five_accuracy():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(40, 100)).astype(np.float32)
    labels = np.array([np.argsort(-row)[i % 8] for i, row in enumerate(logits)])
    found = steps._measures(jnp.asarray(logits), jnp.asarray(labels, jnp.int32))
    assert found["accuracy"].sum() == 5
    assert found["top5_accuracy"].sum() == 25
