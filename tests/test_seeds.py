"""Many seeds in one program: the bits of single runs, stopped, behind, broken."""

import functools
import json
import pathlib
import shutil
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasjax import search
from nasjax.base import InputError
from nasjax.data import epoch_order, load, take, to_device, to_device_seeds
from nasjax.genotype import Genotype
from nasjax.methods import METHODS, Method, add_weight_loss, darts, sd_darts, stc_nas
from nasjax.runtime import checkpoint
from nasjax.runtime.budget import Budget, tree_bytes
from nasjax.runtime.workdir import Workdir
from nasjax.search import fingerprint, seeds
from tests import catalogue, searching
from tests.launching import Launcher
from tests.searching import AUGMENTATION, BATCH, EPOCHS, EXAMPLES, STEPS
from tests.test_search import Killed, after, metrics, without_times

NUMBERS = (0, 3)
TOTAL = EPOCHS * STEPS
MODES = ("map", "vmap")
#: Methods that run mixtures in both passes.
MIXED = {
    *("a2m", "beta_darts", "darts", "drnas", "fair_darts", "idarts", "pc_darts"),
    *("sd_darts", "sdarts_adv", "sdarts_rs", "snas"),
}


def taught() -> Method:
    return sd_darts(warmup=1, window=1)


#: A mixture, sampled paths, and teachers of either kind.
NETS: dict[str, Callable[[], tuple[Any, Method]]] = {
    "mixture": lambda: (catalogue.network(darts()), darts()),
    "paths": lambda: (catalogue.network(stc_nas()), stc_nas()),
    "teachers": lambda: (searching.linear_net(), taught()),
    "snapshots": lambda: (
        searching.linear_net(),
        sd_darts(warmup=1, window=1, teacher="weights"),
    ),
}


def settings() -> dict[str, Any]:
    return {
        "optimizers": searching.both_optimizers(),
        "epochs": EPOCHS,
        "augmentation": AUGMENTATION,
    }


def prepare(net: Any, method: Method, mode: str) -> tuple[seeds.Seeds, Budget]:
    data = to_device_seeds(digits(), batch_size=BATCH, seeds=NUMBERS)
    batched = seeds.is_batched(method, net.space, mapped=mode)
    with jax.numpy_dtype_promotion("standard"):  # Adam of optax promotes an integer
        return seeds.prepare(
            net, method, data, seeds=NUMBERS, batched=batched, **settings()
        )


@functools.cache
def digits():
    return load("digits", max_examples=EXAMPLES)


@functools.cache
def together(name: str, mode: str) -> tuple[seeds.Seeds, Budget]:
    return prepare(*NETS[name](), mode)


@functools.cache
def alone(name: str, number: int) -> search.Search:
    """A seed's search by itself, on data of its own."""
    net, method = NETS[name]()
    data = to_device(digits(), batch_size=BATCH, seed=number)
    with jax.numpy_dtype_promotion("standard"):
        return search.prepare(net, method, data, seed=number, **settings())[0]


def run(
    found: seeds.Seeds, folder: pathlib.Path, *, broken: Any = None, **more: Any
) -> list[Genotype | None]:
    """Go on in the seeds' folders as a launch does."""
    workdirs = [Workdir(folder / f"seed{number}") for number in found.numbers]
    more = {"progress": searching.Silence(), "steps_per_dispatch": 2} | more
    for workdir in workdirs:
        workdir.open(searching.CONFIG)
    try:
        runs = [
            search.Running(one, workdir, **more)
            for one, workdir in zip(found.searches, workdirs, strict=True)
        ]
        return seeds.run(found, runs, broken=broken or pytest.fail)
    finally:
        for workdir in workdirs:
            workdir.close()


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory):
    """Folder of the seeds' searches, run together in one go."""
    root = tmp_path_factory.mktemp("seeds")

    @functools.cache
    def folder(name: str, mode: str) -> pathlib.Path:
        assert None not in run(together(name, mode)[0], root / name / mode)
        return root / name / mode

    return folder


