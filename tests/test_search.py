"""The search loop: to the end, stopped and gone on with, killed, and broken."""

import functools
import hashlib
import json
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasjax import search, spaces
from nasjax.base import InputError
from nasjax.data import load
from nasjax.genotype import Genotype
from nasjax.methods import (
    add_arch_loss,
    add_weight_loss,
    darts,
    random_sampling,
    sd_darts,
)
from nasjax.runtime import checkpoint
from nasjax.runtime.workdir import Workdir
from nasjax.search import NotFiniteError, fingerprint
from tests import searching
from tests.compilations import lowered
from tests.searching import EPOCHS, STEPS, TASKS

TOTAL = EPOCHS * STEPS
#: Two steps a dispatch: four dispatches, of 2, 1, 2 and 1 steps.
DISPATCHES = 4


def metrics(folder: pathlib.Path) -> list[dict]:
    file = folder / "metrics.jsonl"
    return [json.loads(line) for line in file.open()] if file.exists() else []


def without_times(rows: list[dict]) -> list[dict]:
    """What must not depend on how often the run was stopped, nor on the clock."""
    clocks = ("images_per_second",)
    return [
        row | {"values": {k: v for k, v in row["values"].items() if k not in clocks}}
        for row in rows
    ]


@functools.cache
def undisturbed_in(folder: pathlib.Path, name: str) -> Genotype:
    return searching.run(searching.task(name), folder)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory):
    """Folder and genotype of the same search run in one go."""
    root = tmp_path_factory.mktemp("undisturbed")

    def run(name: str) -> tuple[pathlib.Path, Genotype]:
        folder = root / name
        return folder, undisturbed_in(folder, name)

    return run


def assert_same_run(name: str, folder: pathlib.Path, other: pathlib.Path) -> None:
    """Bits of the state, every alpha, every metric and the genotype."""
    states = [
        fingerprint(searching.final_state(searching.task(name), f))
        for f in (folder, other)
    ]
    assert states[0] == states[1]
    for cell_type, values in searching.alphas(folder).items():
        np.testing.assert_array_equal(values, searching.alphas(other)[cell_type])
    assert without_times(metrics(folder)) == without_times(metrics(other))
    assert (folder / "genotype.json").read_text() == (
        other / "genotype.json"
    ).read_text()


# --- to the end ------------------------------------------------------------------


@pytest.mark.parametrize("name", TASKS)
def test_a_search_ends_with_the_genotype_of_its_last_alpha(name: str, undisturbed):
    folder, genotype = undisturbed(name)
    search = searching.task(name)
    space = search.net.space
    stored = searching.alphas(folder)
    assert set(stored) == set(space.cell_types)
    for values in stored.values():
        assert values.shape == (EPOCHS + 1, space.num_edges, space.num_ops)
        assert (values[1:] != values[:-1]).any(axis=(1, 2)).all()
    start = search.new_state().alpha
    jax.tree.map(
        np.testing.assert_array_equal, {k: v[0] for k, v in stored.items()}, start
    )
    last = {k: v[-1] for k, v in stored.items()}
    jax.tree.map(
        np.testing.assert_array_equal,
        last,
        dict(searching.final_state(search, folder).alpha),
    )
    assert genotype == search.method.derive(space, last)
    read = Genotype.from_json((folder / "genotype.json").read_text())
    assert read == genotype


@pytest.mark.parametrize("name", TASKS)
def test_metrics_are_complete_and_in_order(name: str, undisturbed):
    folder, _ = undisturbed(name)
    rows = metrics(folder)
    by_phase = {
        phase: [(row["step"], row["epoch"]) for row in rows if row["phase"] == phase]
        for phase in ("train", "valid", "result")
    }
    assert by_phase["train"] == [(2, 0), (3, 0), (5, 1), (6, 1)]
    assert by_phase["valid"] == [(3, 0), (6, 1)]
    assert by_phase["result"] == [(TOTAL, EPOCHS - 1)]
    assert [row["step"] for row in rows] == sorted(row["step"] for row in rows)
    for row in rows:
        assert np.isfinite(list(row["values"].values())).all()
        for value in (v for k, v in row["values"].items() if "accuracy" in k):
            assert 0 <= value <= 1
    # The result is the evaluation of the last epoch's state.
    last, result = rows[-2]["values"], rows[-1]["values"]
    assert last["loss"] == result["valid_loss"]
    assert last["accuracy"] == result["valid_accuracy"]


