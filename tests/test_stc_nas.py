"""STC-NAS: the JS loss, the projection, and what they do to alpha over a search."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy

from nasjax import bilevel, methods, relaxations, schedules, spaces
from nasjax.architecture import Path
from nasjax.data.batches import Batch
from nasjax.methods.stc_nas import js_divergence, js_loss, project_sampled
from tests.test_bilevel import CLASSES, assert_same_bits, batch, flat, toy
from tests.test_methods import PROGRESS, searched, terms, uneven_alpha

SPACE = spaces.nasbench201()  # `none` among its operations
relu_js = functools.partial(js_divergence, activation=jax.nn.relu)


def some_path():
    """Six edges: two not active, one that samples `none`."""
    return Path(
        jnp.array([0, 1, 2, 3, 4, 2], jnp.int32),
        jnp.ones(6),
        jnp.array([True, True, False, True, False, True]),
    )


#: Of `some_path`: what the JS loss counts, and its groups of edges.
COUNTS = [1, 3, 5]
GROUPS = {
    "edge": [[e] for e in range(6)],
    "node": [[0], [1, 2], [3, 4, 5]],
    "cell": [list(range(6))],
}


def js_by_hand(alpha, path, scope="edge"):
    """SciPy's distance, squared, one scope after the other."""
    operation = np.asarray(path.operation)
    is_none = np.array(SPACE.primitives) == "none"
    counts = np.asarray(path.active) & ~is_none[operation]
    values = []
    for edges in GROUPS[scope]:
        sampled = np.eye(alpha.shape[1])[operation[edges]] * counts[edges][:, None]
        if sampled.any():
            weights = np.maximum(np.float64(alpha[edges]), 0.0)
            # SciPy divides both by their sums.
            distance = scipy.spatial.distance.jensenshannon(
                sampled.ravel(), weights.ravel()
            )
            values.append(distance**2)
    return np.mean(values)


@pytest.mark.parametrize("scope", GROUPS)
def test_js_is_scipys_mean_over_its_scopes(scope):
    alpha, path = uneven_alpha(SPACE, low=-0.5)["cell"], some_path()
    value = relu_js(SPACE, alpha, path, scope=scope)
    expected = js_by_hand(np.asarray(alpha), path, scope)
    assert float(value) == pytest.approx(expected, rel=1e-5)


def test_js_loss_is_the_mean_over_cell_types(key):
    method = methods.stc_nas()
    space = searched("darts", method)
    alpha = uneven_alpha(space, low=-0.2)
    paths = method.relax(key, alpha, PROGRESS, space)
    value = js_loss(alpha, paths, space, activation=jax.nn.relu)
    means = []
    for cell, path in paths.items():
        active = np.asarray(path.active)
        weights = np.maximum(np.float64(alpha[cell]), 0.0)
        chosen = np.eye(space.num_ops)[np.asarray(path.operation)]
        js = scipy.spatial.distance.jensenshannon(chosen, weights, axis=1) ** 2
        means.append(js[active].mean())
    assert float(value) == pytest.approx(np.mean(means), rel=1e-5)
    # The method adds it by its schedule: a quarter of the way from 0 to 2.
    added = method.arch_loss(terms(space, alpha, paths))
    assert float(added) == pytest.approx(0.5 * np.mean(means), rel=1e-5)


@pytest.mark.parametrize("scope", GROUPS)
def test_the_gradient_of_js_to_all_entries_is_that_of_differences(scope):
    alpha, path = uneven_alpha(SPACE, low=0.1)["cell"], some_path()
    run = functools.partial(relu_js, SPACE, path=path, scope=scope, gradient="all")
    gradient = np.asarray(jax.grad(run)(alpha))
    start, h = np.float64(alpha), 1e-6
    for edge, op in np.ndindex(6, 5):
        step = np.zeros((6, 5))
        step[edge, op] = h
        up = js_by_hand(start + step, path, scope)
        down = js_by_hand(start - step, path, scope)
        assert gradient[edge, op] == pytest.approx((up - down) / (2 * h), abs=1e-5)


