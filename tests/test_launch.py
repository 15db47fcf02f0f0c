"""``python -m experiments.search`` as its users meet it."""

import hashlib
import json
import pathlib
import re
import signal
import time
from collections.abc import Iterator

import numpy as np
import pytest

from experiments.configs import catalogue
from nasjax import methods, spaces
from nasjax.data.sources import tfds_root, tfds_version
from nasjax.genotype import Genotype
from nasjax.runtime.workdir import Workdir
from tests import searching
from tests.launching import Ended, Launcher, launch, start, wait

CONFIGS = "experiments/configs"


def smoke(name: str) -> str:
    return f"--config={CONFIGS}/{name}.py:smoke"


#: The quickest search that has every part.
QUICK_FILE = f"{CONFIGS}/stc_nas_nasbench201_digits.py"
QUICK = f"--config={QUICK_FILE}:smoke"


def rows(folder: pathlib.Path) -> list[dict]:
    file = folder / "metrics.jsonl"
    return [json.loads(line) for line in file.open()] if file.exists() else []


def files(folder: pathlib.Path) -> dict[str, tuple[str, int]]:
    """Content and time of every file below a folder."""
    return {
        str(path.relative_to(folder)): (
            hashlib.sha256(path.read_bytes()).hexdigest(),
            path.stat().st_mtime_ns,
        )
        for path in folder.rglob("*")
        if path.is_file()
    }


def alphas(folder: pathlib.Path) -> dict[str, np.ndarray]:
    with np.load(folder / "alphas.npz") as stored:
        return dict(stored)


@pytest.fixture(scope="module")
def launcher() -> Iterator[Launcher]:
    launcher = Launcher()
    yield launcher
    launcher.close()


# --- to the end ------------------------------------------------------------------

HAS_CIFAR = tfds_version("cifar10", tfds_root(None)) is not None
needs_cifar = pytest.mark.skipif(
    not HAS_CIFAR, reason="no CIFAR-10 prepared in $TFDS_DATA_DIR"
)


def check_finished(folder: pathlib.Path, done: Ended) -> None:
    """A finished run has all its files, and they agree."""
    assert done.code == 0, done.err
    assert done.err == ""
    config = json.loads((folder / "config.json").read_text())
    environment = json.loads((folder / "environment.json").read_text())
    genotype = Genotype.from_json((folder / "genotype.json").read_text())
    found = rows(folder)
    phases = [row["phase"] for row in found]
    epochs = config["search"]["epochs"]
    assert phases[0] == "budget"
    assert phases.count("valid") == epochs
    assert phases[-1] == "result"
    assert [row["step"] for row in found] == sorted(row["step"] for row in found)

    method, space = (
        config["method"]["name"],
        spaces.SPACES[config["supernet"]["space"]](),
    )
    space = methods.METHODS[method]().adapt(space)
    assert environment["primitives"] == list(space.primitives)
    history = alphas(folder)
    for values in history.values():
        assert values.shape == (epochs + 1, space.num_edges, space.num_ops)
    last = {name: values[-1] for name, values in history.items()}
    derived = methods.METHODS[method]().derive(space, last)
    assert genotype == derived._replace(source=genotype.source)
    assert config["data"]["name"] in genotype.source

    report = (folder / "report.html").read_text()
    assert report.count("<html") == report.count("</html>") == 1
    events = list(folder.glob("events.out.tfevents.*"))
    assert len(events) == 1
    # TensorBoard's names stand in its records as they are.
    assert b"train/weight_loss" in events[0].read_bytes()
    steps = [path.name for path in (folder / "checkpoints").iterdir()]
    assert str(found[-1]["step"]) in steps
    assert str(folder / "genotype.json") in done.out
    assert str(folder / "report.html") in done.out
    told = (
        r"device .*\nconfig .*\nfolder .*\ndata \w+: [\d,]+ images · \d+ classes · .*"
    )
    assert re.match(f"{told} passed over\n", done.out)
    last = done.out.splitlines()[-1]
    found_at_last = genotype.arch_str or f"{genotype.normal[0][0]}←"
    assert last.startswith("result   ")
    assert found_at_last in last
    assert f"accuracy {100 * found[-1]['values']['valid_accuracy']:.2f} %" in last
    assert f"--workdir={folder}" in environment["command"]
    assert environment["started"] <= environment["ended"]
    ready = found[0]["values"]["ready_seconds"]
    assert environment["seconds"] > ready - 0.1  # which is a part of it


@pytest.mark.parametrize(
    "name",
    [
        "darts_darts_digits",
        "stc_nas_darts_digits",
        pytest.param("stc_nas_nasbench201_cifar10", marks=needs_cifar),
    ],
)
def test_a_smoke_run_ends_well_and_is_left_alone_afterwards(
    tmp_path, launcher: Launcher, compilation_cache: str, name: str
):
    folder = tmp_path / "run"
    flags = (
        smoke(name),
        f"--workdir={folder}",
        f"--compilation_cache={compilation_cache}",
    )
    check_finished(folder, launch(*flags))
    before = files(folder)
    again = launcher(*flags)
    assert (again.code, again.err) == (0, "")
    assert again.out == f"{folder} holds the finished run; nothing to do\n"
    assert files(folder) == before


