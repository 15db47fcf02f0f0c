"""Checkpoints give back every bit, or nothing."""

import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from nasjax.base import InputError
from nasjax.bilevel import SearchState
from nasjax.checkpoint import Checkpoints
from nasjax.search import fingerprint
from tests import searching


def assert_same_bits(found, expected) -> None:
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            assert jax.random.key_impl(a) == jax.random.key_impl(b)
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def save(folder: pathlib.Path, **states) -> None:
    checkpoints = Checkpoints(folder)
    for name, state in states.items():
        checkpoints.save(int(name.removeprefix("step")), state)
    checkpoints.close()


def restore(folder: pathlib.Path, template):
    checkpoints = Checkpoints(folder)
    state = checkpoints.restore(template)
    checkpoints.close()
    return state


SPECIAL = [0.0, -0.0, 1e-45, 3.4e38, np.nan, np.inf, -np.inf]
TREES = {
    "float32": {"a": np.array(SPECIAL, np.float32)},
    "bfloat16": (np.array(SPECIAL, np.float32), np.arange(3, dtype=np.float32)),
    "integers": [np.array(-1, np.int32), np.array([0, 255], np.uint8)],
    "bools": {"mask": np.array([True, False]), "none": ()},
    "scalar": np.array(2**31 - 1, np.int32),
}


def as_arrays(name: str):
    dtype = jnp.bfloat16 if name == "bfloat16" else None
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), TREES[name])


@pytest.mark.parametrize("name", TREES)
def test_arrays_come_back_to_the_bit(tmp_path, name: str):
    tree = as_arrays(name)
    save(tmp_path, step1={"tree": tree})
    template = {"tree": jax.tree.map(jnp.zeros_like, tree)}
    assert_same_bits(restore(tmp_path, template), {"tree": tree})


@pytest.mark.parametrize("implementation", ["threefry2x32", "rbg"])
def test_a_typed_key_comes_back(tmp_path, implementation: str):
    key = jax.random.key(7, impl=implementation)
    keys = {"one": key, "many": jax.random.split(key, 3)}
    other = jax.random.key(0, impl=implementation)
    template = {"one": other, "many": jax.random.split(other, 3)}
    save(tmp_path, step1=keys)
    found = restore(tmp_path, template)
    assert_same_bits(found, keys)
    assert jax.random.bits(found["one"]) == jax.random.bits(key)


@pytest.mark.parametrize(
    "optimizer",
    [searching.both_optimizers().weights, searching.both_optimizers().alpha],
    ids=["weights", "alpha"],
)
def test_an_optimizer_goes_on_as_if_nothing_had_been(tmp_path, optimizer):
    params = {"w": jnp.linspace(-1.0, 1.0, 5), "b": jnp.ones(())}
    gradients = jax.tree.map(lambda p: p + 0.5, params)

    with jax.numpy_dtype_promotion("standard"):  # Adam of optax promotes an integer
        _, state = optimizer.update(gradients, optimizer.init(params), params)
        save(tmp_path, step1=state)
        found = restore(tmp_path, optimizer.init(params))
        assert_same_bits(found, state)
        # Not the state it started from: the comparison says something.
        changed = optax.tree.norm(
            [leaf for leaf in jax.tree.leaves(state) if leaf.ndim]
        )
        assert changed > 0
        assert_same_bits(
            optimizer.update(gradients, found, params),
            optimizer.update(gradients, state, params),
        )


@pytest.mark.parametrize("name", searching.TASKS)
def test_a_search_state_comes_back_to_the_bit(tmp_path, name: str):
    search = searching.task(name)
    state, _ = search.dispatch(
        search.new_state(), search.data, search.keys, jnp.asarray(2, jnp.int32)
    )
    save(tmp_path, step2=state)
    found = restore(tmp_path, search.new_state())
    assert isinstance(found, SearchState)
    assert_same_bits(found, state)
    assert fingerprint(found) == fingerprint(state) != fingerprint(search.new_state())


def test_the_newest_comes_back_and_the_last_two_are_kept(tmp_path):
    states = {f"step{step}": {"value": jnp.float32(step)} for step in (1, 2, 10)}
    save(tmp_path, **states)
    assert restore(tmp_path, {"value": jnp.zeros(())})["value"] == 10
    assert sorted(path.name for path in tmp_path.iterdir()) == ["10", "2"]


def test_a_step_that_is_saved_already_is_left_alone(tmp_path):
    save(tmp_path, step1={"value": jnp.float32(1)})
    save(tmp_path, step1={"value": jnp.float32(2)})
    assert restore(tmp_path, {"value": jnp.zeros(())})["value"] == 1


def test_a_state_donated_after_its_save_is_saved_whole(tmp_path):
    """The save must have copied what the next dispatch overwrites."""
    advance = jax.jit(lambda x: x + 1.0, donate_argnums=0)
    state = {"value": jnp.zeros((512, 512))}
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2):
        checkpoints.save(step, state)
        state = {"value": advance(state["value"])}
    checkpoints.close()
    found = restore(tmp_path, {"value": jnp.zeros((512, 512))})["value"]
    np.testing.assert_array_equal(found, np.ones((512, 512)))


@pytest.mark.parametrize("made", [False, True], ids=["absent", "empty"])
def test_nothing_gives_nothing(tmp_path, made: bool):
    folder = tmp_path / "checkpoints"
    if made:
        folder.mkdir()
    assert restore(folder, {"value": jnp.zeros(())}) is None


def test_a_save_that_was_cut_off_is_not_restored(tmp_path):
    save(tmp_path, step1={"value": jnp.float32(1)}, step2={"value": jnp.float32(2)})
    (tmp_path / "2").rename(tmp_path / "2.orbax-checkpoint-tmp")
    assert restore(tmp_path, {"value": jnp.zeros(())})["value"] == 1


def remove_arrays(step: pathlib.Path) -> None:
    shutil.rmtree(step / "default")


def cut_arrays(step: pathlib.Path) -> None:
    for file in (step / "default").rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[:10])


@pytest.mark.parametrize("damage", [remove_arrays, cut_arrays])
def test_a_damaged_checkpoint_is_named_and_can_be_given_up(tmp_path, damage):
    save(tmp_path, step1={"value": jnp.float32(1)}, step2={"value": jnp.float32(2)})
    damage(tmp_path / "2")
    template = {"value": jnp.zeros(())}
    with pytest.raises(InputError, match="remove it to go on") as raised:
        restore(tmp_path, template)
    assert f"checkpoint {tmp_path / '2'} cannot be read" in str(raised.value)
    assert "\n" not in str(raised.value)
    shutil.rmtree(tmp_path / "2")
    assert restore(tmp_path, template)["value"] == 1


def test_a_checkpoint_of_another_structure_is_refused(tmp_path):
    save(tmp_path, step1={"value": jnp.zeros(3)})
    with pytest.raises(InputError, match="cannot be read"):
        restore(tmp_path, {"other": jnp.zeros(3)})
