"""The bilevel step against closed forms, finite differences and gradients by hand."""

import functools
from typing import NamedTuple

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from nasjax import bilevel, layers, methods, operations, schedules, spaces, supernet
from nasjax.architecture import Mixture
from nasjax.bilevel import Optimizers, unrolled_arch_gradient
from nasjax.data.batches import Batch
from nasjax.engine.scan import apply_cell, cell_template
from nasjax.optimizers import weight_optimizer
from tests.compilations import lowered

#: The same numbers, compiled in half the time.
compiled = functools.partial(
    jax.jit, compiler_options={"xla_backend_optimization_level": 0}
)

# --- the unrolled gradient ------------------------------------------------------


def inner(optimizer, state):
    """The inner step that an optax optimizer takes from a state."""

    def step(weights, gradient):
        updates, _ = optimizer.update(gradient, state, weights)
        return optax.apply_updates(weights, updates)

    return step


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_closed_form_of_a_quadratic_problem(momentum, decay):
    """The inner step's derivative in alpha, with momentum and decay, by hand.

    L_train = w'Aw/2 + w'Ba and L_valid = |w - t|²/2 + w'Ca, so that
    w' = w - lr (momentum m + Aw + Ba + decay w) and dw'/da = -lr B.
    """
    rng = np.random.default_rng(0)
    lr, n, m = 0.3, 4, 3
    draw = {
        "root": (n, n), "b": (n, m), "c": (n, m), "t": (n,), "w": (n,), "a": (m,),
        "velocity": (n,),
    }  # fmt: skip
    p = {k: rng.normal(size=shape).astype(np.float32) for k, shape in draw.items()}
    a = p["root"] @ p["root"].T
    gradient = a @ p["w"] + p["b"] @ p["a"] + decay * p["w"]
    stepped = p["w"] - lr * (momentum * p["velocity"] + gradient)
    outer = stepped - p["t"] + p["c"] @ p["a"]
    expected = p["c"].T @ stepped - lr * p["b"].T @ outer
    value = 0.5 * np.sum((stepped - p["t"]) ** 2) + stepped @ p["c"] @ p["a"]

    optimizer = optax.chain(
        optax.add_decayed_weights(decay), optax.sgd(lr, momentum=momentum)
    )
    state = jax.tree.map(lambda _: jnp.asarray(p["velocity"]), optimizer.init(p["w"]))
    got = jax.jit(
        lambda w, arch: unrolled_arch_gradient(
            lambda w, arch: 0.5 * w @ a @ w + w @ p["b"] @ arch,
            lambda w, arch: 0.5 * jnp.sum((w - p["t"]) ** 2) + w @ p["c"] @ arch,
            w,
            arch,
            inner_step=inner(optimizer, state),
        )
    )(p["w"], p["a"])
    np.testing.assert_allclose(got[0], value, rtol=1e-5)
    np.testing.assert_allclose(
        got[1], expected, rtol=0, atol=2e-5 * abs(expected).max()
    )


class Problem(NamedTuple):
    """A smooth bilevel problem: no second derivative is constant or zero."""

    weights: dict
    arch: dict
    train: tuple
    valid: tuple

    def loss(self, data, weights, arch):
        x, y = data
        hidden = jnp.tanh(x @ weights["in"]) * jax.nn.softmax(arch["gate"])[None]
        out = jnp.tanh(hidden @ weights["out"]) * jnp.exp(arch["scale"])
        return jnp.mean(jnp.square(out - y)) + 0.1 * jnp.sum(weights["out"] ** 4)

    def train_loss(self, weights, arch):
        return self.loss(self.train, weights, arch)

    def valid_loss(self, weights, arch):
        return self.loss(self.valid, weights, arch)


def problem(dtype=np.float32):
    rng = np.random.default_rng(1)

    def draw(*shape):
        return jnp.asarray(rng.normal(size=shape), dtype)

    return Problem(
        {"in": draw(3, 4), "out": draw(4)},
        {"gate": draw(4), "scale": draw()},
        (draw(6, 3), draw(6)),
        (draw(6, 3), draw(6)),
    )


def real_optimizer(lr=0.4):
    """SGD as searches use it, the clip active."""
    return optax.chain(
        optax.clip_by_global_norm(0.5),
        optax.add_decayed_weights(0.05),
        optax.sgd(lr, momentum=0.9, nesterov=False),
    )