# --- stopped and killed ----------------------------------------------------------

#: Long enough to be met in the middle; a look at the signals after every step.
LONG = (
    QUICK,
    "--config.search.epochs=18",
    "--config.search.steps_per_dispatch=1",
    "--config.search.evaluate_every=4",
)
STEPS, EPOCHS = 3, 18


def signalled(number: int, step: int, flags: tuple[str, ...], folder) -> Ended:
    """Launch, and send a signal once a step is logged."""
    process = start(*flags)
    deadline = time.monotonic() + 240
    while process.poll() is None and time.monotonic() < deadline:
        if any(row["step"] >= step for row in whole_rows(folder)):
            process.send_signal(number)
            break
        time.sleep(0.02)
    return wait(process)


def whole_rows(folder: pathlib.Path) -> list[dict]:
    """Rows of a file that is being written to."""
    file = folder / "metrics.jsonl"
    if not file.exists():
        return []
    lines = file.read_text().split("\n")[:-1]
    return [json.loads(line) for line in lines if line]


def of_training(folder: pathlib.Path) -> list[dict]:
    """Everything but the clock and the budgets of the processes."""
    found = []
    for row in rows(folder):
        if row["phase"] != "budget":
            row["values"].pop("images_per_second", None)
            found.append(row)
    return found


def test_stopped_by_every_signal_a_search_ends_at_the_same_bits(
    tmp_path, compilation_cache: str
):
    cache = f"--compilation_cache={compilation_cache}"
    undisturbed, folder = tmp_path / "undisturbed", tmp_path / "run"
    done = launch(*LONG, cache, f"--workdir={undisturbed}")
    assert done.code == 0, done.err
    flags = (*LONG, cache, f"--workdir={folder}")

    reached = 0
    for number, code, step in (
        (signal.SIGTERM, 143, 5),
        (signal.SIGINT, 130, 20),
        (signal.SIGKILL, -9, 35),
    ):
        ended = signalled(number, step, flags, folder)
        assert ended.code == code, ended
        told = "stopping after this dispatch" if number == signal.SIGINT else ""
        assert ended.err.startswith(told)
        assert ended.err.count("\n") == bool(told)
        assert not (folder / "genotype.json").exists()
        if reached:
            assert f"going on after step {reached}" in ended.out
        saved = [
            int(path.name)
            for path in (folder / "checkpoints").iterdir()
            if path.name.isdigit()
        ]
        if number != signal.SIGKILL:
            # Stopped at once, not at the end of the epoch or of the search.
            assert step <= max(saved) < STEPS * EPOCHS
            assert max(saved) == max(row["step"] for row in of_training(folder))
            assert "the same command goes on" in ended.out
            assert (folder / "report.html").exists()
        assert max(saved) > reached
        reached = max(saved)

    ended = launch(*flags)
    assert (ended.code, ended.err) == (0, "")
    assert f"going on after step {reached}" in ended.out
    for cell_type, values in alphas(undisturbed).items():
        np.testing.assert_array_equal(values, alphas(folder)[cell_type])
    assert of_training(folder) == of_training(undisturbed)
    # One budget, of the first process, however many there were.
    assert [row["phase"] for row in rows(folder)] == [
        row["phase"] for row in rows(undisturbed)
    ]
    texts = [(f / "genotype.json").read_text() for f in (folder, undisturbed)]
    assert texts[0] == texts[1]
    evaluated = [row["epoch"] for row in rows(folder) if "accuracy" in row["values"]]
    assert evaluated == [3, 7, 11, 15, 17]


def test_a_search_that_breaks_is_one_line_and_1(tmp_path, capsys):
    from experiments import search as launcher  # defines flags

    search = searching.prepare(
        searching.linear_net(), methods.darts(), learning_rate=1e38
    )
    config = catalogue.load(QUICK_FILE).to_dict()
    config["search"]["learning_rate"] = 1e38
    workdir = Workdir(tmp_path / "run")
    workdir.open(config)
    assert launcher._search(search, workdir, config) == 1
    _, err = capsys.readouterr()
    assert re.fullmatch(r"error: at step \d+: [^\n]*; [^\n]*\n", err), err
    assert "lower search.learning_rate (1e+38)" in err
    assert not workdir.finished


# --- help --------------------------------------------------------------------------


def test_help_tells_of_the_flags(launcher: Launcher):
    ended = launcher("--help")
    assert ended.code == 0
    for name in ("--config", "--workdir", "--compilation_cache", "--num_devices"):
        assert name in ended.out
