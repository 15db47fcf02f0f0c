"""GDAS, SNAS, PC-DARTS and random search, and the choice that ends the last."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy

from nasjax import layers, methods, schedules, spaces
from nasjax.architecture import Mixture, Path
from nasjax.data.batches import epoch_order, take
from nasjax.engine.scan import apply_cell, cell_template
from nasjax.layers import PLAIN
from nasjax.methods.baselines.pc_darts import edge_name
from nasjax.search.epoch import make_choose
from tests import catalogue
from tests.catalogue import BATCH, STEPS, compiled

#: Chance that a right sampler fails a statistical test, had its key been drawn.
FALSE_ALARM = 1e-6
ROW = np.array([0.5, -1.0, 1.5, 0.0, 0.2], np.float32)


def uneven(space, seed=0):
    rng = np.random.default_rng(seed)
    shape = space.num_edges, space.num_ops
    return {
        name: jnp.asarray(rng.normal(size=shape), jnp.float32)
        for name in space.cell_types
    }


def sampler(method, space, number):
    """``(key, alpha, progress) -> architectures`` with a leading ``number``."""

    def run(key, alpha, progress):
        keys = jax.random.split(key, number)
        return jax.vmap(lambda key: method.relax(key, alpha, progress, space))(keys)

    return compiled(run)


# --- GDAS -----------------------------------------------------------------------


def test_gdas_draws_an_operation_by_the_softmax_of_alpha(key):
    """Whatever the temperature; every edge runs, with a weight of one."""
    space, number = spaces.nasbench201(), 10_000
    alpha = {"cell": jnp.asarray(np.tile(ROW, (6, 1)))}
    draw = sampler(methods.gdas(), space, number)
    for progress in (0.0, 1.0):
        path = draw(key, alpha, jnp.float32(progress))["cell"]
        counts = np.bincount(np.asarray(path.operation).ravel(), minlength=5)
        expected = counts.sum() * scipy.special.softmax(ROW.astype(np.float64))
        assert scipy.stats.chisquare(counts, expected).pvalue > FALSE_ALARM
        assert path.active.all()
        np.testing.assert_array_equal(path.weight, np.ones((number, 6)))


def test_gdas_sharpens_its_gradient_with_progress(key):
    """d weight_n / d alpha_m = h_n (1[n = m] - h_m) / tau, tau from 10 to 0.1."""
    space, method = spaces.nasbench201(), methods.gdas()
    alpha = uneven(space)["cell"]

    def weight(alpha, progress):
        path = method.relax(key, {"cell": alpha}, progress, space)["cell"]
        return path.weight.sum(), path.operation

    gradient = compiled(jax.grad(weight, has_aux=True))
    (subkey,) = jax.random.split(key, 1)
    noisy = np.float64(alpha) + np.float64(jax.random.gumbel(subkey, (6, 5)))
    for progress, tau in ((0.0, 10.0), (0.5, 5.05), (1.0, 0.1)):
        value, operation = gradient(alpha, jnp.float32(progress))
        soft = scipy.special.softmax(noisy / tau, axis=1)
        chosen = np.eye(5)[np.asarray(operation)]
        own = (soft * chosen).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(value, own * (chosen - soft) / tau, atol=1e-5)


def published_cell(hard, index, weights, x, space):
    """A NAS-Bench-201 cell of the published search, in plain JAX.

    Of an edge, the operation chosen times its hard weight, plus the hard weights of the
    others, as scalars.
    """
    nodes = [x] + [jnp.zeros_like(x)] * (space.num_states - 1)
    for edge, (source, target) in enumerate(space.edges):
        for number, operation in enumerate(space.operations):
            term = hard[edge, number]
            if number == index[edge]:
                own = jax.tree.map(lambda a: a[edge], weights.get(operation.name, {}))  # noqa: B023
                term = term * operation.apply(own, nodes[source], 1, PLAIN)
            nodes[target] = nodes[target] + term
    return nodes[-1]


def test_gdas_passes_the_gradient_of_what_it_did_not_choose(key):
    """Of a whole cell, `none` and inner edges among them, as the published code has it.

    The forward pass is the same with and without.
    """
    space, method = spaces.nasbench201(), methods.gdas(unchosen_gradient=True)
    weights = layers.draw(key, cell_template(space, channels=4, reduction=False))
    x = jax.random.normal(jax.random.key(1), (4, 6, 6, 3))
    alpha, progress = uneven(space)["cell"], jnp.float32(0.8)  # tau 2.08
    wave = jnp.cos(1.7 * jnp.arange(x.size, dtype=jnp.float32)).reshape(x.shape)

    def ours(alpha, weights, x, method=method):
        runs = method.relax(key, {"cell": alpha}, progress, space)["cell"]
        settings = {"space": space, "reduction": False, "context": PLAIN}
        y = apply_cell(weights, runs, (x,), **settings)
        return (wave * (y + 0.3 * y**2)).sum(), y

    (subkey,) = jax.random.split(key, 1)
    noise = jax.random.gumbel(subkey, (6, 5))
    index = np.asarray(jnp.argmax(alpha + noise, axis=1))
    assert 0 in index  # none
    assert len(set(index.tolist())) > 2

    def theirs(alpha, weights, x):
        soft = jax.nn.softmax((alpha + noise) / 2.08)
        one_hot = jnp.asarray(np.eye(5, dtype=np.float32)[index])
        hard = one_hot - jax.lax.stop_gradient(soft) + soft
        y = published_cell(hard, index, weights[0], x, space)
        return (wave * (y + 0.3 * y**2)).sum(), y

    def gradients(loss):
        run = compiled(jax.grad(loss, (0, 1, 2), has_aux=True))
        return run(alpha, weights, x)

    with_it, y = gradients(ours)
    expected, _ = gradients(theirs)
    for a, b in zip(jax.tree.leaves(with_it), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=5e-5 * float(jnp.abs(b).max()))
    without, same = gradients(functools.partial(ours, method=methods.gdas()))
    np.testing.assert_array_equal(y, same)
    assert np.abs(without[0] - with_it[0]).max() > 0.1 * np.abs(with_it[0]).max()


def test_the_gradient_of_one_edge_of_gdas_is_its_formula(key):
    """(<g, y> - sum g) h_n (1[n = m] - h_m) / tau, of the operation n that ran."""
    space = spaces.nasbench201()._replace(edges=((0, 1),), output=(1,))
    method, tau = methods.gdas(unchosen_gradient=True), 5.05
    weights = layers.draw(key, cell_template(space, channels=2, reduction=False))
    x = jax.random.normal(jax.random.key(1), (2, 4, 4, 3))
    g = jax.random.normal(jax.random.key(2), x.shape)
    alpha = jnp.zeros((1, 5))

    @compiled
    def gradient(key):
        def loss(alpha):
            runs = method.relax(key, {"cell": alpha}, jnp.float32(0.5), space)["cell"]
            settings = {"space": space, "reduction": False, "context": PLAIN}
            y = apply_cell(weights, runs, (x,), **settings)
            return jnp.vdot(g, y), (y, runs.operation)

        return jax.grad(loss, has_aux=True)(alpha)

    drawn = set()
    for one in jax.random.split(key, 12):
        value, (y, [chosen]) = gradient(one)
        (subkey,) = jax.random.split(one, 1)
        soft = scipy.special.softmax(np.float64(jax.random.gumbel(subkey, (5,))) / tau)
        outer = np.vdot(np.float64(g), np.float64(y)) - np.float64(g).sum()
        expected = outer * soft[chosen] * (np.eye(5)[chosen] - soft) / tau
        np.testing.assert_allclose(value[0], expected, rtol=1e-4, atol=1e-5)
        drawn.add(int(chosen))
    assert 0 in drawn  # none, whose own output is zero
    assert len(drawn) > 2


# --- SNAS -----------------------------------------------------------------------


def mean_weights(temperature, alpha, number, key):
    space = spaces.nasbench201()
    method = methods.snas(temperature=schedules.constant(temperature))
    runs = sampler(method, space, number)(key, {"cell": alpha}, jnp.float32(0.5))
    assert isinstance(runs["cell"], Mixture)
    return np.asarray(runs["cell"].weights, np.float64)


def test_snas_samples_on_the_simplex(key):
    weights = mean_weights(1.0, jnp.asarray(np.tile(ROW, (6, 1))), 1000, key)
    np.testing.assert_allclose(weights.sum(axis=-1), 1.0, atol=1e-6)
    assert (weights >= 0).all()
    assert 0.05 < weights.std(axis=0).mean() < 0.5
    assert np.unique(weights[:, :, 0]).size > 5900


def test_snas_becomes_one_hot_as_its_temperature_goes_to_zero(key):
    """Then its mean is the softmax of alpha, by Hoeffding's bound for 5 operations."""
    number = 10_000
    weights = mean_weights(1e-3, jnp.asarray(np.tile(ROW, (6, 1))), number, key)
    largest = weights.max(axis=-1)
    assert np.mean(largest > 0.999) > 0.98
    bound = math.sqrt(math.log(2 * 5 / FALSE_ALARM) / (2 * 6 * number))
    expected = scipy.special.softmax(ROW.astype(np.float64))
    mean = weights.mean(axis=(0, 1))
    np.testing.assert_allclose(mean, expected, atol=bound + 2e-3)