def flat(tree):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def test_finite_differences_in_float64():
    with jax.enable_x64(True):
        p = problem(np.float64)
        optimizer = real_optimizer()
        _, state = optimizer.update(
            jax.jit(jax.grad(p.valid_loss))(p.weights, p.arch),
            optimizer.init(p.weights),
            p.weights,
        )
        step = inner(optimizer, state)

        @jax.jit
        def objective(arch):
            gradient = jax.grad(p.train_loss)(p.weights, arch)
            return p.valid_loss(step(p.weights, gradient), arch)

        _, gradient = jax.jit(
            lambda arch: unrolled_arch_gradient(
                p.train_loss, p.valid_loss, p.weights, arch, inner_step=step
            )
        )(p.arch)
        leaves, structure = jax.tree.flatten(p.arch)
        sizes = np.cumsum([leaf.size for leaf in leaves])[:-1]
        centre = flat(p.arch)

        def at(vector):
            parts = np.split(vector, sizes)
            shaped = [a.reshape(b.shape) for a, b in zip(parts, leaves, strict=True)]
            return float(objective(jax.tree.unflatten(structure, shaped)))

        h = 1e-5
        differences = [
            (at(centre + h * unit) - at(centre - h * unit)) / (2 * h)
            for unit in np.eye(centre.size)
        ]
        assert gradient["gate"].dtype == jnp.float64
        np.testing.assert_allclose(flat(gradient), differences, rtol=1e-7, atol=1e-9)
    assert jnp.asarray(1.0).dtype == jnp.float32


def test_equations_7_and_8_and_not_the_bugs_of_peers():
    """DARTS's own expression for plain SGD, its second derivatives explicit."""
    p, xi = problem(), 0.4
    flat_weights, unflatten = jax.flatten_util.ravel_pytree(p.weights)
    flat_arch, unflatten_arch = jax.flatten_util.ravel_pytree(p.arch)

    def train(w, a):
        return p.train_loss(unflatten(w), unflatten_arch(a))

    def valid(w, a):
        return p.valid_loss(unflatten(w), unflatten_arch(a))

    @compiled
    def by_hand(w, a):
        """What Eq. 7 and 8 give, and what peers made of them."""
        weight_gradient, arch_gradient = jax.grad(train), jax.grad(train, argnums=1)
        stepped = w - xi * weight_gradient(w, a)
        outer, direct = jax.grad(valid, argnums=(0, 1))(stepped, a)
        mixed = jax.jacfwd(weight_gradient, argnums=1)  # d²L_train / dw da
        second = xi * mixed(w, a).T @ outer
        eps = 0.01 / jnp.linalg.norm(outer)
        difference = arch_gradient(w + eps * outer, a) - arch_gradient(
            w - eps * outer, a
        )
        wrong = {
            "dropped second term": direct,
            "first order": jax.grad(valid, argnums=1)(w, a),
            "(p-n)/2.*eps": direct - xi * difference / 2.0 * eps,
            "w' for w": direct - xi * mixed(stepped, a).T @ outer,
            "w for w'": direct - xi * mixed(w, a).T @ jax.grad(valid)(w, a),
            "wrong sign": direct + second,
        }
        return direct - second, direct - xi * difference / (2 * eps), wrong

    exact, eq_8, wrong = by_hand(flat_weights, flat_arch)
    _, gradient = compiled(
        lambda weights, arch: unrolled_arch_gradient(
            p.train_loss,
            p.valid_loss,
            weights,
            arch,
            inner_step=lambda w, g: jax.tree.map(lambda w, g: w - xi * g, w, g),
        )
    )(p.weights, p.arch)
    gradient = jax.flatten_util.ravel_pytree(gradient)[0]
    tolerance = 1e-6
    np.testing.assert_allclose(gradient, exact, rtol=0, atol=tolerance)
    np.testing.assert_allclose(gradient, eq_8, rtol=0, atol=1e-4)
    for name, variant in wrong.items():
        assert np.abs(variant - gradient).max() > 1000 * tolerance, name


# --- the step, on a network of a few lines --------------------------------------

HIDDEN, CLASSES, BATCH = 6, 3, 8
STEPS, EPOCHS = 3, 4


def toy(space):
    """A supernet as a search space of one's own may have it: smooth and small."""
    image_shape = (2, 2, 1)
    settings = supernet.Settings(
        1, 1, CLASSES, image_shape, jnp.dtype(jnp.float32), layers.Context()
    )
    count = len(space.cell_types) * space.num_edges * space.num_ops
    template = {
        "in": layers.kernel(HIDDEN, 4),
        "gate": layers.kernel(HIDDEN, count),
        "out": layers.kernel(CLASSES, HIDDEN),
    }

    def dense(architecture):
        if isinstance(architecture, Mixture):
            return architecture.weights
        factor = jnp.where(architecture.active, architecture.weight, 0.0)
        chosen = jax.nn.one_hot(architecture.operation, space.num_ops)
        return chosen * factor[:, None]

    def cells(weights, architecture, images):
        flat_images = images.reshape(images.shape[0], -1)
        factors = jnp.concatenate(
            [dense(architecture[name]).ravel() for name in space.cell_types]
        )
        gate = jnp.tanh(2.0 * weights["gate"] @ factors)
        hidden = jnp.tanh(flat_images @ weights["in"].T) * (1.0 + gate)[None]
        return 2.0 * hidden @ weights["out"].T

    return supernet.Supernet(
        space,
        settings,
        init=lambda key: layers.draw(key, template),
        stem=lambda weights, images: images,
        cells=cells,
        macs=lambda cost: 0,
    )