def state_of(searched: search.Search, folder: pathlib.Path) -> Any:
    return searching.final_state(searched, folder)


def assert_same(found: seeds.Seeds, one: pathlib.Path, other: pathlib.Path) -> None:
    """Every bit that two runs of the seeds leave."""
    for number, searched in zip(found.numbers, found.searches, strict=True):
        assert_same_seed(searched, *(path / f"seed{number}" for path in (one, other)))


def assert_same_seed(
    searched: search.Search, one: pathlib.Path, other: pathlib.Path
) -> None:
    states = [fingerprint(state_of(searched, path)) for path in (one, other)]
    assert states[0] == states[1]
    alphas = [searching.alphas(path) for path in (one, other)]
    jax.tree.map(np.testing.assert_array_equal, *alphas)
    rows = [without_times(metrics(path)) for path in (one, other)]
    assert rows[0] == rows[1]
    assert len({row["phase"] for row in rows[0]}) == 3
    texts = [(path / "genotype.json").read_text() for path in (one, other)]
    assert texts[0] == texts[1]


def close(one: Any, other: Any) -> None:
    """To rounding; steps, keys and the epochs of teachers to the bit."""

    def leaf(a: Any, b: Any) -> None:
        a, b = catalogue.bits(a), catalogue.bits(b)
        if a.dtype == np.float32:
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
        else:
            np.testing.assert_array_equal(a, b)

    jax.tree.map(leaf, one, other)


# --- the data --------------------------------------------------------------------


def test_seeds_share_the_images_and_have_the_batches_of_their_own_halves():
    shared = to_device_seeds(digits(), batch_size=BATCH, seeds=NUMBERS)
    whole = shared[0].train.images
    assert whole.shape == (EXAMPLES, 8, 8, 1)
    for number, data in zip(NUMBERS, shared, strict=True):
        assert data.train.images is data.valid.images is whole
        own = to_device(digits(), batch_size=BATCH, seed=number)
        for half in ("train", "valid"):
            both = [getattr(one, half) for one in (data, own)]
            key = jax.random.key(number)
            order = epoch_order(key, both[0].weights, epoch=1)
            for rows in order:
                batches = [
                    take(one, part, rows, key, epoch=1, augmentation=AUGMENTATION)
                    for one, part in zip((data, own), both, strict=True)
                ]
                jax.tree.map(np.testing.assert_array_equal, *batches)
    assert (shared[0].train.ids != shared[1].train.ids).any()


# --- to the end ------------------------------------------------------------------


@pytest.mark.parametrize("name", NETS)
def test_in_turns_a_seed_has_the_bits_of_its_search_alone(
    tmp_path, name: str, undisturbed
):
    folders = undisturbed(name, "map")
    found = together(name, "map")[0]
    for number, searched in zip(NUMBERS, found.searches, strict=True):
        searching.run(alone(name, number), tmp_path / str(number))
        assert_same_seed(searched, folders / f"seed{number}", tmp_path / str(number))
    states = [
        state_of(searched, folders / f"seed{number}")
        for number, searched in zip(NUMBERS, found.searches, strict=True)
    ]
    assert fingerprint(states[0].weights) != fingerprint(states[1].weights)


@pytest.mark.parametrize("name", ["mixture", "teachers", "snapshots"])
def test_in_a_batch_a_seed_differs_from_its_search_alone_by_rounding(
    name: str, undisturbed
):
    found = together(name, "vmap")[0]
    folders = [undisturbed(name, mode) for mode in MODES]
    for number, searched in zip(NUMBERS, found.searches, strict=True):
        close(*(state_of(searched, path / f"seed{number}") for path in folders))
        rows = [metrics(folder / f"seed{number}") for folder in folders]
        assert [(row["phase"], row["step"]) for row in rows[0]] == [
            (row["phase"], row["step"]) for row in rows[1]
        ]