def test_snas_is_uniform_on_average_at_a_high_temperature(key):
    """1/O (1 + (alpha - mean alpha) / tau), to the next order in 1/tau."""
    tau, number = 50.0, 10_000
    weights = mean_weights(tau, jnp.asarray(np.tile(ROW, (6, 1))), number, key)
    assert np.abs(weights - 0.2).max() < 0.2
    mean = weights.mean(axis=(0, 1))
    expected = (1 + (ROW - ROW.mean()) / tau) / 5
    error = weights.std() / math.sqrt(6 * number)
    np.testing.assert_allclose(mean, expected, atol=5 * error + 2e-4)
    assert mean[2] > mean[0] > mean[1]


# --- PC-DARTS -------------------------------------------------------------------


@pytest.mark.parametrize("name", spaces.SPACES)
def test_pc_darts_weighs_operations_and_edges(key, name):
    method = methods.pc_darts()
    space = method.adapt(spaces.SPACES[name]())
    assert space.channel_divisor == 4
    alpha = uneven(space)
    target = np.array([target for _, target in space.edges])
    rng = np.random.default_rng(1)
    for cell in space.cell_types:
        beta = rng.normal(size=space.num_edges).astype(np.float32)
        alpha[edge_name(cell)] = jnp.asarray(beta)
    runs = method.relax(key, alpha, jnp.float32(0.5), space)
    strengths = method.strengths(alpha, space)
    assert tuple(runs) == tuple(strengths) == space.cell_types
    for cell, mixture in runs.items():
        weights = np.asarray(mixture.weights)
        expected = scipy.special.softmax(np.float64(alpha[cell]), axis=1)
        beta = np.float64(alpha[edge_name(cell)])
        for node in set(target):
            into = target == node
            expected[into] *= scipy.special.softmax(beta[into])[:, None]
            assert weights[into].sum() == pytest.approx(1.0, abs=1e-5)
        np.testing.assert_allclose(weights, expected, rtol=1e-5)
        np.testing.assert_array_equal(strengths[cell], weights)


