"""Exclusive sub-graphs, super-net guidance, and the step made of them, by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy

from nasjax import layers, losses, methods, relaxations, schedules, spaces
from nasjax.architecture import Mixture, Path, to_path
from nasjax.bilevel import summarise
from nasjax.data.batches import Batch
from nasjax.engine.scan import apply_cell, cell_template
from nasjax.methods.msg_das import add_supernet_guidance
from nasjax.objective import StepContext, training_loss
from nasjax.search.epoch import final_architecture
from tests import catalogue
from tests.catalogue import EPOCHS, STEPS, compiled

# --- the sub-graphs -------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 2, 4])
def test_sub_graphs_share_no_operation_on_any_edge(key, k):
    method = methods.msg_das(k=k)
    space = method.adapt(spaces.darts())
    alpha = method.init(key, space)
    assert all(not values.any() for values in alpha.values())  # the paper's start
    relax = compiled(lambda key: method.relax(key, alpha, jnp.float32(0.5), space))
    seen = set()
    for seed in range(5):
        for path in relax(jax.random.key(seed)).values():
            assert isinstance(path, Path)
            operations = np.asarray(path.operation)
            assert operations.shape == (k, 14)
            for edge in operations.T:
                assert len(set(edge)) == k
            seen |= set(operations.ravel().tolist())
            assert path.active.all()
            np.testing.assert_array_equal(path.weight, np.ones((k, 14)))
    assert seen == set(range(8))  # `none` competes
    assert method.subgraphs == k


def test_cells_are_drawn_apart(key):
    method = methods.msg_das()
    space = method.adapt(spaces.darts())
    paths = method.relax(key, method.init(key, space), jnp.float32(0.0), space)
    normal, reduction = (np.asarray(paths[c].operation) for c in space.cell_types)
    assert (normal != reduction).any()


def test_it_starts_where_it_is_told(key):
    alpha = methods.msg_das(alpha_start=0.2).init(key, spaces.nasbench201())
    np.testing.assert_array_equal(alpha["cell"], np.full((6, 5), 0.2, np.float32))


# --- super-net guidance ---------------------------------------------------------

BATCH, CLASSES = 4, 3


def guided(table, alpha, logits, weights, progress=0.5):
    """The added loss, of a supernet that is linear in its mixtures."""
    method = add_supernet_guidance(methods.gdas(), strength=schedules.linear(0.0, 1.0))

    def forward(architecture):
        assert all(isinstance(cell, Mixture) for cell in architecture.values())
        mixed = [cell.weights.reshape(-1) for cell in architecture.values()]
        return jnp.tensordot(table, jnp.concatenate(mixed), axes=1)

    data = Batch(
        images=jnp.zeros((BATCH, 1, 1, 1)),
        labels=jnp.zeros(BATCH, jnp.int32),
        ids=jnp.arange(BATCH),
        rows=jnp.arange(BATCH),
        weights=weights,
    )
    terms = methods.Terms(
        space=spaces.darts(),
        alpha=alpha,
        architecture={},
        logits=logits,
        batch=data,
        memory=(),
        progress=jnp.float32(progress),
        epoch=jnp.int32(0),
        forward=forward,
        mean=functools.partial(losses.weighted_mean, weights=weights),
        taught=method.teach(forward, alpha, spaces.darts()),
    )
    return method.weight_loss(terms)


def guidance_inputs():
    rng = np.random.default_rng(0)
    alpha = {
        name: jnp.asarray(rng.normal(size=(14, 8)), jnp.float32)
        for name in spaces.darts().cell_types
    }
    table = jnp.asarray(rng.normal(size=(BATCH, CLASSES, 2 * 14 * 8)), jnp.float32)
    logits = jnp.asarray(rng.normal(size=(BATCH, CLASSES)), jnp.float32)
    return table, alpha, logits, jnp.asarray([1.0, 1.0, 0.0, 1.0])


def test_guidance_is_the_cross_entropy_against_the_mixture():
    """With the sign that Eq. 7 lacks, over the examples of weight 1."""
    table, alpha, logits, weights = guidance_inputs()
    mixed = [
        scipy.special.softmax(np.float64(alpha[name]), axis=1).ravel()
        for name in spaces.darts().cell_types
    ]
    teacher = scipy.special.softmax(np.float64(table) @ np.concatenate(mixed), axis=1)
    log_student = scipy.special.log_softmax(np.float64(logits), axis=1)
    each = -(teacher * log_student).sum(axis=1)
    expected = each[[0, 1, 3]].mean()
    for progress in (0.0, 0.5, 1.0):
        value = compiled(guided)(table, alpha, logits, weights, progress)
        assert float(value) == pytest.approx(progress * expected, rel=1e-5)


def test_guidance_has_the_students_gradient_only():
    table, alpha, logits, weights = guidance_inputs()
    of_table, of_alpha, own = compiled(jax.grad(guided, argnums=(0, 1, 2)))(
        table, alpha, logits, weights
    )
    assert not any(leaf.any() for leaf in jax.tree.leaves(of_alpha))
    assert own[0].any()
    assert not own[2].any()
    # A step stops the gradient of what is taught; here the loss itself has to.
    assert not of_table.any()


# --- what they are compared with ------------------------------------------------

OFF = schedules.constant(0.0)
HALFWAY = StepContext((), (), jnp.float32(0.5), jnp.int32(1))


def bare(**settings):
    """Sub-graphs alone, or with what is switched on."""
    return methods.msg_das(**{"guidance": OFF, "drop_rate": OFF, **settings})


def of_weights(method):
    """``(weights, alpha) -> (value, gradients), seen`` of the pass of the weights."""
    net = catalogue.gated(method.adapt(catalogue.space()))
    loss = training_loss(net, method)
    data = catalogue.some_batch(0, [2, 0, 1, 3])

    def run(weights, alpha):
        return loss(
            weights,
            {"cell": alpha},
            batch=data,
            key=jax.random.key(4),
            context=HALFWAY,
        )

    start = net.init(jax.random.key(0)), jax.random.normal(jax.random.key(3), (3, 4))
    graded = compiled(jax.value_and_grad(run, (0, 1), has_aux=True))
    return net, data, start, graded(*start)


@pytest.mark.parametrize("switch", ["replacement", "aggregate"])
def test_one_sub_graph_is_the_same_whatever_the_switch(switch):
    """Value, gradients of weights and alpha, outputs."""
    (value, seen), found = of_weights(bare(k=1))[3]
    (other, other_seen), other_found = of_weights(bare(k=1, **{switch: True}))[3]
    close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7)
    close(value, other)
    close(seen.probs, other_seen.probs)
    jax.tree.map(close, found, other_found)
    assert found[1].any()
    if switch == "replacement":  # one and the same draw
        catalogue.assert_same_bits((value, found), (other, other_found))


def test_one_graph_of_a_cell_is_the_path_and_the_sum_of_paths(key):
    """On the real operations: of K = 1 the path, of more the sum on every edge."""
    space = catalogue.space()
    template = cell_template(space, channels=4, reduction=False)
    weights = layers.draw(key, template)
    x = jax.random.normal(key, (4, 6, 6, 2))
    run = compiled(
        lambda runs: apply_cell(
            weights, runs, (x,), space=space, reduction=False, context=layers.PLAIN
        )
    )
    alpha = jnp.zeros((3, 4))
    chosen = relaxations.gumbel_top_k(key, alpha, k=3, temperature=1.0)
    one = run(Mixture(relaxations.union(chosen[:1])))
    np.testing.assert_allclose(one, run(to_path(chosen[0])), rtol=1e-5, atol=1e-5)
    # Only the edge from the input to the output runs: there it is the paths' sum.
    last = jnp.array([False, True, False])
    paths = [to_path(choice)._replace(active=last) for choice in chosen]
    union = Mixture(jnp.where(last[:, None], relaxations.union(chosen), 0))
    total = sum(run(path) for path in paths)
    np.testing.assert_allclose(run(union), total, rtol=1e-5, atol=1e-5)


def test_one_graph_runs_what_k_paths_run_and_is_one(key):
    method = methods.msg_das(k=3, aggregate=True)
    space = method.adapt(spaces.darts())
    assert method.subgraphs is None
    alpha = method.init(key, space)
    paths = methods.msg_das(k=3).relax(key, alpha, jnp.float32(0.5), space)
    for name, cell in method.relax(key, alpha, jnp.float32(0.5), space).items():
        hot = np.zeros((14, 8))
        for operation in np.asarray(paths[name].operation):
            hot[np.arange(14), operation] = 1
        np.testing.assert_array_equal(cell.weights, hot)
        assert cell.drop.key.shape == (14,)
        np.testing.assert_allclose(cell.drop.rate, 0.4 / 3, rtol=1e-6)


@pytest.mark.parametrize("aggregate", [False, True])
@pytest.mark.parametrize("strength", [0.0, 0.25, 1.0])
def test_in_place_distillation_by_hand(strength, aggregate):
    """The labels teach the supernet; it teaches the sub-graphs, at 1 alone."""
    method = bare(
        aggregate=aggregate,
        distillation="in_place",
        guidance=schedules.constant(strength),
    )
    net, data, start, ((value, seen), (found, _)) = of_weights(method)
    runs = method.relax(
        jax.random.key(4), {"cell": start[1]}, HALFWAY.progress, net.space
    )
    number = 1 if aggregate else 2
    labels = jax.nn.one_hot(data.labels, 3)

    def ce(target, logits):
        each = -(target * jax.nn.log_softmax(logits)).sum(axis=1)
        return jnp.vdot(each, data.weights) / data.weights.sum()

    def by_hand(weights):
        mixture = {"cell": Mixture(jax.nn.softmax(start[1]))}
        whole = net.apply(weights, mixture, data.images)
        soft = jax.lax.stop_gradient(jax.nn.softmax(whole))
        total = strength * ce(labels, whole)
        for k in range(number):
            own = runs if aggregate else jax.tree.map(lambda leaf: leaf[k], runs)  # noqa: B023
            logits = net.apply(weights, own, data.images)
            total += (1 - strength) * ce(labels, logits) + strength * ce(soft, logits)
        return total

    expected, gradient = jax.value_and_grad(by_hand)(start[0])
    close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
    close(value, expected)
    jax.tree.map(close, found, gradient)
    # What is logged adds up to the loss.
    told = number * (seen.metrics["loss"] + seen.metrics["added_loss"])
    close(told / seen.metrics["count"], expected)
    if strength == 0:
        (plain_value, _), plain = of_weights(bare(aggregate=aggregate))[3]
        catalogue.assert_same_bits((value, found), (plain_value, plain[0]))


def test_an_unknown_distillation_is_refused():
    with pytest.raises(ValueError, match="distillation='dark' is not one of guidance"):
        methods.msg_das(distillation="dark")


# --- the step -------------------------------------------------------------------


def test_a_step_is_the_sum_over_sub_graphs_and_their_guidance():
    """Alpha, weights and metrics of one step, written out."""
    small = catalogue.searched("msg_das")
    method, net = small.method, small.net
    # Late in the search: every schedule is far from where it starts.
    number = 40 * EPOCHS * STEPS // 50 + 1
    state = small.start._replace(
        step=jnp.int32(number),
        alpha={"cell": jax.random.normal(jax.random.key(3), (3, 4))},
    )
    after, sums = small.advance(state, number + 1)
    progress = number / (EPOCHS * STEPS)
    strength = 0.01 * progress
    train, valid = (catalogue.batch_of(small, number, h) for h in ("train", "valid"))
    arch_key, _, weight_key = jax.random.split(jax.random.fold_in(state.key, number), 3)

    def cross_entropy(logits, data):
        log_p = jax.nn.log_softmax(logits)
        own = jnp.take_along_axis(log_p, data.labels[:, None], axis=1)[:, 0]
        return -jnp.vdot(own, data.weights) / data.weights.sum()

    def plain(weights, alpha, data, key):
        """Sum over K of the cross-entropy, and the logits of each."""
        runs = method.relax(key, alpha, jnp.float32(progress), net.space)
        logits = [
            net.apply(weights, jax.tree.map(lambda a, k=k: a[k], runs), data.images)
            for k in range(2)
        ]
        return sum(cross_entropy(one, data) for one in logits), logits

    def guided_loss(weights, teacher):
        total, logits = plain(weights, after.alpha, train, weight_key)
        guidance = [
            -jnp.vdot((teacher * jax.nn.log_softmax(one)).sum(1), train.weights)
            / train.weights.sum()
            for one in logits
        ]
        return total + strength * sum(guidance), (total, sum(guidance))

    def by_hand(weights, alpha):
        mixture = {"cell": Mixture(jax.nn.softmax(after.alpha["cell"]))}
        teacher = jax.nn.softmax(net.apply(weights, mixture, train.images))
        of_weights, parts = jax.grad(guided_loss, has_aux=True)(weights, teacher)
        of_alpha, _ = jax.grad(plain, argnums=1, has_aux=True)(
            weights, alpha, valid, arch_key
        )
        return of_weights, of_alpha, parts

    of_weights, of_alpha, (total, guidance) = compiled(by_hand)(
        state.weights, state.alpha
    )
    both = catalogue.both_optimizers().over(steps_per_epoch=1, epochs=1)
    with jax.numpy_dtype_promotion("standard"):
        updates = (
            both.weights.update(of_weights, state.weight_optimizer, state.weights)[0],
            both.alpha.update(of_alpha, state.arch_optimizer, state.alpha)[0],
        )
    expected = optax.apply_updates((state.weights, state.alpha), updates)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
    jax.tree.map(close, (after.weights, after.alpha), expected)
    means = summarise(jax.device_get(sums))
    assert means["weight_loss"] == pytest.approx(float(total) / 2, rel=1e-5)
    added = strength * float(guidance) / 2
    assert means["weight_added_loss"] == pytest.approx(added, rel=1e-4)
    assert means["arch_added_loss"] == 0.0


def test_the_final_architecture_is_one_path_with_nothing_dropped():
    small = catalogue.searched("msg_das")
    path = final_architecture(small.net, small.method, small.start)["cell"]
    assert path.drop is None
    assert path.operation.shape == (3,)
