"""Parts of one method on another: what no paper has."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy

from nasjax import bilevel, losses, methods, schedules, spaces, teachers
from nasjax.architecture import Mixture, Path
from nasjax.bilevel import summarise
from nasjax.data.batches import Batch
from nasjax.methods.msg_das import (
    add_drop_block_identity,
    add_supernet_guidance,
    gumbel_paths,
)
from nasjax.methods.sd_darts import add_voting_teachers
from tests import catalogue
from tests.catalogue import EPOCHS, STEPS, assert_same_bits, compiled

PROGRESS = jnp.float32(0.25)
BATCH, CLASSES = 3, 4


def terms(space, *, alpha, architecture, logits=None, memory=(), epoch=0):
    weights = jnp.ones(BATCH)
    return methods.Terms(
        space=space,
        alpha=alpha,
        architecture=architecture,
        logits=jnp.zeros((BATCH, CLASSES)) if logits is None else logits,
        batch=Batch(
            images=jnp.zeros((BATCH, 1, 1, 1)),
            labels=jnp.zeros(BATCH, jnp.int32),
            ids=jnp.arange(BATCH),
            rows=jnp.arange(BATCH),
            weights=weights,
        ),
        memory=memory,
        progress=PROGRESS,
        epoch=jnp.int32(epoch),
        forward=None,
        mean=functools.partial(losses.weighted_mean, weights=weights),
    )


def uneven(space, seed=0):
    rng = np.random.default_rng(seed)
    shape = space.num_edges, space.num_ops
    return {
        name: jnp.asarray(rng.normal(size=shape), jnp.float32)
        for name in space.cell_types
    }


# --- JS on Gumbel paths ---------------------------------------------------------


def test_gumbel_js_is_scipys_distance_to_what_each_sub_graph_sampled(key):
    """Softmax weights against the sampled one-hot, over all edges and cells."""
    method = methods.gumbel_js(k=2)
    space = method.adapt(spaces.darts())
    alpha = uneven(space)
    paths = method.relax(key, alpha, PROGRESS, space)
    for k in range(2):
        one = jax.tree.map(lambda leaf, k=k: leaf[k], paths)
        value = method.arch_loss(terms(space, alpha=alpha, architecture=one))
        means = []
        for cell in space.cell_types:
            chosen = np.asarray(one[cell].operation)
            own = scipy.special.softmax(np.float64(alpha[cell]), axis=1)
            distance = scipy.spatial.distance.jensenshannon(
                np.eye(8)[chosen], own, axis=1
            )
            means.append(np.mean(distance[chosen != 0] ** 2))  # `none` counts nothing
        # A quarter of the way from 0 to 2.
        assert float(value) == pytest.approx(0.5 * np.mean(means), rel=1e-4)


def test_gumbel_js_draws_weights_towards_the_sampled_operations(key):
    method = methods.gumbel_js(k=1)
    space = method.adapt(spaces.nasbench201())
    alpha = uneven(space)
    path = jax.tree.map(lambda leaf: leaf[0], method.relax(key, alpha, PROGRESS, space))
    gradient = compiled(
        jax.grad(
            lambda values: method.arch_loss(
                terms(space, alpha={"cell": values}, architecture=path)
            )
        )
    )(alpha["cell"])
    chosen = np.asarray(path["cell"].operation)
    assert (np.asarray(gradient)[np.arange(6), chosen][chosen != 0] < 0).all()
    assert not np.asarray(gradient)[chosen == 0].any()
    np.testing.assert_allclose(gradient.sum(axis=1), np.zeros(6), atol=1e-6)


# --- teachers on sampled paths --------------------------------------------------


def test_stc_nas_sd_is_stc_nas_with_a_memory(key):
    plain, taught = methods.stc_nas(), methods.stc_nas_sd()
    space = taught.adapt(spaces.darts())
    assert space == plain.adapt(spaces.darts())
    alpha = uneven(space)
    path = plain.relax(key, alpha, PROGRESS, space)
    for part in ("relax", "strengths", "project"):
        arguments = {
            "relax": (key, alpha, PROGRESS, space),
            "strengths": (alpha, space),
            "project": (alpha, path, PROGRESS, space),
        }[part]
        one, other = (getattr(m, part)(*arguments) for m in (plain, taught))
        assert_same_bits(one, other)
    ring = taught.init_memory(10, CLASSES)
    assert isinstance(ring, teachers.Ring)
    assert ring.probs.shape == (2, 10, CLASSES)
    assert set(taught.schedules) == {"noise_range", "js_strength", "strength"}


def test_stc_nas_sd_is_taught_in_its_second_epoch_and_keeps_its_js_loss():
    small = catalogue.searched("stc_nas_sd")
    state, sums = small.advance(small.start, STEPS)
    first = summarise(jax.device_get(sums))
    _, sums = small.advance(state, 2 * STEPS)
    second = summarise(jax.device_get(sums))
    assert first["weight_added_loss"] == 0.0
    assert second["weight_added_loss"] > 1e-3
    assert second["arch_added_loss"] > first["arch_added_loss"] > 0.0


def test_teachers_on_several_sub_graphs_remember_their_mean():
    """A method that no function makes: Gumbel paths that teach themselves."""
    paths = gumbel_paths(k=2, temperature=schedules.linear(10.0, 1.0))
    method = add_voting_teachers(paths, warmup=1, window=1)
    small = catalogue.search(method)
    state, _ = small.advance(small.start, STEPS)
    real = np.asarray(small.data.train.weights).ravel() > 0
    written = np.asarray(state.memory.epochs)[0]
    np.testing.assert_array_equal(written == 0, real)
    votes = np.asarray(state.memory.probs)[0, real]
    np.testing.assert_allclose(votes.sum(axis=1), 1.0, atol=1e-5)
    # The last batch of the epoch, by the network itself.
    before, _ = small.advance(small.start, STEPS - 1)
    after, _ = small.advance(before, STEPS)
    data = catalogue.batch_of(small, STEPS - 1, "train")
    step_key = jax.random.fold_in(before.key, before.step)
    runs = method.relax(
        jax.random.split(step_key, 3)[2],
        after.alpha,
        jnp.float32((STEPS - 1) / (STEPS * EPOCHS)),
        small.net.space,
    )
    logits = [
        compiled(small.net.apply)(
            before.weights,
            jax.tree.map(lambda leaf, k=k: leaf[k], runs),
            data.images,
        )
        for k in range(2)
    ]
    mean = np.mean([scipy.special.softmax(np.float64(x), axis=1) for x in logits], 0)
    kept = np.asarray(data.weights) > 0
    rows = np.asarray(data.rows)[kept]
    np.testing.assert_allclose(state.memory.probs[0, rows], mean[kept], atol=1e-5)


def test_every_sub_graph_is_projected(key):
    """STC-NAS's clip on Gumbel paths: two of an edge's four operations."""
    paths = gumbel_paths(k=2, temperature=schedules.linear(10.0, 1.0))
    method = paths._replace(project=methods.stc_nas().project)
    net, both = catalogue.gated(catalogue.space()), catalogue.both_optimizers()
    step = bilevel.make_step(net, method, optimizers=both, steps_per_epoch=1, epochs=1)
    state = bilevel.init_state(key, net, method, optimizers=both)
    state = state._replace(alpha={"cell": jnp.full((3, 4), 2.0)})
    batches = (catalogue.some_batch(seed, [0, 1, 2, 3]) for seed in range(2))
    with jax.numpy_dtype_promotion("standard"):  # Adam of optax promotes an integer
        after, _ = compiled(step)(state, *batches)
    arch_key = jax.random.split(jax.random.fold_in(state.key, 0), 3)[0]
    runs = method.relax(arch_key, state.alpha, jnp.float32(0), net.space)["cell"]
    sampled = np.eye(4, dtype=bool)[np.asarray(runs.operation)].any(axis=0)
    assert (sampled.sum(axis=1) == 2).all()
    values = np.asarray(after.alpha["cell"])
    np.testing.assert_array_equal(values[sampled], 1.0)
    assert (values[~sampled] > 1.9).all()


# --- guidance and DropBlock on another method's paths ---------------------------


def test_guidance_on_stc_nas_is_added_to_its_own_terms(key):
    plain = methods.stc_nas()
    method = add_supernet_guidance(plain, strength=schedules.constant(0.5))
    space = method.adapt(spaces.nasbench201())
    alpha = uneven(space)
    paths = method.relax(key, alpha, PROGRESS, space)
    said = np.random.default_rng(2).normal(size=(BATCH, CLASSES)).astype(np.float32)
    seen = []

    def forward(architecture):
        seen.append(architecture)
        return jnp.asarray(said)

    taught = method.teach(forward, alpha, space)
    made = terms(space, alpha=alpha, architecture=paths)._replace(taught=taught)
    teacher = scipy.special.softmax(said.astype(np.float64), axis=1)
    expected = -(teacher * np.log(1 / CLASSES)).sum(axis=1).mean()  # logits are 0
    assert float(method.weight_loss(made)) == pytest.approx(0.5 * expected, rel=1e-5)
    assert float(method.arch_loss(made)) == float(plain.arch_loss(made)) > 0
    (mixture,) = (one["cell"] for one in seen)
    assert isinstance(mixture, Mixture)
    np.testing.assert_allclose(
        mixture.weights, scipy.special.softmax(np.float64(alpha["cell"]), axis=1), 1e-5
    )
    assert set(method.schedules) == {"noise_range", "js_strength", "guidance"}


@pytest.mark.parametrize("make", [methods.stc_nas, methods.gdas])
def test_drop_block_changes_no_path_of_another_method(key, make):
    plain = make()
    method = add_drop_block_identity(plain, rate=schedules.constant(0.1))
    space = method.adapt(spaces.darts())
    assert space.primitives == plain.adapt(spaces.darts()).primitives
    alpha = uneven(space)
    for cell, path in method.relax(key, alpha, PROGRESS, space).items():
        assert isinstance(path, Path)
        own = plain.relax(key, alpha, PROGRESS, space)[cell]
        assert_same_bits(path._replace(drop=None), own)
        assert path.drop.key.shape == path.drop.rate.shape == (14,)


# --- adding losses --------------------------------------------------------------


@pytest.mark.parametrize("group", ["weight", "arch"])
def test_added_losses_add_up_each_by_its_strength(group):
    add = {"weight": methods.add_weight_loss, "arch": methods.add_arch_loss}[group]
    other = {"weight": "arch_loss", "arch": "weight_loss"}[group]
    plain = methods.darts()
    method = add(plain, lambda terms: jnp.float32(3.0))
    method = add(
        method,
        lambda terms: terms.alpha["cell"].sum(),
        strength=schedules.linear(0.0, 8.0),
        name="pull",
    )
    space = spaces.nasbench201()
    made = terms(space, alpha={"cell": jnp.ones((6, 5))}, architecture={})
    assert float(getattr(method, f"{group}_loss")(made)) == pytest.approx(3 + 2 * 30)
    assert getattr(method, other) is getattr(plain, other)
    assert float(getattr(plain, f"{group}_loss")(made)) == 0.0
    assert list(method.schedules) == ["pull"]
    assert plain.schedules == {}