def test_pc_darts_derives_the_edges_of_its_edge_weights(key):
    """The same operations on every edge: beta alone decides which edges stay."""
    method = methods.pc_darts()
    space = method.adapt(spaces.darts())
    alpha = method.init(key, space)
    assert sorted(alpha) == ["normal", "normal_edges", "reduce", "reduce_edges"]
    values = np.concatenate([np.ravel(a) for a in alpha.values()])
    assert scipy.stats.kstest(values / 1e-3, "norm").pvalue > 1e-4
    assert len(np.unique(values)) == values.size == 2 * 14 * 9
    for wanted in itertools.combinations(range(5), 2):  # into the last node
        beta = np.zeros(14, np.float32)
        beta[[9 + edge for edge in wanted]] = 1.0
        alpha |= {edge_name(cell): jnp.asarray(beta) for cell in space.cell_types}
        genotype = method.derive(space, alpha)
        for cell in genotype.cells.values():
            assert tuple(source for _, source in cell[-2:]) == wanted


def test_pc_darts_trains_alpha_from_its_epoch_on_and_the_edges_too():
    small = catalogue.searched("pc_darts")
    before, _ = small.advance(small.start, STEPS)
    after, sums = small.advance(before, STEPS + 1)
    for name, start in small.start.alpha.items():
        np.testing.assert_array_equal(before.alpha[name], start)
        assert (np.asarray(after.alpha[name]) != np.asarray(start)).any()
    assert set(small.start.alpha) == {"cell", "cell_edges"}
    assert float(sums["arch_count"]) == BATCH
    assert methods.pc_darts().arch_start == 15