def test_teachers_remember_the_examples_of_their_seed(undisturbed):
    for mode in MODES:
        found = together("teachers", mode)[0]
        for number, one in zip(NUMBERS, found.searches, strict=True):
            state = state_of(one, undisturbed("teachers", mode) / f"seed{number}")
            written = np.asarray(state.memory.epochs) == EPOCHS - 1
            rows = np.asarray(one.data.train.weights).reshape(-1)
            np.testing.assert_array_equal(written[0], rows == 1)


@pytest.mark.parametrize("mode", MODES)
def test_the_budget_is_that_of_all_seeds(mode: str):
    found, budget = together("teachers", mode)
    one, states = found.searches[0], [s.new_state() for s in found.searches]
    assert budget.memory_bytes == sum(tree_bytes(state.memory) for state in states) > 0
    assert budget.data_bytes < 2 * tree_bytes(alone("teachers", 0).data)
    assert budget.peak_bytes > budget.data_bytes + sum(map(tree_bytes, states))
    assert budget.seconds_per_epoch == one.steps_per_epoch * budget.step_seconds > 0


@pytest.mark.parametrize("mode", MODES)
def test_after_the_first_epoch_nothing_is_compiled(tmp_path, mode: str, undisturbed):
    undisturbed("teachers", mode)
    compiled: list[str] = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, seconds, **more: compiled.append(event)
    )

    counts = []

    class Counting(searching.Silence):
        def epoch_done(self, epochs_done, values):
            counts.append(sum("backend_compile" in event for event in compiled))

    with jax.numpy_dtype_promotion("standard"):
        run(together("teachers", mode)[0], tmp_path, progress=Counting())
    # Both seeds have ended their first epoch, then their second.
    assert len(counts) == 2 * len(NUMBERS)
    assert counts[-1] == counts[1]


# --- stopped, killed, behind -----------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("asked", [0, 1, 3, 6])
@pytest.mark.parametrize("kill", [False, True], ids=["stopped", "killed"])
def test_seeds_go_on_to_the_same_bits(
    tmp_path, mode: str, asked: int, kill: bool, undisturbed
):
    """Each asks whether to stop: 1 and 3 leave one seed a dispatch behind."""
    found = together("teachers", mode)[0]
    stop = after(asked, kill=kill)
    if kill:
        with pytest.raises(Killed):
            run(found, tmp_path, stop=stop, checkpoint_minutes=0.0)
    else:
        assert run(found, tmp_path, stop=stop) == [None, None]
    more = {"checkpoint_minutes": 0.0} if kill else {}
    assert None not in run(found, tmp_path, **more)
    assert_same(found, tmp_path, undisturbed("teachers", mode))


@pytest.mark.parametrize("mode", MODES)
def test_a_seed_that_lost_checkpoints_catches_up(tmp_path, mode: str, undisturbed):
    found = together("teachers", mode)[0]
    source, folder = undisturbed("teachers", mode), tmp_path / "copy"
    shutil.copytree(source, folder)
    for number in NUMBERS:
        (folder / f"seed{number}" / "genotype.json").unlink()
    lost = folder / f"seed{NUMBERS[1]}" / "checkpoints"
    for step in checkpoint.steps(lost):
        shutil.rmtree(lost / str(step))
    assert None not in run(found, folder)
    assert_same(found, folder, source)


def test_a_search_alone_goes_on_with_a_seed(tmp_path, undisturbed):
    found = together("teachers", "map")[0]
    assert run(found, tmp_path, stop=after(4)) == [None, None]
    number = NUMBERS[1]
    folder = tmp_path / f"seed{number}"
    assert searching.run(alone("teachers", number), folder) is not None
    source = undisturbed("teachers", "map") / f"seed{number}"
    assert_same_seed(found.searches[1], folder, source)


# --- broken ----------------------------------------------------------------------


def marked() -> Method:
    """DARTS whose loss is no number from step 5 on, for a seed with a high mark.

    Weight decay moves a mark by 0.03 a step.
    """
    plain = darts()

    def init(key, space):
        return {**plain.init(key, space), "mark": jax.random.uniform(key)}

    def loss(terms) -> jax.Array:
        late = terms.progress * TOTAL > 3.5
        return jnp.where(late & (terms.alpha["mark"] > 0.15), jnp.nan, 0.0)

    return add_weight_loss(plain._replace(init=init), loss)