@pytest.mark.parametrize("scope", GROUPS)
def test_js_moves_the_sampled_entries_alone(scope):
    alpha, path = uneven_alpha(SPACE, low=0.1)["cell"], some_path()
    slope = {
        gradient: np.asarray(
            jax.grad(
                functools.partial(
                    relu_js, SPACE, path=path, scope=scope, gradient=gradient
                )
            )(alpha)
        )
        for gradient in ("sampled", "all")
    }
    sampled = np.zeros((6, 5), bool)
    sampled[COUNTS, np.asarray(path.operation)[COUNTS]] = True
    assert (slope["sampled"][sampled] < 0).any()
    np.testing.assert_array_equal(slope["sampled"][~sampled], 0.0)
    np.testing.assert_allclose(slope["sampled"][sampled], slope["all"][sampled])


@pytest.mark.parametrize("gradient", ["sampled", "all"])
@pytest.mark.parametrize("scope", GROUPS)
def test_no_operation_of_zeros_gains_by_js(gradient, scope):
    """`none` costs nothing on the images: JS alone would lift it on every edge."""
    run = jax.jit(
        jax.grad(
            functools.partial(relu_js, SPACE, gradient=gradient, scope=scope), argnums=0
        )
    )
    rng = np.random.default_rng(3)
    for _ in range(20):
        operation = jnp.asarray(rng.integers(0, 5, 6), jnp.int32)
        path = Path(operation, jnp.ones(6), jnp.asarray(rng.random(6) < 0.7))
        alpha = jnp.asarray(rng.uniform(0.05, 1.0, (6, 5)), jnp.float32)
        assert (np.asarray(run(alpha, path))[:, 0] >= 0).all()


@pytest.mark.parametrize("dead", ["all", "but the sampled", "the sampled"])
def test_js_of_dead_edges_has_a_finite_gradient(dead):
    path = some_path()
    sampled = jax.nn.one_hot(path.operation, 5, dtype=bool)
    alive = {"all": jnp.zeros((6, 5), bool), "but the sampled": sampled}
    alpha = jnp.where(alive.get(dead, ~sampled), 0.4, -0.1)
    value, gradient = jax.value_and_grad(
        lambda a: relu_js(SPACE, a, path, gradient="all")
    )(alpha)
    assert np.isfinite(gradient).all()
    bounds = {"but the sampled": 0.0, "the sampled": np.log(2), "all": np.log(2) / 2}
    assert float(value) == pytest.approx(bounds[dead], abs=1e-6)


def test_projection_clips_what_was_sampled_on_an_active_edge():
    alpha = np.tile(np.array([[-0.5, 1.5, 0.4, 2.0, -3.0]], np.float32), (6, 1))
    path = some_path()
    projected = np.asarray(
        project_sampled({"cell": jnp.asarray(alpha)}, {"cell": path})["cell"]
    )
    for edge, op in np.ndindex(6, 5):
        sampled = bool(path.active[edge]) and int(path.operation[edge]) == op
        old = alpha[edge, op]
        expected = min(max(old, 0.0), 1.0) if sampled else old
        assert projected[edge, op] == np.float32(expected)


@pytest.mark.parametrize(
    ("activation", "project", "clips"),
    [
        ("relu", "auto", True),
        ("softmax", "auto", False),
        ("sigmoid", "auto", False),
        ("softmax", "always", True),
        ("relu", "never", False),
    ],
)
def test_alpha_is_clipped_where_it_is_a_weight(key, activation, project, clips):
    method = methods.stc_nas(activation=activation, project=project)
    space = searched("nasbench201", method)
    alpha = {"cell": jnp.full((6, 4), 1.5)}
    path = method.relax(key, alpha, PROGRESS, space)
    after = method.project(alpha, path, PROGRESS, space)["cell"]
    assert (np.asarray(after).min() == 1.0) == clips


@pytest.mark.parametrize(("symmetric", "low"), [(False, 0.0), (True, -0.2)])
def test_noise_is_uniform_over_its_range(symmetric, low):
    """The score of an edge with one operation is alpha plus its noise."""
    score = relaxations.sample_kronecker(
        jax.random.key(1),
        jnp.zeros((4000, 1)),
        noise_range=0.2,
        symmetric=symmetric,
    ).score
    uniform = scipy.stats.uniform(low, 0.2 - low)
    assert scipy.stats.kstest(np.asarray(score), uniform.cdf).pvalue > 1e-3