def test_channels_that_pass_by_are_kept_and_shuffled():
    """`skip_connect` alone: what comes out is PyTorch's channel shuffle."""
    torch = pytest.importorskip("torch")
    space = catalogue.space()._replace(channel_divisor=4)
    space = space._replace(edges=((0, 1),), output=(1,))
    x = np.random.default_rng(0).normal(size=(8, 3, 3, 2)).astype(np.float32)
    skip = np.eye(space.num_ops, dtype=np.float32)[
        space.primitives.index("skip_connect")
    ]
    weights = ({"nor_conv_1x1": {"kernel": jnp.zeros((1, 2, 2))}},)
    mixed = compiled(apply_cell, static_argnames=("space", "reduction", "context"))(
        weights,
        Mixture(jnp.asarray(skip[None])),
        (jnp.asarray(x),),
        space=space,
        reduction=False,
        context=PLAIN,
    )
    shuffle = torch.nn.ChannelShuffle(4)
    there = shuffle(torch.tensor(np.transpose(x, (3, 0, 1, 2)))).numpy()
    np.testing.assert_array_equal(mixed, np.transpose(there, (1, 2, 3, 0)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"channel_divisor": 0}, "channel_divisor=0 is not at least 1"),
        ({"arch_start": -1}, "arch_start=-1 is not at least 0"),
    ],
)
def test_pc_darts_refuses_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        methods.pc_darts(**settings)


# --- random search: what is drawn -----------------------------------------------


def test_random_is_uniform_over_operations_and_pairs_of_edges(key):
    method, number = methods.random_sampling(), 6000
    space = method.adapt(spaces.darts())
    assert space.primitives == spaces.darts().primitives[1:]
    alpha = method.init(key, space)
    runs = sampler(method, space, number)(key, alpha, jnp.float32(0.3))
    target = np.array([target for _, target in space.edges])
    for path in runs.values():
        assert isinstance(path, Path)
        np.testing.assert_array_equal(path.weight, np.ones((number, 14)))
        operations, active = np.asarray(path.operation), np.asarray(path.active)
        for edge in range(14):
            counts = np.bincount(operations[active[:, edge], edge], minlength=7)
            assert scipy.stats.chisquare(counts).pvalue > FALSE_ALARM / 28
        for node in range(2, 6):
            into = np.flatnonzero(target == node)
            pairs = [
                np.sum(active[:, into[list(pair)]].all(axis=1))
                for pair in itertools.combinations(range(node), 2)
            ]
            assert sum(pairs) == number  # two edges, always
            if node > 2:
                assert scipy.stats.chisquare(pairs).pvalue > FALSE_ALARM / 28
    normal, reduction = (np.asarray(path.operation) for path in runs.values())
    assert 0.1 < np.mean(normal == reduction) < 0.2  # one in seven by chance


