"""Four devices of one host against one, for every method."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.compilation_cache.compilation_cache import reset_cache

from nasjax import spaces, supernet
from nasjax.architecture import Path
from nasjax.base import InputError
from nasjax.bilevel import summarise
from nasjax.runtime import parallel
from nasjax.runtime.parallel import Devices
from nasjax.search.epoch import make_choose, make_evaluate
from tests import catalogue
from tests.catalogue import BATCH, STEPS, assert_same_bits, compiled

#: The second epoch begun: teachers teach, and alpha of PC-DARTS is trained.
NUMBER = STEPS + 2


@pytest.fixture(scope="module", autouse=True)
def four_devices():
    """Made by tests/conftest.py, before JAX looks for devices."""
    assert jax.local_device_count() >= 4, "XLA_FLAGS leaves fewer than 4 devices"


@pytest.fixture(scope="module", params=catalogue.NAMES)
def name(request):
    return request.param


@functools.cache
def steps(name, number):
    """The search on that many devices: its states, gathered, and its metrics."""
    if number == 1:
        small = catalogue.searched(name)
    else:
        small = catalogue.search(catalogue.method(name), number)
    state, states, metrics = small.devices.shard_state(small.start), [], []
    for stop in range(1, NUMBER + 1):
        state, sums = small.advance(state, stop)
        # The next step is given these buffers.
        states.append(jax.device_get(small.devices.gather_state(state)))
        metrics.append(summarise(jax.device_get(sums)))
    return small, state, states, metrics


def close(one, other):
    """To rounding, which five steps make larger."""

    def leaf(a, b):
        a, b = catalogue.bits(a), catalogue.bits(b)
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)

    assert jax.tree.structure(one) == jax.tree.structure(other)
    jax.tree.map(leaf, one, other)


# --- every method ---------------------------------------------------------------


def test_four_devices_make_the_steps_of_one(name):
    _, _, one, own_metrics = steps(name, 1)
    _, _, four, metrics = steps(name, 4)
    for a, b in zip(own_metrics, metrics, strict=True):
        assert b == pytest.approx(a, rel=1e-4, abs=1e-5)
    for a, b in zip(one, four, strict=True):
        close(a._replace(key=()), b._replace(key=()))  # memory rows among them
        np.testing.assert_array_equal(*map(catalogue.bits, (a.key, b.key)))


def test_four_devices_sample_and_derive_what_one_does(name):
    small, _, one, _ = steps(name, 1)
    _, _, four, _ = steps(name, 4)
    space = small.net.space
    relax = compiled(lambda key, a, p: small.method.relax(key, a, p, space))
    for a, b in zip(one, four, strict=True):
        step_key = jax.random.fold_in(a.key, a.step)
        progress = jnp.float32(0.5)
        runs, others = (relax(step_key, s.alpha, progress) for s in (a, b))
        for cell, run in runs.items():
            if isinstance(run, Path):
                assert_same_bits(run.operation, others[cell].operation)
                assert_same_bits(run.active, others[cell].active)
        derived = [small.method.derive(space, s.alpha) for s in (a, b)]
        assert derived[0] == derived[1]


def test_what_is_not_memory_is_the_same_on_all_devices_to_the_bit(name):
    _, state, _, _ = steps(name, 4)
    for leaf in jax.tree.leaves(state._replace(memory=())):
        rows = catalogue.bits(leaf)
        assert len(rows) == 4
        assert (rows == rows[:1]).all()
        assert len(leaf.sharding.device_set) == 4


# --- another number of devices --------------------------------------------------


def test_a_search_goes_on_with_another_number_of_devices():
    """Four for five steps, then two: teachers find what was said to the others."""
    small, _, one, _ = steps("stc_nas_sd", 1)
    _, state, _, _ = steps("stc_nas_sd", 4)
    gathered = Devices(4, BATCH).gather_state(state)
    two = catalogue.search(small.method, 2)
    spread = two.devices.shard_state(gathered)
    back = two.devices.gather_state(spread)
    assert_same_bits(back, gathered)
    after, sums = two.advance(two.devices.shard_state(gathered), 2 * STEPS)
    after = jax.device_get(two.devices.gather_state(after))
    expected, own_sums = small.advance(jax.device_put(one[-1]), 2 * STEPS)
    close(after._replace(key=()), jax.device_get(expected)._replace(key=()))
    metrics, own = (summarise(jax.device_get(s)) for s in (sums, own_sums))
    assert metrics == pytest.approx(own, rel=1e-4, abs=1e-5)
    assert metrics["weight_added_loss"] > 1e-4
    derive = functools.partial(small.method.derive, small.net.space)
    assert derive(after.alpha) == derive(jax.device_get(expected).alpha)


def test_gathering_runs_no_program_over_several_devices():
    """One would be a collective beside others: they may wait for each other for ever.

    A device's memory and slots come as they are, too, and a negative zero stays one.
    """
    small = catalogue.searched("sd_darts")
    negative = jax.tree.map(lambda leaf: -jnp.zeros_like(leaf), small.start.alpha)
    state = small.start._replace(alpha=negative)
    devices = Devices(4, BATCH)
    back = devices.gather_state(devices.shard_state(state))
    assert_same_bits(back, state)
    slots = devices.spread_data(catalogue.digits()).valid.images
    for leaf in (*jax.tree.leaves(back), devices.gather_slots(slots)):
        assert leaf.devices() == {jax.devices()[0]}


@pytest.mark.parametrize("number", [1, 2, 4])
def test_spreading_and_gathering_change_nothing(number):
    small = catalogue.searched("sd_darts")
    rows = small.start.memory.epochs.size
    memory = small.start.memory._replace(
        epochs=jnp.arange(rows, dtype=jnp.int32).reshape(1, rows)
    )
    state = small.start._replace(memory=memory)
    devices = Devices(number, BATCH)
    spread = devices.shard_state(state)
    assert_same_bits(devices.gather_state(spread), state)
    if number > 1:  # row t B + j is of slot j, on the device that owns it
        width = BATCH // number
        for device, own in enumerate(np.asarray(spread.memory.epochs)):
            assert set(own.ravel() % BATCH // width) == {device}


@pytest.mark.parametrize("number", [2, 4])
def test_devices_share_the_examples_out_by_slots(number):
    data = catalogue.digits()
    spread = Devices(number, BATCH).spread_data(data)
    width = BATCH // number
    for half in ("train", "valid"):
        whole, parts = getattr(data, half), getattr(spread, half)
        for field in ("images", "labels", "ids", "weights"):
            array, part = np.asarray(getattr(whole, field)), getattr(parts, field)
            for device in range(number):
                slots = slice(device * width, (device + 1) * width)
                np.testing.assert_array_equal(part[device], array[:, slots])


# --- evaluation and choice ------------------------------------------------------


@pytest.mark.parametrize("make", [make_evaluate, make_choose])
def test_four_devices_evaluate_and_choose_as_one(make):
    method = catalogue.method("random")
    results = []
    for number in (1, 4):
        small, state, _, _ = steps("random", number)
        run = small.devices.jit(make(small.net, method)).lower(
            state, small.data, small.keys
        )
        quick = run.compile(compiler_options=catalogue._QUICK)
        results.append(jax.device_get(quick(state, small.data, small.keys)))
    one, four = results
    assert one.keys() == four.keys()
    for key, value in one.items():
        np.testing.assert_allclose(four[key], value, rtol=1e-4)


@pytest.mark.parametrize("space_name", spaces.SPACES)
def test_whole_supernets_normalise_over_all_devices(space_name):
    """The axis alone, without devices: residual blocks, and a reduction cell."""
    space = spaces.SPACES[space_name]()
    sizes = {"channels": 4, "num_cells": 1, "image_shape": (8, 8, 1)}
    images = jax.random.normal(jax.random.key(2), (8, 8, 8, 1))
    runs = [op.name for op in space.operations]
    cycle = jnp.arange(space.num_edges, dtype=jnp.int32) % (len(runs) - 1) + 1
    ones = jnp.ones(space.num_edges)
    architecture = {cell: Path(cycle, ones, ones > 0) for cell in space.cell_types}

    def logits(axis_name, synchronised=True):
        net = supernet.build(
            space, axis_name=axis_name, synchronised=synchronised, **sizes
        )

        def run(weights, images):
            return net.apply(weights, architecture, images)

        if axis_name:
            run = jax.vmap(run, in_axes=(None, 0), axis_name=axis_name)
        weights = compiled(net.init)(jax.random.key(0))
        shape = (4, 2) if axis_name else (8,)
        batch = images.reshape(*shape, 8, 8, 1)
        return np.asarray(compiled(run)(weights, batch)).reshape(8, 10)

    one, several = logits(None), logits("devices")
    np.testing.assert_allclose(several, one, atol=2e-4)
    if space_name == "nasbench201":
        apart = logits("devices", synchronised=False)
        assert np.abs(apart - one).max() > 0.01


# --- refusals -------------------------------------------------------------------


def test_a_mapped_call_on_a_cpu_leaves_nothing_that_is_still_running():
    """Else the next program may take the thread that another device waits for."""
    devices = Devices(4, 8)

    def slow(state, data):
        turn = lambda i, x: jnp.sin(x + jax.lax.psum(x, parallel.AXIS) / 4)  # noqa: E731
        return jax.lax.fori_loop(0, 20_000, turn, state) + 0 * data.sum(), data.sum()

    run = devices.jit(slow, others=0, updates=True)
    state = devices.shard_state(jnp.ones((8,)))
    data = devices.spread_batch(jnp.ones((8,)))
    for call in (run, run.lower(state, data).compile()):
        state, total = call(state, data)
        assert state.is_ready()
        assert total.is_ready()
        assert total.shape == ()


def test_on_a_cpu_programs_of_several_devices_are_not_kept(tmp_path):
    """Read back, one may begin its collectives in another order on each device."""
    settings = {
        "jax_compilation_cache_dir": str(tmp_path),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
    }
    before = {name: getattr(jax.config, name) for name in settings}

    def kept(call):
        for name, value in settings.items():
            jax.config.update(name, value)
        reset_cache()
        try:
            call()
            return {path.name.split("-")[0] for path in tmp_path.glob("*-cache")}
        finally:
            for name, value in before.items():
                jax.config.update(name, value)
            reset_cache()

    def total(x, data):
        return jax.lax.psum(x * data.sum(), parallel.AXIS).sum()

    devices, ones = Devices(4, 8), np.ones((8,), np.float32)
    state, data = devices.shard_state(ones), devices.spread_batch(ones)
    run, single = devices.jit(total, others=0), jax.jit(jnp.cumsum)
    assert kept(lambda: run(state, data)) == set()
    assert kept(lambda: run.lower(state, data).compile()(state, data)) == set()
    assert kept(lambda: single(ones)) == {"jit_cumsum"}


@pytest.mark.parametrize("number", [0, -1, 1000])
def test_devices_that_are_not_there_are_refused(number):
    there = jax.local_device_count()
    wanted = f"num_devices is {number}; it must be from 1 to {there}, the devices here"
    with pytest.raises(InputError, match=wanted):
        Devices(number, BATCH).check()


def test_a_batch_that_cannot_be_shared_out_is_refused():
    wanted = "batch_size is 18; it must be a multiple of the 4 devices"
    with pytest.raises(InputError, match=wanted):
        Devices(4, 18).check()
    Devices(3, 18).check()
    assert Devices(1, 7).axis_name is None
    assert Devices(2, 8).axis_name == parallel.AXIS


def test_one_device_maps_nothing():
    state, data = catalogue.searched("sd_darts").start, catalogue.digits()
    devices = Devices(1, BATCH)
    assert devices.shard_state(state) is state
    assert devices.gather_state(state) is state
    assert devices.spread_data(data) is data