def test_the_schedules_are_logged_at_their_progress(undisturbed):
    folder, _ = undisturbed("cells")
    for row in metrics(folder):
        if row["phase"] == "train":
            progress = row["step"] / TOTAL
            found = row["values"]
            assert found["schedule/noise_range"] == pytest.approx(0.3 * (1 - progress))
            assert found["schedule/js_strength"] == pytest.approx(2 * progress)


@pytest.mark.parametrize(("every", "epochs"), [(1, [0, 1]), (2, [1]), (5, [1])])
def test_the_last_epoch_is_always_evaluated(tmp_path, every: int, epochs: list[int]):
    searching.run(searching.task("linear"), tmp_path, evaluate_every=every)
    evaluated = [
        row["epoch"]
        for row in metrics(tmp_path)
        if row["phase"] == "valid" and "accuracy" in row["values"]
    ]
    assert evaluated == epochs


@pytest.mark.parametrize("steps", [1, 2, 3, 100])
def test_the_length_of_a_dispatch_changes_no_bit(tmp_path, steps: int, undisturbed):
    folder, genotype = undisturbed("linear")
    search = searching.task("linear")
    assert searching.run(search, tmp_path, steps_per_dispatch=steps) == genotype
    states = [searching.final_state(search, f) for f in (folder, tmp_path)]
    assert fingerprint(states[0]) == fingerprint(states[1])
    ends = [row["step"] for row in metrics(tmp_path) if row["phase"] == "train"]
    starts = range(0, STEPS, steps)
    one_epoch = [min(start + steps, STEPS) for start in starts]
    assert ends == one_epoch + [STEPS + end for end in one_epoch]


def test_a_seed_decides_every_bit(tmp_path, undisturbed):
    folder, genotype = undisturbed("linear")
    same = searching.prepare(searching.linear_net(), darts(), seed=0)
    other = searching.task("linear", seed=1)
    assert searching.run(same, tmp_path / "same") == genotype
    searching.run(other, tmp_path / "other")
    states = {
        name: searching.final_state(task, path)
        for name, task, path in (
            ("first", same, folder),
            ("same", same, tmp_path / "same"),
            ("other", other, tmp_path / "other"),
        )
    }
    assert fingerprint(states["first"]) == fingerprint(states["same"])
    for a, b in zip(
        jax.tree.leaves((states["first"].weights, states["first"].alpha)),
        jax.tree.leaves((states["other"].weights, states["other"].alpha)),
        strict=True,
    ):
        assert (a != b).mean() > 0.9
    assert (same.keys.train_order != other.keys.train_order).all()


# --- stopped, killed -------------------------------------------------------------


class Killed(BaseException):
    """Ends the process between two dispatches, as far as a test can."""


def after(dispatches: int, *, kill: bool = False):
    """A `stop` that is true, or kills, once so many dispatches have begun."""
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        if asked > dispatches and kill:
            raise Killed
        return asked > dispatches

    return stop


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("dispatches", range(DISPATCHES))
def test_a_stopped_search_goes_on_to_the_same_bits(
    tmp_path, name: str, dispatches: int, undisturbed
):
    # Before the first step, inside either epoch, and between the two.
    search = searching.task(name)
    assert searching.run(search, tmp_path, stop=after(dispatches)) is None
    assert not (tmp_path / "genotype.json").exists()
    stopped_at = (0, 2, 3, 5)[dispatches]
    assert searching.final_state(search, tmp_path).step == stopped_at
    folder, genotype = undisturbed(name)
    assert searching.run(search, tmp_path) == genotype
    assert_same_run(name, tmp_path, folder)