@functools.cache
def breaking(mode: str) -> seeds.Seeds:
    return prepare(searching.linear_net(), marked(), mode)[0]


@pytest.mark.parametrize("mode", MODES)
def test_a_seed_that_breaks_is_named_and_the_others_go_on(tmp_path, mode: str):
    found, told = breaking(mode), []
    marks = [float(one.new_state().alpha["mark"]) for one in found.searches]
    bad = [mark > 0.25 for mark in marks]
    assert sorted(bad) == [False, True], marks
    ended = run(found, tmp_path, broken=lambda *error: told.append(error))
    assert [genotype is None for genotype in ended] == bad
    [(number, error)] = told
    assert number == NUMBERS[bad.index(True)]
    assert str(error).startswith("at step 5: weight_added_loss is nan")
    broken = tmp_path / f"seed{number}"
    assert not (broken / "genotype.json").exists()
    assert checkpoint.steps(broken / "checkpoints") == [STEPS]
    assert all(row["step"] <= 4 for row in metrics(broken))
    # The other one is as it would be by itself.
    place = bad.index(False)
    one = breaking("map").searches[place]
    folders = tmp_path / f"seed{NUMBERS[place]}", tmp_path / "alone"
    searching.run(one, folders[1])
    if mode == "map":
        assert_same_seed(one, *folders)
    close(*(state_of(one, folder) for folder in folders))


def test_a_method_that_samples_takes_turns():
    for name, make in METHODS.items():
        method = make()
        space = method.adapt(catalogue.space())
        assert not seeds.is_batched(method, space, mapped="auto")  # of a CPU
        assert not seeds.is_batched(method, space, mapped="map")
        if name in MIXED:
            assert seeds.is_batched(method, space, mapped="vmap")
        else:
            with pytest.raises(InputError, match=f"{method.name} samples paths"):
                seeds.is_batched(method, space, mapped="vmap")


# --- the launch ------------------------------------------------------------------


def test_a_launch_leaves_of_each_seed_what_its_own_launch_leaves(
    tmp_path, compilation_cache: str
):
    common = [
        "--config=experiments/configs/stc_nas_nasbench201_digits.py:smoke",
        f"--compilation_cache={compilation_cache}",
        "--config.seed=4",
        "--num_devices=1",  # there are four in the tests
    ]
    many = [*common, "--config.search.num_seeds=2", f"--workdir={tmp_path}/many"]
    launcher = Launcher()
    try:
        done, again = launcher(*many), launcher(*many)
        single = launcher(*common, f"--workdir={tmp_path}/single")
    finally:
        launcher.close()
    assert (done.code, again.code, single.code) == (0, 0, 0), done.err
    assert done.err == ""
    assert "seeds 4, 5: in turns" in done.out
    assert done.out.splitlines()[-4].split()[:2] == ["seed", "result/valid_accuracy"]
    assert again.out.count("nothing to do") == 2
    own = {path.name for path in (tmp_path / "single").iterdir()}
    for seed in (4, 5):
        folder = tmp_path / "many" / f"seed{seed}"
        names = {path.name for path in folder.iterdir()}
        assert {n for n in names if "events" not in n} == {
            n for n in own if "events" not in n
        }
        config = json.loads((folder / "config.json").read_text())
        of_single = json.loads((tmp_path / "single" / "config.json").read_text())
        assert config == of_single | {"seed": seed}
        genotype = Genotype.from_json((folder / "genotype.json").read_text())
        assert genotype.source.endswith(f"seed {seed}")
    alphas = [searching.alphas(tmp_path / name) for name in ("many/seed4", "single")]
    jax.tree.map(np.testing.assert_array_equal, *alphas)
    texts = [
        (tmp_path / name / "genotype.json").read_text()
        for name in ("many/seed4", "single")
    ]
    assert texts[0] == texts[1]
