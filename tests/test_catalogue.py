"""What holds for every method of the catalogue, one list of properties for all."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasjax import bilevel, methods, schedules
from nasjax.bilevel import SearchState, summarise
from nasjax.methods.base import no_loss
from nasjax.methods.msg_das import gumbel_paths
from tests import catalogue
from tests.catalogue import EPOCHS, STEPS, assert_same_bits, compiled, differ
from tests.compilations import lowered

OFF = schedules.constant(0.0)
#: Mixtures without noise, which have nothing to draw.
FIXED = ("darts", "darts2nd", "pc_darts", "sd_darts", "a2m", "beta_darts", "idarts")
SAMPLED = set(catalogue.NAMES) - {*FIXED, "fair_darts", "nasp"}


# Of the module, so that the tests of a method follow one another.
@pytest.fixture(scope="module", params=catalogue.NAMES)
def name(request):
    return request.param


class Course(NamedTuple):
    """A search from its start to its end."""

    states: list[SearchState]  # the start, then after each step of two epochs
    metrics: list[dict]  # of these steps
    losses: list[float]  # of the weights in each epoch
    end: SearchState
    lowered: list[str]  # programs


def first_steps(small, start=None, number=2 * STEPS):
    states, metrics = [small.start if start is None else start], []
    for step in range(number):
        state, sums = small.advance(states[-1], step + 1)
        states.append(state)
        metrics.append(jax.device_get(sums))
    return states, metrics


@functools.cache
def course(name):
    small = catalogue.searched(name)
    with lowered() as names:
        states, metrics = first_steps(small)
        state, losses = small.start, []
        for epoch in range(EPOCHS):
            state, sums = small.advance(state, (epoch + 1) * STEPS)
            losses.append(summarise(jax.device_get(sums))["weight_loss"])
    return Course(states, metrics, losses, state, names)


# --- one search a method --------------------------------------------------------


def test_the_loss_goes_down(name):
    losses = course(name).losses
    assert np.isfinite(losses).all()
    assert np.mean(losses[-3:]) < losses[0] - 0.1


def test_one_compilation_serves_every_step_and_epoch(name):
    # It may have been compiled before, by another test.
    assert course(name).lowered.count("jit(counted)") <= 1
    assert len(catalogue.searched(name).traces) == 1


def test_several_steps_in_a_dispatch_are_steps_one_by_one(name):
    small = catalogue.searched(name)
    state = small.start
    for stop in (2, 3, 4, 6):
        state, _ = small.advance(state, stop)
    assert_same_bits(state, course(name).states[6])


def test_a_step_keeps_types_shapes_and_sharding(name):
    """Weak types too: they are a type to the compiler."""

    def kinds(tree):
        return jax.tree.map(lambda a: (a.aval, a.sharding, a.committed), tree)

    states = course(name).states
    assert kinds(states[-1]) == kinds(states[0])
    for sums in course(name).metrics:
        kept = {name: (v.shape, v.dtype) for name, v in sums.items()}
        assert kept.pop("steps") == ((), np.int32)
        assert set(kept.values()) == {((), np.dtype(np.float32))}


def test_the_same_key_gives_the_same_bits_and_another_does_not(name):
    small, states = catalogue.searched(name), course(name).states
    assert_same_bits(first_steps(small, number=2)[0], states[:3])
    other = first_steps(small, small.start._replace(key=jax.random.key(7)), 2)[0]
    # A mixture without noise has nothing to draw.
    assert differ(other[2].weights, states[2].weights) == (name in SAMPLED)


def test_alpha_is_trained_from_its_epoch_on(name):
    method, course_ = catalogue.method(name), course(name)
    for step, sums in enumerate(course_.metrics):
        trained = method.order > 0 and step // STEPS >= method.arch_start
        before, after = (course_.states[i].alpha for i in (step, step + 1))
        assert differ(before, after) == trained
        assert float(sums["arch_count"]) == trained * float(sums["weight_count"])
    assert [m["weight_count"] for m in course_.metrics] == 2 * [16, 16, 8]


def test_every_end_derives_to_a_genotype(name):
    small, end = catalogue.searched(name), course(name).end
    assert all(np.isfinite(a).all() for a in end.alpha.values())
    genotype = small.method.derive(small.net.space, jax.device_get(end.alpha))
    # The first three states of NAS-Bench-201's cell: an edge, then two.
    assert [len(node.split("~")) for node in genotype.arch_str.split("+")] == [2, 3]


# --- jit ------------------------------------------------------------------------


@pytest.fixture
def small_programs_cached():
    """Each operation that runs by itself is a program."""
    setting = "jax_persistent_cache_min_compile_time_secs"
    before = getattr(jax.config, setting)
    jax.config.update(setting, 0.0)
    yield
    jax.config.update(setting, before)


def test_jit_changes_nothing_but_rounding(name, small_programs_cached):
    """Two steps of an epoch each: one operation after the other, and compiled."""
    method = catalogue.method(name)
    net, both = (
        catalogue.gated(method.adapt(catalogue.space())),
        catalogue.both_optimizers(),
    )
    step = bilevel.make_step(net, method, optimizers=both, steps_per_epoch=1, epochs=4)
    fast = compiled(step)
    slow_state = fast_state = bilevel.init_state(
        jax.random.key(0), net, method, optimizers=both, num_examples=4
    )
    batches = (
        catalogue.some_batch(0, [2, 0, 1, 3]),
        catalogue.some_batch(1, [0, 1, 2, 3]),
    )
    with jax.numpy_dtype_promotion("standard"):  # Adam of optax promotes an integer
        for _ in range(2):
            fast_state, fast_sums = fast(fast_state, *batches)
            with jax.disable_jit():
                slow_state, slow_sums = step(slow_state, *batches)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=2e-6)
    jax.tree.map(close, slow_sums, fast_sums)
    for part in ("weights", "alpha", "memory"):
        jax.tree.map(close, getattr(slow_state, part), getattr(fast_state, part))
    assert int(fast_state.step) == 2


# --- a term of strength 0 -------------------------------------------------------


@functools.cache
def plain_paths():
    method = gumbel_paths(k=2, temperature=schedules.linear(10.0, 1.0))
    return first_steps(catalogue.search(method), number=STEPS + 1)[0]


@functools.cache
def plain_stc_nas():
    method = methods.stc_nas()._replace(arch_loss=no_loss)
    return first_steps(catalogue.search(method), number=STEPS + 1)[0]


def plain_course(name):
    return course(name).states[: STEPS + 2]


WITHOUT = {
    "sd_darts": (
        methods.sd_darts(strength=OFF, warmup=1, window=1),
        functools.partial(plain_course, "darts"),
    ),
    "msg_das": (methods.msg_das(guidance=OFF, drop_rate=OFF), plain_paths),
    "msg_das in place": (
        methods.msg_das(guidance=OFF, drop_rate=OFF, distillation="in_place"),
        plain_paths,
    ),
    "gumbel_js": (methods.gumbel_js(js_strength=OFF), plain_paths),
    "stc_nas": (methods.stc_nas(js_strength=OFF), plain_stc_nas),
    "stc_nas_sd": (
        methods.stc_nas_sd(strength=OFF, warmup=1, window=1),
        functools.partial(plain_course, "stc_nas"),
    ),
}


@pytest.mark.parametrize("added", WITHOUT)
def test_a_term_of_strength_0_is_the_plain_method_to_the_bit(added):
    method, plain = WITHOUT[added]
    states, _ = first_steps(catalogue.search(method), number=STEPS + 1)
    for one, other in zip(states, plain(), strict=True):
        assert_same_bits((one.weights, one.alpha), (other.weights, other.alpha))
    # The term itself is not nothing.
    weights, alpha = states[-1].weights, states[-1].alpha
    full = course(added.split()[0]).states[STEPS + 1]
    assert differ((full.weights, full.alpha), (weights, alpha))


@pytest.mark.parametrize("pair", [("darts", "sd_darts"), ("stc_nas", "stc_nas_sd")])
def test_teachers_change_nothing_before_their_epoch(pair):
    plain, taught = (course(name).states for name in pair)
    for step in range(2 * STEPS + 1):
        same = step <= STEPS
        assert differ(plain[step].weights, taught[step].weights) != same


# --- the catalogue itself -------------------------------------------------------

#: Spec sections 3 to 6: what is annealed, from and to.
ENDS = {
    "a2m": {},
    "beta_darts": {"beta": (0.0, 25.0)},
    "darts": {},
    "drnas": {},
    "dsnas": {},
    "fair_darts": {"zero_one": (10.0, 10.0)},
    "gdas": {"temperature": (10.0, 0.1)},
    "gumbel_js": {"temperature": (10.0, 1.0), "js_strength": (0.0, 2.0)},
    "idarts": {},
    "msg_das": {
        "temperature": (10.0, 1.0),
        "guidance": (0.0, 0.01),
        "drop_rate": (0.0, 0.2),
    },
    "nasp": {},
    "pc_darts": {},
    "random": {},
    "sd_darts": {"strength": (1.0, 1.0)},
    "sdarts_adv": {"epsilon": (0.03, 0.3)},
    "sdarts_rs": {"epsilon": (0.03, 0.3)},
    "snas": {"temperature": (1.0, 0.03)},
    "stc_nas": {"noise_range": (0.3, 0.0), "js_strength": (0.0, 2.0)},
    "stc_nas_sd": {
        "noise_range": (0.3, 0.0),
        "js_strength": (0.0, 2.0),
        "strength": (1.0, 1.0),
    },
}


def test_methods_have_their_names_and_their_papers_schedules():
    assert set(ENDS) == set(methods.METHODS)
    for name, make in methods.METHODS.items():
        method = make()
        assert method.name == name
        ends = {
            key: tuple(float(schedule(jnp.float32(at))) for at in (0, 1))
            for key, schedule in method.schedules.items()
        }
        assert ends == {k: pytest.approx(v) for k, v in ENDS[name].items()}


@pytest.mark.parametrize("made", methods.METHODS)
def test_methods_can_be_made_inside_a_compiled_function(made):
    def start(key):
        method = methods.METHODS[made]()
        return method.init(key, method.adapt(catalogue.space()))

    alpha = compiled(start)(jax.random.key(0))
    left = {"stc_nas": 3, "stc_nas_sd": 3}  # without `none`
    assert alpha["cell"].shape == (3, left.get(made, 4))