def batch(seed, net, size=BATCH, weights=None):
    rng = np.random.default_rng(seed)
    shape = size, *net.settings.image_shape
    return Batch(
        images=jnp.asarray(rng.normal(size=shape), jnp.float32),
        labels=jnp.asarray(rng.integers(0, CLASSES, size), jnp.int32),
        ids=100 + jnp.arange(size, dtype=jnp.int32),
        rows=jnp.arange(size, dtype=jnp.int32)[::-1],
        weights=jnp.ones(size) if weights is None else jnp.asarray(weights),
    )


def sgd(weights, alpha):
    return Optimizers(optax.sgd(weights, momentum=0.9), optax.sgd(alpha))


def start(net, method, optimizers, seed=0):
    return bilevel.init_state(
        jax.random.key(seed), net, method, optimizers=optimizers, num_examples=BATCH
    )


def make(net, method, optimizers):
    return bilevel.make_step(
        net, method, optimizers=optimizers, steps_per_epoch=STEPS, epochs=EPOCHS
    )


@functools.cache
def build(
    name="darts", *, space="nasbench201", weights_lr=0.5, alpha_lr=1.0, **settings
):
    """A network, its first state, and its step, compiled once for all tests."""
    method = methods.METHODS[name](**settings)
    net = toy(method.adapt(spaces.SPACES[space]()))
    optimizers = sgd(weights_lr, alpha_lr)
    return net, start(net, method, optimizers), compiled(make(net, method, optimizers))


def mean_loss(net, weights, alpha, data):
    """Softmax mixture and cross-entropy, written out."""
    architecture = {
        name: Mixture(jnp.exp(a) / jnp.exp(a).sum(axis=1, keepdims=True))
        for name, a in alpha.items()
    }
    return loss_of(net, weights, architecture, data)


def loss_of(net, weights, architecture, data):
    """Mean cross-entropy of one architecture, written out."""
    logits = net.apply(weights, architecture, data.images)
    chosen = jnp.take_along_axis(logits, data.labels[:, None], axis=1)[:, 0]
    each = jnp.log(jnp.exp(logits).sum(axis=1)) - chosen
    return jnp.sum(each * data.weights) / jnp.sum(data.weights)