def test_a_search_stopped_at_every_dispatch_ends_at_the_same_bits(
    tmp_path, undisturbed
):
    search = searching.task("linear")
    folder, genotype = undisturbed("linear")
    runs = 0
    found = None
    while found is None:
        found = searching.run(search, tmp_path, stop=after(1))
        runs += 1
        assert runs <= TOTAL
    assert runs == DISPATCHES
    assert found == genotype
    assert_same_run("linear", tmp_path, folder)


@pytest.mark.parametrize("dispatches", range(DISPATCHES))
def test_a_killed_search_goes_on_to_the_same_bits(
    tmp_path, dispatches: int, undisturbed
):
    search = searching.task("linear")
    with pytest.raises(Killed):
        searching.run(search, tmp_path, stop=after(dispatches, kill=True))
    folder, genotype = undisturbed("linear")
    assert searching.run(search, tmp_path) == genotype
    assert_same_run("linear", tmp_path, folder)


@pytest.mark.parametrize("lost", [1, 2])
def test_metrics_after_the_checkpoint_are_not_doubled(tmp_path, lost: int, undisturbed):
    """A machine that died before its last checkpoints were complete."""
    source, genotype = undisturbed("linear")
    folder = tmp_path / "copy"
    shutil.copytree(source, folder)
    (folder / "genotype.json").unlink()
    saved = sorted((folder / "checkpoints").iterdir(), key=lambda path: int(path.name))
    assert [path.name for path in saved] == ["3", "6"]
    for path in saved[-lost:]:
        shutil.rmtree(path)
    assert searching.run(searching.task("linear"), folder) == genotype
    assert_same_run("linear", folder, source)


def test_a_checkpoint_that_was_not_completed_is_passed_over(tmp_path, undisturbed):
    source, genotype = undisturbed("linear")
    folder = tmp_path / "copy"
    shutil.copytree(source, folder)
    (folder / "genotype.json").unlink()
    last = folder / "checkpoints" / "6"
    last.rename(last.with_name("6.orbax-checkpoint-tmp"))
    assert searching.run(searching.task("linear"), folder) == genotype
    assert_same_run("linear", folder, source)


def test_going_on_after_the_last_step_only_concludes(tmp_path, undisturbed):
    source, genotype = undisturbed("linear")
    folder = tmp_path / "copy"
    shutil.copytree(source, folder)
    (folder / "genotype.json").unlink()
    search = searching.task("linear")._replace(dispatch=None)
    assert searching.run(search, folder) == genotype


def test_another_configuration_is_refused(tmp_path, undisturbed):
    source, _ = undisturbed("linear")
    before = hashes(source)
    with pytest.raises(InputError, match=r"search\.epochs is 2 there and 3 here"):
        Workdir(source).check({"seed": 0, "search": {"epochs": 3}})
    assert hashes(source) == before


def hashes(folder: pathlib.Path) -> dict[str, str]:
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_save_by_time_changes_no_bit(tmp_path, undisturbed):
    """After every dispatch, and killed in the middle of an epoch."""
    search = searching.task("linear")
    folder, genotype = undisturbed("linear")
    settings = {"checkpoint_minutes": 0.0, "steps_per_dispatch": 1}
    with pytest.raises(Killed):
        searching.run(search, tmp_path, stop=after(4, kill=True), **settings)
    # The fourth step is the first of its epoch; nothing of an epoch's end is needed.
    assert max(checkpoint.steps(tmp_path / "checkpoints")) == 4
    assert searching.run(search, tmp_path, **settings) == genotype
    states = [searching.final_state(search, f) for f in (folder, tmp_path)]
    assert fingerprint(states[0]) == fingerprint(states[1])
    steps = [row["step"] for row in metrics(tmp_path) if row["phase"] == "train"]
    assert steps == list(range(1, TOTAL + 1))