def test_symmetric_noise_takes_back_a_lead_of_more_than_its_range():
    """In [-r, r) a lead of 1.5 r can be lost, in [0, r) it cannot."""
    space = searched("nasbench201", methods.stc_nas())
    alpha = {"cell": jnp.zeros((6, 4)).at[:, 1].set(0.3)}
    keys = jax.random.split(jax.random.key(0), 50)
    lost = {}
    for noise in ("one_sided", "symmetric"):
        method = methods.stc_nas(noise=noise, noise_range=schedules.constant(0.2))
        runs = jax.vmap(lambda k, m=method: m.relax(k, alpha, PROGRESS, space))(keys)
        lost[noise] = bool((np.asarray(runs["cell"].operation) != 1).any())
    assert lost == {"one_sided": False, "symmetric": True}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("noise", "gaussian"),
        ("js_gradient", "none"),
        ("js_scope", "network"),
        ("js_step", "before"),
        ("project", "yes"),
        ("activation", "tanh"),
    ],
)
def test_an_unknown_choice_is_refused_with_those_there_are(field, value):
    with pytest.raises(ValueError, match=rf"{field}='{value}' is not one of \['"):
        methods.stc_nas(**{field: value})


# --- in the step ------------------------------------------------------------------


def one_step(method, seed=0, alpha=None, progress_at=0):
    space = searched("nasbench201", method)
    net = toy(space)
    optimizers = bilevel.Optimizers(optax.sgd(0.1), optax.sgd(1.0))
    state = bilevel.init_state(
        jax.random.key(seed), net, method, optimizers=optimizers, num_examples=8
    )
    if alpha is not None:
        state = state._replace(alpha=alpha)
    state = state._replace(step=jnp.int32(progress_at))
    step = bilevel.make_step(
        net, method, optimizers=optimizers, steps_per_epoch=2, epochs=2
    )
    after, metrics = jax.jit(step)(state, batch(0, net), batch(1, net))
    return state, after, metrics


@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_what_was_not_sampled_gets_no_gradient(strength):
    method = methods.stc_nas(js_strength=schedules.constant(strength))
    state, after, metrics = one_step(method)
    moved = np.asarray(after.alpha["cell"]) != np.asarray(state.alpha["cell"])
    assert (moved.sum(axis=1) <= 1).all()
    assert moved.any()
    assert (float(metrics["arch_added_loss"]) > 0.0) == (strength > 0)


def test_js_to_all_entries_moves_whole_edges():
    method = methods.stc_nas(
        js_strength=schedules.constant(1.0), js_gradient="all", keep_none=True
    )
    state, after, _ = one_step(method)
    moved = np.asarray(after.alpha["cell"]) != np.asarray(state.alpha["cell"])
    assert (moved.sum(axis=1) == 5).any()


def test_a_strength_of_0_is_the_method_without_the_loss_to_the_bit():
    plain = methods.stc_nas()._replace(arch_loss=methods.base.no_loss)
    off = methods.stc_nas(js_strength=schedules.constant(0.0))
    one, other = one_step(plain)[1], one_step(off)[1]
    assert_same_bits((one.alpha, one.weights), (other.alpha, other.weights))
    full = one_step(methods.stc_nas(), progress_at=2)[1]
    assert (flat(full.alpha) != flat(one_step(plain, progress_at=2)[1].alpha)).any()


def test_a_decoupled_js_step_follows_the_optimizers():
    """With plain SGD of rate 1 the two forms take the same step, rate and all."""
    strength = schedules.constant(0.5)
    beside = methods.stc_nas(js_step="decoupled", js_rate=1.0, js_strength=strength)
    inside = methods.stc_nas(js_strength=strength)
    one, other = one_step(beside)[1], one_step(inside)[1]
    # The JS gradient is then taken where the first half of the step has led.
    off = one_step(methods.stc_nas(js_strength=schedules.constant(0.0)))[1]
    space = searched("nasbench201", beside)
    arch_key = jax.random.split(jax.random.fold_in(one.key, 0), 3)[0]
    start = beside.init(jax.random.key(0), space)
    path = beside.relax(arch_key, start, jnp.float32(0.0), space)
    slope = jax.grad(js_loss)(off.alpha, path, space, activation=jax.nn.relu)
    expected = np.asarray(off.alpha["cell"] - 0.5 * slope["cell"])
    np.testing.assert_allclose(one.alpha["cell"], expected, rtol=1e-6)
    assert (flat(one.alpha) != flat(off.alpha)).any()
    np.testing.assert_allclose(flat(one.alpha), flat(other.alpha), atol=0.02)