def assert_same_bits(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_array_equal(a, b)


def differ(one, other):
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return any((np.asarray(a) != np.asarray(b)).any() for a, b in pairs)


METHODS = {
    "darts-1": ("darts", {"order": 1}),
    "darts-2": ("darts", {"order": 2}),
    "stc_nas": ("stc_nas", {}),
    "sd_darts": ("sd_darts", {"warmup": 1, "window": 1}),
    "msg_das": ("msg_das", {}),
    "random": ("random", {}),
}
SAMPLING = ("stc_nas", "msg_das", "random")
every_method = pytest.mark.parametrize(
    ("name", "settings"), METHODS.values(), ids=list(METHODS)
)


@pytest.mark.parametrize("order", [1, 2])
def test_a_step_is_two_gradient_steps_one_after_the_other(order):
    """Alpha on the valid batch at the old weights; weights at the new alpha."""
    net, state, step = build(order=order)
    train, valid = batch(0, net), batch(1, net)
    state, _ = step(state, train, valid)  # momentum is no longer zero
    (velocity,) = (
        s.trace for s in state.weight_optimizer if isinstance(s, optax.TraceState)
    )

    def outer(alpha):
        weights = state.weights
        if order == 2:
            gradient = jax.grad(mean_loss, argnums=1)(net, weights, alpha, train)
            weights = jax.tree.map(
                lambda w, v, g: w - 0.5 * (0.9 * v + g), weights, velocity, gradient
            )
        return mean_loss(net, weights, alpha, valid)

    alpha = jax.tree.map(lambda a, g: a - g, state.alpha, jax.grad(outer)(state.alpha))
    gradient = jax.grad(mean_loss, argnums=1)(net, state.weights, alpha, train)
    weights = jax.tree.map(
        lambda w, v, g: w - 0.5 * (0.9 * v + g), state.weights, velocity, gradient
    )
    after, _ = step(state, train, valid)
    for got, expected in ((after.alpha, alpha), (after.weights, weights)):
        np.testing.assert_allclose(flat(got), flat(expected), rtol=0, atol=2e-6)
    assert differ(after.alpha, state.alpha)
    assert int(after.step) == 2


def test_the_two_orders_differ_by_more_than_rounding():
    alphas = []
    for order in (1, 2):
        net, state, step = build(order=order)
        state, _ = step(state, batch(0, net), batch(1, net))
        alphas.append(flat(state.alpha))
    assert np.abs(alphas[0] - alphas[1]).max() > 1e-3


@every_method
def test_zero_learning_rates_change_nothing(name, settings):
    net, state, step = build(name, weights_lr=0.0, alpha_lr=0.0, **settings)
    after, _ = step(state, batch(0, net), batch(1, net))
    assert_same_bits((after.weights, after.alpha), (state.weights, state.alpha))
    assert int(after.step) == 1


@every_method
@pytest.mark.parametrize("space", spaces.SPACES)
def test_the_state_keeps_its_types(name, settings, space):
    """Weak types too: they are a type to the compiler."""
    net, state, step = build(name, space=space, **settings)

    def types(tree):
        weak = [getattr(a, "weak_type", False) for a in jax.tree.leaves(tree)]
        return jax.tree.map(lambda a: (a.shape, a.dtype), tree), weak

    after, metrics = jax.eval_shape(step, state, batch(0, net), batch(1, net))
    assert types(after) == types(state)
    assert all(v.shape == () and v.dtype == jnp.float32 for v in metrics.values())


@every_method
@pytest.mark.parametrize("space", spaces.SPACES)
def test_the_first_state_can_be_donated(name, settings, space):
    """No two of its arrays are one: a buffer is given away once."""
    method = methods.METHODS[name](**settings)
    net = toy(method.adapt(spaces.SPACES[space]()))
    state = start(net, method, sgd(0.5, 1.0), seed=4)
    expected = jax.tree.map(np.array, (state.weights, state.alpha))
    copy = jax.jit(lambda state: jax.tree.map(jnp.copy, state), donate_argnums=0)
    copied = copy(state)
    assert_same_bits((copied.weights, copied.alpha), expected)


@every_method
def test_the_second_step_compiles_nothing(name, settings):
    net, state, step = build(name, **settings)
    first, _ = step(state, batch(0, net), batch(1, net))
    with lowered() as names:
        second, _ = step(first, batch(0, net), batch(1, net))
    assert names == []
    assert differ(second.weights, first.weights)


@every_method
def test_the_same_key_gives_the_same_bits(name, settings):
    net, state, step = build(name, **settings)
    arguments = batch(0, net), batch(1, net)
    one, other = step(state, *arguments), step(state, *arguments)
    assert_same_bits(one, other)
    third = step(state._replace(key=jax.random.key(7)), *arguments)
    # Sampling reads the key; a softmax mixture has nothing to sample.
    assert differ(one[0].weights, third[0].weights) == (name in SAMPLING)


def test_each_step_samples_anew():
    net, state, step = build("stc_nas", weights_lr=0.0, alpha_lr=0.0)
    data = batch(0, net), batch(1, net)
    seen = set()
    for _ in range(5):
        state, metrics = step(state, *data)
        seen.add(float(metrics["weight_loss"]))
    assert len(seen) == 5


@every_method
def test_jit_changes_nothing_but_rounding(name, settings):
    net, state, step = build(name, **settings)
    arguments = state, batch(0, net), batch(1, net)
    fast, eager = step(*arguments), step.__wrapped__(*arguments)
    for part in ("weights", "alpha"):
        np.testing.assert_allclose(
            flat(getattr(fast[0], part)), flat(getattr(eager[0], part)), atol=1e-6
        )
    np.testing.assert_allclose(flat(fast[1]), flat(eager[1]), rtol=1e-5)


@every_method
def test_an_example_of_weight_0_only_fills_up(name, settings):
    net, state, step = build(name, **settings)
    ragged = [1.0] * 5 + [0.0] * 3
    train, valid = batch(0, net, weights=ragged), batch(1, net, weights=ragged)

    def relabel(data, first):
        at = slice(first, None)
        return data._replace(labels=data.labels.at[at].set((data.labels[at] + 1) % 3))

    plain, metrics = step(state, train, valid)
    assert_same_bits(plain, step(state, relabel(train, 5), relabel(valid, 5))[0])
    relabelled = step(state, train, relabel(valid, 4))[0].alpha
    assert differ(plain.alpha, relabelled) == (name != "random")
    assert differ(plain.weights, step(state, relabel(train, 4), valid)[0].weights)
    assert float(metrics["weight_count"]) == 5.0
    assert float(metrics["arch_count"]) == 5.0 * (name != "random")
    # This network knows no batch statistics: the five alone make the same step.
    few = jax.tree.map(lambda a: a[:5], (train, valid))
    alone, few_metrics = step(state, *few)
    np.testing.assert_allclose(flat(plain.weights), flat(alone.weights), atol=1e-6)
    np.testing.assert_allclose(flat(plain.alpha), flat(alone.alpha), atol=1e-6)
    assert bilevel.summarise(metrics) == pytest.approx(
        bilevel.summarise(few_metrics), rel=1e-5, abs=1e-6
    )


def test_metrics_are_sums_over_examples():
    net, state, step = build(weights_lr=0.0, alpha_lr=0.0)
    train, valid = batch(0, net, weights=[1.0] * 6 + [0.0] * 2), batch(1, net)
    _, metrics = step(state, train, valid)
    means = bilevel.summarise(metrics)
    mixture = {k: Mixture(jax.nn.softmax(a)) for k, a in state.alpha.items()}
    for group, data, count in (("weight", train, 6), ("arch", valid, 8)):
        assert float(metrics[f"{group}_count"]) == count
        loss = float(mean_loss(net, state.weights, state.alpha, data))
        assert means[f"{group}_loss"] == pytest.approx(loss, rel=1e-5)
        logits = np.asarray(net.apply(state.weights, mixture, data.images))
        hits = logits.argmax(axis=1) == np.asarray(data.labels)
        assert means[f"{group}_accuracy"] == pytest.approx(hits[:count].mean())
        assert means[f"{group}_added_loss"] == 0.0


def test_added_losses_and_memory_see_progress_and_epoch():
    """A composed method: its terms enter the gradients, its memory is carried."""
    probe = methods.darts()._replace(
        init_memory=lambda num_examples, num_classes: jnp.zeros(
            (1, num_examples, num_classes)
        ),
        remember=lambda memory, batch, probs, epoch: memory.at[0, batch.rows].add(
            probs + epoch.astype(jnp.float32)
        ),
    )
    probe = methods.add_arch_loss(
        probe, lambda t: 3.0 * t.progress * t.alpha["cell"].sum()
    )
    probe = methods.add_weight_loss(
        probe, lambda t: t.epoch.astype(jnp.float32) + 0.5 * jnp.sum(t.memory)
    )
    space = spaces.nasbench201()
    net, optimizers = toy(space), sgd(0.5, 1.0)
    state, step = start(net, probe, optimizers), compiled(make(net, probe, optimizers))
    plain = compiled(make(net, methods.darts(), optimizers))
    train, valid = batch(0, net), batch(1, net)
    assert state.memory.shape == (1, BATCH, CLASSES)
    for number in range(2 * STEPS):
        without, _ = plain(state._replace(memory=()), train, valid)
        before, (state, metrics) = state, step(state, train, valid)
        progress = number / (STEPS * EPOCHS)
        # Plain SGD at rate 1: the term's gradient is what alpha moved beyond.
        moved = np.asarray(without.alpha["cell"] - state.alpha["cell"])
        np.testing.assert_allclose(moved, 3.0 * progress, atol=2e-6)
        means = bilevel.summarise(metrics)
        expected = number // STEPS + 0.5 * float(before.memory.sum())
        assert means["weight_added_loss"] == pytest.approx(expected, rel=1e-5)
        mixture = {k: Mixture(jax.nn.softmax(a)) for k, a in state.alpha.items()}
        logits = net.apply(before.weights, mixture, train.images)
        # The row of an example is where it is remembered; here the last is first.
        probs = jax.nn.softmax(logits)[::-1] + jnp.float32(number // STEPS)
        np.testing.assert_allclose((state.memory - before.memory)[0], probs, atol=1e-5)


# --- what a method may ask of the step ------------------------------------------


def compiled_step(method, *, weights_lr=0.5, alpha_lr=1.0, alpha_optimizer=None):
    """A network, its first state, and the step of a method made for a test."""
    net = toy(method.adapt(spaces.nasbench201()))
    optimizers = sgd(weights_lr, alpha_lr)
    if alpha_optimizer is not None:
        optimizers = optimizers._replace(alpha=alpha_optimizer)
    return net, start(net, method, optimizers), compiled(make(net, method, optimizers))


SUBGRAPHS = 3


def several(alpha):
    """Three mixtures of one alpha, no two alike, ``[K, E, O]``."""
    scales = jnp.array([0.5, 1.0, -2.0]).reshape(-1, 1, 1)
    return jax.nn.softmax(scales * alpha[None])


def of_several(order=1):
    """A method that runs them all."""
    return methods.Method(
        "several",
        methods.darts(alpha_scale=0.5).init,
        lambda key, alpha, progress, space: {"cell": Mixture(several(alpha["cell"]))},
        order=order,
        subgraphs=SUBGRAPHS,
    )


@pytest.mark.parametrize("order", [1, 2])
def test_the_loss_of_several_sub_graphs_is_the_sum_of_theirs(order):
    """And so are both gradients; the metrics are means."""
    net, state, step = compiled_step(of_several(order))
    ragged = [1.0] * 6 + [0.0] * 2
    train, valid = batch(0, net), batch(1, net, weights=ragged)

    def each(weights, alpha, data):
        return [
            loss_of(net, weights, {"cell": Mixture(one)}, data)
            for one in several(alpha["cell"])
        ]

    def total(weights, alpha, data):
        return sum(each(weights, alpha, data))

    def outer(alpha):
        weights = state.weights
        if order == 2:
            gradient = jax.grad(total)(weights, alpha, train)
            weights = jax.tree.map(lambda w, g: w - 0.5 * g, weights, gradient)
        return total(weights, alpha, valid)

    gradient = compiled(jax.grad(outer))(state.alpha)
    alpha = jax.tree.map(lambda a, g: a - g, state.alpha, gradient)
    gradient = compiled(jax.grad(total))(state.weights, alpha, train)
    weights = jax.tree.map(lambda w, g: w - 0.5 * g, state.weights, gradient)
    after, metrics = step(state, train, valid)
    for got, expected in ((after.alpha, alpha), (after.weights, weights)):
        np.testing.assert_allclose(flat(got), flat(expected), rtol=0, atol=4e-6)
    means = bilevel.summarise(metrics)
    for group, its_alpha, data in (
        ("arch", state.alpha, valid),
        ("weight", alpha, train),
    ):
        losses = np.array(each(state.weights, its_alpha, data))
        assert np.ptp(losses) > 0.01  # which one is left out would show
        assert means[f"{group}_loss"] == pytest.approx(losses.mean(), rel=1e-5)
        assert means[f"{group}_added_loss"] == 0.0


def test_each_sub_graph_adds_its_loss_and_is_projected_in_turn():
    def added(terms):
        assert terms.logits.shape == (BATCH, CLASSES)
        return jnp.sum(terms.architecture["cell"].weights[:, 0] * terms.progress)

    def remember(memory, batch, probs, epoch):
        return memory.at[0, batch.rows].set(probs)

    method = of_several()._replace(
        project=lambda alpha, one, *_: {
            "cell": 0.5 * alpha["cell"] + one["cell"].weights
        },
        init_memory=lambda number, classes: jnp.zeros((1, number, classes)),
        remember=remember,
    )
    method = methods.add_weight_loss(method, added)
    net, state, step = compiled_step(method, alpha_lr=0.0)
    state = state._replace(step=jnp.int32(STEPS))  # a quarter of the search
    train = batch(0, net)
    after, metrics = step(state, train, batch(1, net))
    mixtures = several(state.alpha["cell"])
    alpha = state.alpha["cell"]
    for one in mixtures:
        alpha = 0.5 * alpha + one
    np.testing.assert_allclose(after.alpha["cell"], alpha, rtol=1e-5)
    mixtures = several(after.alpha["cell"])
    expected = 0.25 * float(mixtures[:, :, 0].sum()) / SUBGRAPHS
    means = bilevel.summarise(metrics)
    assert means["weight_added_loss"] == pytest.approx(expected, rel=1e-5)
    # Kept of an example is the mean of what they said.
    probs = [
        jax.nn.softmax(net.apply(state.weights, {"cell": Mixture(m)}, train.images))
        for m in mixtures
    ]
    mean = np.mean(np.stack(probs), axis=0)
    np.testing.assert_allclose(after.memory[0], mean[::-1], rtol=1e-5)


def test_order_0_trains_the_weights_and_leaves_alpha_to_the_bit():
    method = methods.darts()._replace(order=0)
    net, state, step = compiled_step(method, alpha_optimizer=optax.sgd(1.0, 0.9))
    train, valid = batch(0, net), batch(1, net)
    after, metrics = step(state, train, valid)
    untouched = (state.alpha, state.arch_optimizer)
    assert_same_bits((after.alpha, after.arch_optimizer), untouched)
    gradient = jax.grad(mean_loss, argnums=1)(net, state.weights, state.alpha, train)
    weights = jax.tree.map(lambda w, g: w - 0.5 * g, state.weights, gradient)
    np.testing.assert_allclose(flat(after.weights), flat(weights), rtol=0, atol=2e-6)
    assert int(after.step) == 1
    assert float(metrics["arch_count"]) == 0.0
    assert set(bilevel.summarise(metrics)) == {
        "weight_loss",
        "weight_accuracy",
        "weight_added_loss",
    }
    # Nothing of the validation half is read.
    assert_same_bits(step(state, train, batch(5, net))[0], after)


@pytest.mark.parametrize("order", [1, 2])
def test_alpha_waits_for_its_epoch_and_is_trained_from_there_on(order):
    first = 2
    darts = methods.darts(order=order)
    momentum = optax.sgd(1.0, 0.9)
    net, state, step = compiled_step(
        darts._replace(arch_start=first), alpha_optimizer=momentum
    )
    _, _, plain = compiled_step(darts, alpha_optimizer=momentum)
    train, valid = batch(0, net), batch(1, net)
    for number in range(STEPS * (first + 1)):
        before, (state, metrics) = state, step(state, train, valid)
        means = bilevel.summarise(metrics)
        assert differ(state.weights, before.weights)
        if number < first * STEPS:
            untouched = (before.alpha, before.arch_optimizer)
            assert_same_bits((state.alpha, state.arch_optimizer), untouched)
            assert "arch_loss" not in means
        else:
            assert differ(state.alpha, before.alpha)
            assert means["arch_loss"] > 0
            expected, _ = plain(before, train, valid)
            for part in ("alpha", "arch_optimizer", "weights"):
                got, want = getattr(state, part), getattr(expected, part)
                np.testing.assert_allclose(flat(got), flat(want), atol=1e-6)


def test_projection_waits_for_its_epoch_too():
    method = methods.stc_nas()._replace(arch_start=1)
    net, state, step = compiled_step(method)
    state = state._replace(alpha=jax.tree.map(lambda a: a + 3.0, state.alpha))
    after, _ = step(state, batch(0, net), batch(1, net))
    assert_same_bits(after.alpha, state.alpha)


def some_term(terms):
    """Reads all that an added loss may read."""
    lines = [jnp.mean(terms.logits**2), terms.mean(terms.logits[:, 0])]
    lines += [jnp.sum(terms.forward(terms.architecture) ** 2)]
    lines += [jnp.sum(terms.alpha["cell"] ** 2)]
    return sum(lines[1:], lines[0])


@pytest.mark.parametrize("which", ["weight", "arch"])
@pytest.mark.parametrize("name", ["darts-1", "darts-2", "stc_nas", "msg_das"])
def test_an_added_term_of_strength_0_leaves_the_step_to_the_bit(name, which):
    add = {"weight": methods.add_weight_loss, "arch": methods.add_arch_loss}[which]
    made, settings = METHODS[name]
    net, state, plain = build(made, **settings)
    data = batch(0, net), batch(1, net)
    method = methods.METHODS[made](**settings)
    for strength in (0.0, 1.0):
        adding = add(method, some_term, strength=schedules.constant(strength))
        _, _, step = compiled_step(adding)
        after, expected = step(state, *data)[0], plain(state, *data)[0]
        if strength:  # it is not the term that is nothing
            assert differ(after, expected)
        else:
            assert_same_bits(after, expected)


def test_an_added_strength_is_a_schedule_of_the_method():
    half = schedules.linear(1.0, 0.0)
    method = methods.add_weight_loss(
        methods.darts(), lambda t: jnp.float32(3.0), strength=half, name="mine"
    )
    assert method.schedules == {"mine": half}
    assert methods.add_arch_loss(methods.darts(), some_term).schedules == {}
    net, state, step = compiled_step(method)
    for done in (0, STEPS):
        at = state._replace(step=jnp.int32(done))
        _, metrics = step(at, batch(0, net), batch(1, net))
        expected = 3.0 * (1 - done / (STEPS * EPOCHS))
        means = bilevel.summarise(metrics)
        assert means["weight_added_loss"] == pytest.approx(expected, rel=1e-5)


def test_forward_gives_no_gradient_to_the_weights():
    """Its value is that of the network; of alpha it has the gradient."""

    def teacher(terms):
        return jnp.sum(jnp.sin(terms.forward(terms.architecture)))

    net, state, plain = build()
    train, valid = batch(0, net), batch(1, net)
    expected, _ = plain(state, train, valid)
    _, _, step = compiled_step(methods.add_weight_loss(methods.darts(), teacher))
    after, metrics = step(state, train, valid)
    np.testing.assert_allclose(flat(after.weights), flat(expected.weights), atol=1e-7)

    def by_hand(alpha, data):
        mixture = {k: Mixture(jax.nn.softmax(a)) for k, a in alpha.items()}
        return jnp.sum(jnp.sin(net.apply(state.weights, mixture, data.images)))

    value = float(by_hand(expected.alpha, train))
    assert abs(value) > 0.1
    assert bilevel.summarise(metrics)["weight_added_loss"] == pytest.approx(
        value, rel=1e-4
    )
    _, _, step = compiled_step(methods.add_arch_loss(methods.darts(), teacher))
    moved = flat(expected.alpha) - flat(step(state, train, valid)[0].alpha)
    gradient = flat(jax.grad(by_hand)(state.alpha, valid))
    assert np.abs(gradient).max() > 0.01
    np.testing.assert_allclose(moved, gradient, atol=1e-5)


def test_the_mean_of_terms_leaves_out_what_fills_up():
    ragged = [1.0] * 5 + [0.0] * 3
    values = np.arange(BATCH, dtype=np.float32)
    method = methods.add_weight_loss(
        methods.darts(), lambda t: t.mean(jnp.asarray(values))
    )
    net, state, step = compiled_step(method)
    _, metrics = step(state, batch(0, net, weights=ragged), batch(1, net))
    found = bilevel.summarise(metrics)["weight_added_loss"]
    assert found == pytest.approx(values[:5].mean())


def test_summarise_leaves_out_what_was_not_counted():
    sums = {
        "weight_loss": 6.0,
        "weight_count": 4.0,
        "arch_loss": 0.0,
        "arch_count": 0.0,
    }
    assert bilevel.summarise(jax.tree.map(jnp.float32, sums)) == {"weight_loss": 1.5}


# --- the step, on cells and supernets -------------------------------------------


def apply_smooth(weights, x, stride, context):
    x = layers.depthwise(
        jnp.tanh(x), weights["depthwise"], stride=stride, form=context.depthwise
    )
    return layers.batch_norm(layers.pointwise(x, weights["pointwise"]))


SMOOTH = operations.Operation(
    "smooth",
    lambda channels, stride: {
        "depthwise": (channels, 3, 3),
        "pointwise": (channels, channels),
    },
    apply_smooth,
    lambda channels, size, stride: 0,
)


def smooth_skeleton(space, settings):
    """Stem, one reduction cell, head: everything but ReLU and the maximum."""
    channels = settings.channels
    template = {
        "stem": layers.stem_template((settings.image_shape[2], channels)),
        "cell": cell_template(space, channels=channels, reduction=True),
        "head": layers.head_template(
            channels * len(space.output), settings.num_classes
        ),
    }

    def cells(weights, architecture, images):
        x = layers.enter(images, settings.dtype)
        (x,), _ = layers.apply_stem(
            weights["stem"], (None,), x, stride=1, context=settings.context
        )
        x = apply_cell(
            weights["cell"],
            architecture["reduce"],
            (x, jnp.tanh(x)),
            space=space,
            reduction=True,
            context=settings.context,
        )
        return layers.apply_head(weights["head"], x)

    return supernet.Supernet(
        space,
        settings,
        init=lambda key: layers.draw(key, template),
        stem=lambda weights, images: images,
        cells=cells,
        macs=lambda cost: 0,
    )


def test_second_order_through_cells_is_its_finite_difference():
    """The unrolled objective, written out, along a few directions of alpha.

    On smooth operations: where a ReLU bends the loss, its gradient jumps, and the
    difference of an objective that contains it never converges.
    """
    space = spaces.darts(num_nodes=2)._replace(
        operations=(operations.NONE, operations.AVG_POOL_3X3, SMOOTH),
        cell_types=("reduce",),
    )
    settings = supernet.Settings(
        4, 1, CLASSES, (4, 4, 3), jnp.dtype(jnp.float32), layers.Context()
    )
    net = smooth_skeleton(space, settings)
    optimizer = optax.chain(
        optax.clip_by_global_norm(5.0),
        optax.add_decayed_weights(3e-4),
        optax.sgd(0.5, momentum=0.9),
    )
    optimizers = Optimizers(optimizer, optax.sgd(1.0))
    train, valid = batch(2, net), batch(3, net)
    steps = [compiled(make(net, methods.darts(order=o), optimizers)) for o in (1, 2)]
    state = start(net, methods.darts(alpha_scale=0.5), optimizers)
    state, _ = steps[0](state, train, valid)  # momentum is no longer zero

    @compiled
    def objective(alpha):
        gradient = jax.grad(mean_loss, argnums=1)(net, state.weights, alpha, train)
        updates, _ = optimizer.update(gradient, state.weight_optimizer, state.weights)
        weights = optax.apply_updates(state.weights, updates)
        return mean_loss(net, weights, alpha, valid)

    alpha = np.asarray(state.alpha["reduce"])
    first, second = (
        alpha - np.asarray(step(state, train, valid)[0].alpha["reduce"])
        for step in steps
    )
    rng, h = np.random.default_rng(0), 1e-2
    misses = {"first": [], "second": []}
    for _ in range(5):
        direction = rng.normal(size=alpha.shape)
        direction /= np.linalg.norm(direction)
        up, down = (
            float(
                objective({"reduce": jnp.asarray(alpha + s * direction, jnp.float32)})
            )
            for s in (h, -h)
        )
        slope = (up - down) / (2 * h)
        for name, gradient in (("first", first), ("second", second)):
            miss = abs(slope - np.vdot(gradient, direction))
            misses[name].append(miss / np.linalg.norm(second))
    assert max(misses["second"]) < 0.01
    assert max(misses["first"]) > 0.1


def test_the_inner_step_clips_or_does_not():
    """The library's own optimizer and step, on a problem with a closed form.

    L_train = <w, a> and L_valid = |w|²/2, so that without clipping w' = w - lr a and
    d/da L_valid(w') = -lr w'. Clipped to c < |a|, w' = w - lr c a / |a|, whose
    derivative is -lr c (1 - a a' / |a|²) / |a|.
    """
    lr, clip = 0.3, 0.5
    w, a = np.array([1.0, -2.0, 0.5]), np.array([0.6, 0.8, -1.2])
    optimizer = optax.with_extra_args_support(
        weight_optimizer(
            lambda count: lr, momentum=0.0, weight_decay=0.0, clip_norm=clip
        )
    )
    weights, arch = jnp.asarray(w, jnp.float32), jnp.asarray(a, jnp.float32)
    state = optimizer.init(weights)
    length = np.linalg.norm(a)
    unit = a / length
    jacobian = -lr * clip / length * (np.eye(3) - np.outer(unit, unit))
    expected = {
        True: jacobian @ (w - lr * clip * unit),
        False: -lr * (w - lr * a),
    }
    for clips, wanted in expected.items():

        def inner_step(weights, gradient, clips=clips):
            updates, _ = optimizer.update(gradient, state, weights, clips=clips)
            return optax.apply_updates(weights, updates)

        _, gradient = unrolled_arch_gradient(
            jnp.vdot,
            lambda w, a: 0.5 * jnp.vdot(w, w) + 0.0 * a.sum(),
            weights,
            arch,
            inner_step=inner_step,
        )
        np.testing.assert_allclose(gradient, wanted, rtol=1e-5, atol=1e-6)


def test_the_step_clips_within_as_the_method_says():
    """Without, it is that of weights which are never clipped; alpha alone can tell."""
    net = toy(spaces.SPACES["nasbench201"]())
    train, valid = batch(2, net), batch(3, net)

    def alpha_after(clip_norm, **settings):
        method = methods.darts(order=2, **settings)
        optimizers = Optimizers(
            weight_optimizer(lambda count: 0.5, clip_norm=clip_norm), optax.sgd(1.0)
        )
        state = start(net, method, optimizers)
        return compiled(make(net, method, optimizers))(state, train, valid)[0].alpha

    unclipped = alpha_after(0.0)["cell"]
    without = alpha_after(0.05, inner_clip=False)["cell"]
    within = alpha_after(0.05)["cell"]
    np.testing.assert_array_equal(without, unclipped)
    assert np.abs(within - unclipped).max() > 1e-4