@pytest.mark.parametrize("torn", [b"", b"PK", b"PK\x03\x04" + 30 * b"\x00"])
def test_alphas_that_are_damaged_stop_the_run(tmp_path, torn: bytes, undisturbed):
    source, _ = undisturbed("linear")
    folder = tmp_path / "copy"
    shutil.copytree(source, folder)
    (folder / "genotype.json").unlink()
    (folder / "alphas.npz").write_bytes(torn)
    with pytest.raises(InputError, match=r"alphas\.npz cannot be read"):
        searching.run(searching.task("linear"), folder)
    (folder / "alphas.npz").unlink()
    with pytest.raises(InputError, match=r"alphas\.npz is not there"):
        searching.run(searching.task("linear"), folder)


def test_a_result_that_was_logged_is_not_logged_twice(tmp_path, undisturbed):
    """Killed after the last line of metrics, before the genotype."""
    source, genotype = undisturbed("linear")
    folder = tmp_path / "copy"
    shutil.copytree(source, folder)
    (folder / "genotype.json").unlink()
    assert searching.run(searching.task("linear"), folder) == genotype
    assert_same_run("linear", folder, source)


# --- methods that ask for more of the loop ---------------------------------------


def train_values(folder: pathlib.Path) -> dict[int, dict]:
    """Values of the train rows, by epoch; of several the last."""
    rows = (row for row in metrics(folder) if row["phase"] == "train")
    return {row["epoch"]: row["values"] for row in rows}


def test_alpha_that_waits_is_neither_moved_nor_logged(tmp_path):
    late = darts()._replace(arch_start=1)
    searching.run(searching.prepare(searching.linear_net(), late), tmp_path)
    start, first, second = searching.alphas(tmp_path)["cell"]
    np.testing.assert_array_equal(first, start)
    assert (second != first).any()
    logged = train_values(tmp_path)
    assert not any(name.startswith("arch_") for name in logged[0])
    assert {"weight_loss", "weight_accuracy"} <= set(logged[0])
    assert logged[1]["arch_loss"] > 0


def test_a_memory_of_the_examples_survives_a_stop(tmp_path):
    """Its teachers go on as if nothing had been."""
    taught = sd_darts(warmup=1, window=1)
    search = searching.prepare(searching.linear_net(), taught)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    genotype = searching.run(search, whole)
    assert searching.run(search, parts, stop=after(3)) is None
    assert searching.run(search, parts) == genotype
    states = [searching.final_state(search, folder) for folder in (whole, parts)]
    assert fingerprint(states[0]) == fingerprint(states[1])
    # Of a half that is filled up, only the examples were written.
    written = np.asarray(states[0].memory.epochs) == EPOCHS - 1
    assert written.sum() == searching.num_examples(search.data.train)
    assert train_values(whole)[0]["weight_added_loss"] == 0
    assert train_values(whole)[1]["weight_added_loss"] > 0


def test_a_search_with_candidates_ends_with_one_of_them(tmp_path):
    method = random_sampling(candidates=4, batches=1, finalists=2)
    search = searching.prepare(searching.cell_net(method), method)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    genotype = searching.run(search, whole)
    alpha = searching.alphas(whole)["cell"]
    assert not alpha[:-1].any()
    assert np.unique(alpha[-1]).tolist() == [0.0, 1.0]
    np.testing.assert_array_equal(alpha[-1].sum(axis=1), np.ones(len(alpha[-1])))
    assert genotype == search.method.derive(search.net.space, {"cell": alpha[-1]})
    assert not any(name.startswith("arch_") for name in train_values(whole)[1])
    # The choice is that of the state, not of the run.
    assert searching.run(search, parts, stop=after(3)) is None
    assert searching.run(search, parts) == genotype
    states = [searching.final_state(search, folder) for folder in (whole, parts)]
    assert fingerprint(states[0]) == fingerprint(states[1])


def test_more_devices_than_there_are_are_refused():
    with pytest.raises(
        InputError, match=r"num_devices is 99; it must be from 1 to \d+"
    ):
        searching.prepare(searching.linear_net(), darts(), num_devices=99)
    with pytest.raises(InputError, match="num_devices is 0"):
        searching.prepare(searching.linear_net(), darts(), num_devices=0)