def test_random_runs_and_derives_the_architecture_that_alpha_holds(key):
    """Ones at its operations on its edges; noise below one cannot change it."""
    method = methods.random_sampling()
    space = method.adapt(spaces.darts())
    paths = method.relax(key, method.init(key, space), jnp.float32(1.0), space)
    alpha = {
        cell: jnp.asarray(
            np.eye(7, dtype=np.float32)[np.asarray(path.operation)]
            * np.asarray(path.active)[:, None]
        )
        for cell, path in paths.items()
    }
    again = method.relax(jax.random.key(5), alpha, jnp.float32(1.0), space)
    derived = method.derive(space, alpha).cells
    for cell, path in paths.items():
        active = np.flatnonzero(path.active)
        np.testing.assert_array_equal(np.flatnonzero(again[cell].active), active)
        wanted = np.asarray(path.operation)[active]
        np.testing.assert_array_equal(np.asarray(again[cell].operation)[active], wanted)
        expected = tuple(
            (space.primitives[op], space.edges[edge][0])
            for op, edge in zip(wanted, active, strict=True)
        )
        assert derived[cell] == expected


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"candidates": 0}, "candidates=0 is not at least 1"),
        ({"batches": 0}, "batches=0 is not at least 1"),
        ({"finalists": 0}, "finalists=0 is not from 1 to 1000, the candidates"),
        ({"candidates": 3, "finalists": 4}, "finalists=4 is not from 1 to 3"),
    ],
)
def test_random_refuses_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        methods.random_sampling(**settings)


# --- random search: what is chosen ----------------------------------------------


def hits_of_batches(small, weights, paths):
    """Right answers of each path in each validation batch, and the examples in it."""
    order = epoch_order(small.keys.valid_order, small.data.valid.weights, epoch=0)
    batches = [
        take(
            small.data,
            small.data.valid,
            order[t],
            small.keys.valid_augmentation,
            epoch=0,
            augmentation=None,
        )
        for t in range(len(order))
    ]
    apply = compiled(small.net.apply)
    hits = []
    for path in paths:
        row = []
        for data in batches:
            answers = np.asarray(apply(weights, {"cell": path}, data.images)).argmax(1)
            right = answers == np.asarray(data.labels)
            row.append(float(np.vdot(right, data.weights)))
        hits.append(row)
    return np.array(hits), np.array([float(data.weights.sum()) for data in batches])


def test_choose_returns_the_best_of_its_candidates():
    """Twelve, each measured here: the best six of a batch, then the best of all."""
    small = catalogue.searched("random")
    plan = small.method.candidates
    assert plan == (12, 1, 6)
    state = small.start
    for stop in range(STEPS, 10 * STEPS + 1, STEPS):
        state, _ = small.advance(state, stop)
    alpha = compiled(make_choose(small.net, small.method))(
        state, small.data, small.keys
    )
    keys = jax.random.split(jax.random.fold_in(state.key, state.step), plan.number)
    space, blank = small.net.space, jax.tree.map(jnp.zeros_like, state.alpha)
    draw = compiled(lambda key: small.method.relax(key, blank, jnp.ones(()), space))
    paths = [draw(key)["cell"] for key in keys]
    hits, counts = hits_of_batches(small, state.weights, paths)
    few = hits[:, 0] / counts[0]
    finalists = np.argsort(-few, kind="stable")[: plan.finalists]
    whole = hits.sum(axis=1) / counts.sum()
    best = finalists[np.argmax(whole[finalists])]
    assert len(set(whole[finalists])) > 1  # there is something to choose
    chosen = np.eye(space.num_ops)[np.asarray(paths[best].operation)]
    np.testing.assert_array_equal(alpha["cell"], chosen)
    assert alpha["cell"].dtype == state.alpha["cell"].dtype
    genotype = small.method.derive(space, alpha)
    operations = [op for op, _ in genotype.cells["cell"]]
    assert operations == [space.primitives[o] for o in paths[best].operation]