def test_the_step_projects_what_it_sampled():
    """Far outside of [0, 1] the update leaves only what was not sampled there."""
    method = methods.stc_nas(
        noise_range=schedules.constant(0.0), js_strength=schedules.constant(0.0)
    )
    alpha = np.full((6, 4), -4.0, np.float32)
    alpha[:, 2] = 5.0
    _, after, _ = one_step(method, alpha={"cell": jnp.asarray(alpha)})
    projected = np.asarray(after.alpha["cell"])
    np.testing.assert_array_equal(projected[:, 2], np.ones(6))
    np.testing.assert_array_equal(projected[:, [0, 1, 3]], alpha[:, [0, 1, 3]])


# --- over a whole search ------------------------------------------------------------

STEPS, EPOCHS = 98, 50  # the paper's on CIFAR-10, batch 256


def indifferent(space):
    """A supernet whose loss has a small random gradient in each path's weight."""
    net = toy(space)
    edges = len(space.cell_types) * space.num_edges
    directions = jnp.asarray(
        np.random.default_rng(0).normal(size=(4, edges)), jnp.float32
    )

    def cells(weights, architecture, images):
        factors = jnp.concatenate(
            [
                jnp.where(architecture[name].active, architecture[name].weight, 0.0)
                for name in space.cell_types
            ]
        )
        each = images.reshape(images.shape[0], -1) @ directions
        logits = jnp.zeros((images.shape[0], CLASSES)) + 0.0 * weights["in"].sum()
        return logits.at[:, 0].add(0.05 * each @ factors)

    return net._replace(cells=cells)


@functools.cache
def searched_alpha(space_name, **settings):
    """Alpha after all of a search's steps on noise."""
    method = methods.stc_nas(**settings)
    space = searched(space_name, method)
    net = indifferent(space)
    optimizers = bilevel.Optimizers(optax.sgd(0.0), optax.adam(3e-4, b1=0.5, b2=0.999))
    state = bilevel.init_state(jax.random.key(0), net, method, optimizers=optimizers)
    step = bilevel.make_step(
        net, method, optimizers=optimizers, steps_per_epoch=STEPS, epochs=EPOCHS
    )

    def random_batch(key):
        images, labels = jax.random.split(key)
        rows = jnp.arange(8, dtype=jnp.int32)
        return Batch(
            jax.random.normal(images, (8, *net.settings.image_shape)),
            jax.random.randint(labels, (8,), 0, CLASSES),
            rows,
            rows,
            jnp.ones(8),
        )

    def one(state, key):
        train, valid = jax.random.split(key)
        return step(state, random_batch(train), random_batch(valid))[0], None

    keys = jax.random.split(jax.random.key(1), STEPS * EPOCHS)
    with jax.numpy_dtype_promotion("standard"):  # Adam of optax promotes an integer
        state, _ = jax.jit(lambda s, k: jax.lax.scan(one, s, k))(state, keys)
    assert int(state.step) == STEPS * EPOCHS
    return {name: np.asarray(values) for name, values in state.alpha.items()}


@pytest.mark.parametrize("space", spaces.SPACES)
def test_a_whole_search_leaves_no_alpha_dead(space):
    """Fig. 9: the smallest entry is 0.28, winners are near 1."""
    for values in searched_alpha(space).values():
        assert values.min() > 0.0
        assert values.max() > 0.9


def test_a_gradient_to_all_entries_kills_most_of_them():
    """Why it is not the default: a ReLU that is dead for good."""
    (values,) = searched_alpha("nasbench201", js_gradient="all").values()
    assert (values <= 0).mean() > 0.5