# --- broken ----------------------------------------------------------------------


def nan_from(step: int):
    """A loss that stops being a number once a step is reached."""

    def loss(terms) -> jax.Array:
        return jnp.where(terms.progress * TOTAL > step - 0.5, jnp.nan, 0.0)

    return loss


@pytest.mark.parametrize(
    ("method", "step", "message"),
    [
        (add_weight_loss(darts(), nan_from(0)), 1, "weight_added_loss is nan"),
        (add_weight_loss(darts(), nan_from(4)), 5, "weight_added_loss is nan"),
        (add_arch_loss(darts(), nan_from(4)), 5, "arch_added_loss is nan"),
    ],
)
def test_a_loss_that_is_no_number_is_named_with_its_step(
    tmp_path, method, step: int, message: str
):
    search = searching.prepare(searching.linear_net(), method)
    with pytest.raises(NotFiniteError, match=f"^at step {step}: {message}"):
        searching.run(search, tmp_path)
    assert not (tmp_path / "genotype.json").exists()
    for row in metrics(tmp_path):
        assert row["step"] < step
    # The checkpoint before it is still good.
    assert checkpoint.steps(tmp_path / "checkpoints") == (
        [STEPS] if step > STEPS else []
    )


def nan_gradient_at(step: int):
    """A finite loss whose gradient is no number, at one step."""

    def loss(terms) -> jax.Array:
        reached = jnp.round(terms.progress * TOTAL) == step - 1
        root = lambda: jnp.sqrt(0.0 * terms.logits.sum())  # noqa: E731
        return jax.lax.cond(reached, root, lambda: 0.0)

    return loss


@pytest.mark.parametrize("step", [2, STEPS, TOTAL])
def test_weights_that_break_are_named_with_their_step_and_not_kept(tmp_path, step: int):
    """At the end of an epoch no loss tells; the next one to read them would."""
    method = add_weight_loss(darts(), nan_gradient_at(step))
    search = searching.prepare(searching.linear_net(), method)
    with pytest.raises(NotFiniteError, match=f"^at step {step}: weights/kernel has "):
        searching.run(search, tmp_path)
    assert not (tmp_path / "genotype.json").exists()
    assert checkpoint.steps(tmp_path / "checkpoints") == (
        [STEPS] if step > STEPS else []
    )
    for row in metrics(tmp_path):
        assert np.isfinite(list(row["values"].values())).all()


def test_a_learning_rate_that_is_too_large_is_no_genotype(tmp_path):
    search = searching.prepare(searching.linear_net(), darts(), learning_rate=1e38)
    with pytest.raises(NotFiniteError, match=r"^at step [12]: "):
        searching.run(search, tmp_path)
    assert not (tmp_path / "genotype.json").exists()


# --- in one call -----------------------------------------------------------------


def fitted(folder: pathlib.Path, **settings) -> Genotype:
    data = load("digits", max_examples=40)
    sizes = {"epochs": 1, "batch_size": 8, "channels": 4, "num_cells": 1} | settings
    with jax.numpy_dtype_promotion("standard"):  # Adam of optax promotes an integer
        return search.fit(spaces.nasbench201(), darts(), data, folder=folder, **sizes)


def test_a_fit_that_has_ended_gives_what_it_found_and_compiles_nothing(tmp_path):
    folder = tmp_path / "run"
    first = fitted(folder)
    logged = (folder / "metrics.jsonl").read_bytes()
    with lowered() as programs:
        assert fitted(folder) == first
    assert "jit(dispatch)" not in programs
    assert (folder / "metrics.jsonl").read_bytes() == logged
    with pytest.raises(InputError, match="seed is 0 there and 1 here"):
        fitted(folder, seed=1)


def test_a_fit_that_cannot_be_leaves_no_folder(tmp_path):
    with pytest.raises(InputError, match="batch"):
        fitted(tmp_path / "run", batch_size=0)
    assert not (tmp_path / "run").exists()
