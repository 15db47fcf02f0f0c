"""Checkpoints give back every bit, or nothing."""

import contextlib
import json
import pathlib
import resource
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest

from nasjax.base import InputError, RunError
from nasjax.bilevel import SearchState
from nasjax.runtime.checkpoint import Checkpoints, steps
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


def save(folder: pathlib.Path, config=None, **states) -> None:
    checkpoints = Checkpoints(folder, config)
    for name, state in states.items():
        checkpoints.save(int(name.removeprefix("step")), state)
    checkpoints.close()


def restore(folder: pathlib.Path, template, config=None):
    checkpoints = Checkpoints(folder, config)
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
    "empty": {"nothing": np.zeros((0, 3), np.float32), "one": np.ones(1, np.float32)},
    "names": {"a/b": {"c.d": np.zeros(2, np.float32)}, "e": [np.ones(2, np.float32)]},
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
    searching.both_optimizers().over(steps_per_epoch=3, epochs=2),
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
    unfinished = tmp_path / "2.orbax-checkpoint-tmp"
    (tmp_path / "2").rename(unfinished)
    assert restore(tmp_path, {"value": jnp.zeros(())})["value"] == 1
    assert unfinished.exists()  # whoever only reads may meet a save under way
    save(tmp_path, step3={"value": jnp.float32(3)})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "3"]


# --- damaged ---------------------------------------------------------------------


def remove_arrays(step: pathlib.Path) -> None:
    shutil.rmtree(step / "d")
    shutil.rmtree(step / "ocdbt.process_0")


def cut_arrays(step: pathlib.Path) -> None:
    for file in step.rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[:10])


def change_a_bit(step: pathlib.Path) -> None:
    """Sound files of other bits under the sum of the first."""
    content = read_content(step)
    content["state"]["value"] = np.float32(3)
    write_content(step, content)


def change_sum(step: pathlib.Path) -> None:
    content = read_content(step)
    about = json.loads(content["about"].tobytes()) | {"sha256": "0" * 64}
    write_content(step, content | {"about": as_bytes(json.dumps(about))})


def cut_about(step: pathlib.Path) -> None:
    content = read_content(step)
    write_content(step, content | {"about": content["about"][:20]})


def leave_out(step: pathlib.Path) -> None:
    write_content(step, {"about": read_content(step)["about"]})


def as_bytes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), np.uint8)


def read_content(step: pathlib.Path):
    return ocp.StandardCheckpointer().restore(step)


def write_content(step: pathlib.Path, content) -> None:
    shutil.rmtree(step)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(step, content)


def empty(step: pathlib.Path) -> None:
    shutil.rmtree(step)
    step.mkdir()


DAMAGES = [
    remove_arrays,
    cut_arrays,
    change_a_bit,
    change_sum,
    cut_about,
    leave_out,
    empty,
]
TEMPLATE = {"value": jnp.zeros(())}


def two(folder: pathlib.Path) -> None:
    save(folder, step1={"value": jnp.float32(1)}, step2={"value": jnp.float32(2)})


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_named_and_passed_over(tmp_path, damage, capsys):
    two(tmp_path)
    damage(tmp_path / "2")
    checkpoints = Checkpoints(tmp_path)
    state = checkpoints.restore(TEMPLATE)
    assert state["value"] == 1
    error = capsys.readouterr().err
    assert error.startswith(f"warning: checkpoint {tmp_path / '2'} cannot be ")
    assert error.endswith("; going on after step 1\n")
    assert error.count("\n") == 1
    # The run comes to step 2 again, and this time it is saved.
    checkpoints.save(2, {"value": jnp.float32(7)})
    checkpoints.close()
    assert restore(tmp_path, TEMPLATE)["value"] == 7
    assert steps(tmp_path) == [2, 1]


