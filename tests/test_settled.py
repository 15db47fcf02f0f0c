"""What a method is judged by: its most probable architecture, and no chance in it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasjax import methods, relaxations, schedules, search, spaces
from nasjax.analysis import probes
from nasjax.architecture import Mixture, Path, to_path
from nasjax.bilevel import SearchState
from nasjax.data import load
from nasjax.methods import METHODS, Method
from nasjax.methods.base import map_cell_types, normal_alpha
from nasjax.methods.stc_nas import sample_cell
from nasjax.search import epoch
from tests import catalogue, searching

#: Whose paths, or mixtures, are sampled and weigh 1 in the end.
SAMPLED = ("gdas", "gumbel_js", "msg_das", "snas")


def uneven(method: Method, space, seed: int = 3):
    """Alpha of a method, moved by noise in every entry."""
    alpha = method.init(jax.random.key(seed), space)
    keys = jax.random.split(jax.random.key(seed + 1), len(alpha))
    return {
        name: values + jax.random.uniform(key, values.shape)
        for (name, values), key in zip(alpha.items(), keys, strict=True)
    }


def state_of(alpha, key: int = 0) -> SearchState:
    return SearchState(jnp.int32(0), (), alpha, (), (), (), jax.random.key(key))


@functools.cache
def in_space(name: str, space: str = "nasbench201") -> tuple[Method, object]:
    method = METHODS[name]()
    return method, method.adapt(spaces.SPACES[space]())


@pytest.mark.parametrize("name", METHODS)
def test_another_key_does_not_move_what_a_method_is_judged_by(name: str):
    method, space = in_space(name)
    net = catalogue.gated(space)

    @catalogue.compiled
    def judged(key):
        state = state_of(uneven(method, space))._replace(key=key)
        return epoch.final_architecture(net, method, state)

    first = judged(jax.random.key(0))
    assert tuple(first) == space.cell_types
    for seed in range(1, 6):
        catalogue.assert_same_bits(judged(jax.random.key(seed)), first)


def factors(cell: Mixture | Path, num_ops: int) -> np.ndarray:
    """``[E, O]`` by which the outputs of the operations count."""
    if isinstance(cell, Mixture):
        return np.asarray(cell.weights)
    assert cell.drop is None
    found = np.zeros((len(cell.operation), num_ops), np.float32)
    weights = np.where(cell.active, cell.weight, 0)
    found[np.arange(len(found)), np.asarray(cell.operation)] = weights
    return found


@pytest.mark.parametrize("name", SAMPLED)
def test_a_sampled_method_is_judged_by_the_largest_alpha_of_every_edge(name: str):
    method, space = in_space(name, "darts")
    alpha = uneven(method, space)
    alpha = alpha | {"normal": alpha["normal"].at[4, 0].set(9.0)}  # `none` may win
    for cell, runs in method.settled(alpha, space).items():
        largest = np.asarray(alpha[cell]).argmax(axis=1)
        np.testing.assert_array_equal(
            factors(runs, space.num_ops), np.eye(space.num_ops)[largest]
        )
    assert space.primitives[0] == "none"


@pytest.mark.parametrize("name", ["darts", "sd_darts", "pc_darts"])
def test_a_mixture_without_chance_is_judged_as_it_is(name: str):
    method, space = in_space(name)
    alpha = uneven(method, space)
    runs = method.relax(jax.random.key(5), alpha, jnp.ones(()), space)
    catalogue.assert_same_bits(method.settled(alpha, space), runs)


@pytest.mark.parametrize("every", [False, True], ids=["cells", "every edge"])
def test_stc_nas_is_judged_by_the_derived_cell_and_its_own_weights(every: bool):
    """Also where its noise never ends."""
    noise = schedules.constant(0.5)
    method = methods.stc_nas(noise_range=noise, cell_consistency=not every)
    space = method.adapt(spaces.darts())
    alpha = uneven(method, space)
    derived = method.derive(space, alpha).cells
    for cell, path in method.settled(alpha, space).items():
        largest = np.asarray(alpha[cell]).max(axis=1)
        np.testing.assert_array_equal(path.weight, largest)
        kept = tuple(
            (space.primitives[int(path.operation[edge])], space.edges[edge][0])
            for edge in np.flatnonzero(path.active)
        )
        assert kept == derived[cell] if not every else len(kept) == space.num_edges


@pytest.mark.parametrize("name", ["nasbench201", "darts"])
def test_random_search_is_judged_by_what_it_chose(name: str):
    method, space = in_space("random", name)
    blank = method.init(jax.random.key(0), space)
    for seed in range(4):
        drawn = method.relax(jax.random.key(seed), blank, jnp.ones(()), space)
        alpha = {
            cell: jnp.asarray(factors(path, space.num_ops))
            for cell, path in drawn.items()
        }
        for cell, path in method.settled(alpha, space).items():
            np.testing.assert_array_equal(factors(path, space.num_ops), alpha[cell])


# --- methods of others, which have `relax` alone -------------------------------------


def own(relax) -> Method:
    return Method("own", normal_alpha(1.0), relax)


def test_a_path_of_anybody_is_judged_by_its_strongest_operations():
    def relax(key, alpha, progress, space):
        def sample(key, alpha):
            return to_path(relaxations.gumbel_softmax(key, alpha, temperature=1.0))

        return map_cell_types(sample, key, alpha, space)

    method, space = own(relax), spaces.darts()
    alpha = uneven(method, space)
    for cell, path in method.settled(alpha, space).items():
        assert np.asarray(path.active).all()
        np.testing.assert_array_equal(path.operation, alpha[cell].argmax(axis=1))
        np.testing.assert_array_equal(path.weight, np.ones(14, np.float32))


def test_who_samples_edges_too_is_judged_on_those_that_are_kept():
    def relax(key, alpha, progress, space):
        sample = functools.partial(
            sample_cell, space, noise_range=jnp.float32(0.5), activation=jax.nn.relu
        )
        return map_cell_types(sample, key, alpha, space)

    method, space = own(relax), spaces.darts().without("none")
    alpha = uneven(method, space)
    derived = method.derive(space, alpha).cells
    for cell, path in method.settled(alpha, space).items():
        kept = [space.edges[edge][0] for edge in np.flatnonzero(path.active)]
        assert kept == [source for _, source in derived[cell]]


def test_a_mixture_of_anybody_is_judged_by_chance_only_if_it_has_none():
    def noisy(key, alpha, progress, space):
        def sample(key, alpha):
            noise = jax.random.normal(key, alpha.shape)
            return Mixture(jax.nn.softmax(alpha + noise))

        return map_cell_types(sample, key, alpha, space)

    def quiet(key, alpha, progress, space):
        """Noise that the end of the search has none of."""
        noise = (1 - progress) * jax.random.normal(key, alpha["cell"].shape)
        return {"cell": Mixture(jax.nn.sigmoid(alpha["cell"] + noise))}

    space = spaces.nasbench201()
    alpha = uneven(own(noisy), space)
    found = own(noisy).settled(alpha, space)["cell"].weights
    np.testing.assert_array_equal(found, np.eye(5)[alpha["cell"].argmax(axis=1)])
    found = own(quiet).settled(alpha, space)["cell"].weights
    np.testing.assert_array_equal(found, jax.nn.sigmoid(alpha["cell"]))


# --- what is measured ----------------------------------------------------------------


@pytest.fixture(scope="module")
def gdas():
    """A search by GDAS of linear classifiers, with an alpha that chooses."""
    task = search.plan(
        searching.linear_net(),
        methods.gdas(),
        searching.digits(),
        optimizers=searching.both_optimizers(),
        epochs=searching.EPOCHS,
    )
    with jax.numpy_dtype_promotion("standard"):  # of optax
        state = task.new_state()
    alpha = {"cell": jax.random.normal(jax.random.key(1), (6, 5))}
    return task, state._replace(alpha=alpha)


def hits_of(task, state, operations) -> float:
    """Accuracy of a path on the whole validation half, in NumPy."""
    images = np.asarray(load("digits", max_examples=searching.EXAMPLES).images)
    half = jax.tree.map(np.asarray, task.data.valid)
    counted = half.weights == 1
    mean, std = (np.asarray(part) for part in (task.data.mean, task.data.std))
    flat = (images[half.ids[counted]] / np.float32(255) - mean) / std
    kernels = np.asarray(state.weights["kernel"], np.float64)
    kernel = sum(kernels[edge, one] for edge, one in enumerate(operations))
    said = (flat.reshape(len(flat), -1) @ kernel).argmax(axis=1)
    return float((said == half.labels[counted]).mean())


def test_the_accuracy_is_that_of_the_most_probable_path(gdas):
    task, state = gdas
    expected = hits_of(task, state, np.asarray(state.alpha["cell"]).argmax(axis=1))
    others = {hits_of(task, state, np.full(6, one)) for one in range(5)}
    assert len(others | {expected}) > 1  # paths differ
    for seed in range(3):
        keyed = state._replace(key=jax.random.key(seed))
        sums = task.evaluate(keyed, task.data, task.keys)
        found = float(sums["valid_accuracy"] / sums["valid_count"])
        assert found == pytest.approx(expected, abs=1e-6)


def test_draws_are_the_mean_of_what_is_sampled(gdas):
    task, state = gdas
    state = state._replace(step=jnp.int32(searching.STEPS))  # half of the search
    values = probes.draws(number=4, seed=2).measure(task, state)
    found = []
    for key in jax.random.split(jax.random.key(2), 4):
        path = task.method.relax(key, state.alpha, jnp.float32(0.5), task.net.space)
        found.append(hits_of(task, state, np.asarray(path["cell"].operation)))
    assert len(set(found)) > 1
    assert values["draws/accuracy"] == pytest.approx(np.mean(found), abs=1e-6)
    assert values["draws/sd"] == pytest.approx(np.std(found, ddof=1), abs=1e-6)
    assert probes.draws(number=1).measure(task, state)["draws/sd"] == 0.0


def test_the_eigenvalue_of_a_path_is_that_of_the_loss_in_its_own_weights(gdas):
    """Of edge e the weight is 1 + s_e(alpha) - s_e(alpha_0)."""
    task, state = gdas
    values = probes.eigenvalue(batches=1).measure(task, state)
    order = epoch.valid_order(task.data, task.keys, axis_name=None)[0]
    batch = epoch.take_valid(task.data, task.keys, order)
    start = jax.nn.softmax(state.alpha["cell"])
    hard = jax.nn.one_hot(start.argmax(axis=-1), 5)
    flat = batch.images.reshape(len(batch.images), -1)

    def loss(alpha):
        shares = hard * (1 + jax.nn.softmax(alpha.reshape(6, 5)) - start)
        kernel = jnp.einsum("eo,eopy->py", shares, state.weights["kernel"])
        logp = jax.nn.log_softmax(flat @ kernel)
        own = jnp.take_along_axis(logp, batch.labels[:, None], axis=1)[:, 0]
        return -jnp.vdot(own, batch.weights) / batch.weights.sum()

    hessian = jax.jit(jax.hessian(loss))(state.alpha["cell"].ravel())
    every = np.linalg.eigvalsh(np.asarray(hessian, np.float64))
    expected = every[np.abs(every).argmax()]
    assert values["eigenvalue"] == pytest.approx(expected, rel=1e-3)
    assert abs(expected) > 1e-4