def test_checkpoints_after_the_one_gone_back_to_do_not_outlive_it(tmp_path):
    two(tmp_path)
    change_sum(tmp_path / "2")
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.restore(TEMPLATE)["value"] == 1
    checkpoints.save(1, {"value": jnp.float32(7)})  # it is there
    checkpoints.close()
    assert steps(tmp_path) == [2, 1]
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.restore(TEMPLATE)
        checkpoints.save(3, {"value": jnp.float32(3)})
    assert steps(tmp_path) == [3, 1]


def test_where_all_are_damaged_a_person_decides(tmp_path):
    two(tmp_path)
    for step in "12":
        change_sum(tmp_path / step)
    with pytest.raises(InputError, match="to start from the beginning") as raised:
        restore(tmp_path, TEMPLATE)
    assert str(raised.value).startswith(f"checkpoint {tmp_path / '2'} cannot be ")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("template", "named"),
    [
        ({"other": jnp.zeros(3)}, "other is absent there and float32[3] here"),
        ({"value": jnp.zeros(4)}, r"value is float32[3] there and float32[4] here"),
        (
            {"value": jnp.zeros(3, jnp.int32)},
            "value is float32[3] there and int32[3] here",
        ),
        (
            {"value": jnp.zeros(3), "key": jax.random.key(0)},
            "key:threefry2x32 is absent there and uint32[2] here",
        ),
    ],
)
def test_a_checkpoint_of_another_structure_is_refused(tmp_path, template, named: str):
    save(tmp_path, step1={"value": jnp.zeros(3)})
    with pytest.raises(InputError, match="is of another structure") as raised:
        restore(tmp_path, template)
    assert named in str(raised.value)


def test_a_key_of_another_kind_is_refused(tmp_path):
    save(tmp_path, step1={"key": jax.random.key(0, impl="rbg")})
    with pytest.raises(InputError, match="is of another structure"):
        restore(tmp_path, {"key": jax.random.key(0, impl="unsafe_rbg")})


def test_a_checkpoint_of_another_configuration_is_refused(tmp_path):
    config = {"seed": 0, "search": {"epochs": 2, "batch_size": 4}}
    save(tmp_path, config, step1={"value": jnp.float32(1)})
    assert restore(tmp_path, TEMPLATE, config)["value"] == 1
    assert restore(tmp_path, TEMPLATE)["value"] == 1
    other = {"seed": 1, "search": {"epochs": 3, "batch_size": 4}}
    with pytest.raises(InputError) as raised:
        restore(tmp_path, TEMPLATE, other)
    assert str(raised.value) == (
        f"checkpoint {tmp_path / '1'} is of another run: search.epochs is 2 there and "
        "3 here; seed is 0 there and 1 here; give another --workdir"
    )


# --- a disk that is full ---------------------------------------------------------


@contextlib.contextmanager
def small_files(limit: int = 1000):
    """Files may grow so far: the system itself refuses the rest of a write."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_save_that_fails_is_told_and_leaves_the_last_good_one(tmp_path):
    template = {"value": jnp.zeros(100_000)}
    noise = jax.random.normal(jax.random.key(0), (100_000,))  # not to be compressed
    save(tmp_path, step1={"value": noise})
    checkpoints = Checkpoints(tmp_path)
    checkpoints.restore(template)
    with small_files():
        checkpoints.save(2, {"value": noise + 1.0})
        with pytest.raises(RunError) as raised:
            checkpoints.close()
    message = str(raised.value)
    assert message.startswith(f"checkpoint {tmp_path / '2'} cannot be written (")
    assert "that of step 1 is sound" in message
    assert "\n" not in message
    assert [path.name for path in tmp_path.iterdir()] == ["1"]
    np.testing.assert_array_equal(restore(tmp_path, template)["value"], noise)


def test_a_failure_in_the_background_is_told_at_the_next_look(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    with small_files(10):
        checkpoints.save(1, {"value": jnp.zeros(1000)})
        with pytest.raises(RunError, match="cannot be written"):
            checkpoints.save(2, {"value": jnp.zeros(1000)})
    checkpoints.check()  # told once
    checkpoints.close()
    assert steps(tmp_path) == []
