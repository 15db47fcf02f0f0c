"""``python -m experiments.search`` as its users meet it."""

import hashlib
import json
import pathlib
import re
import runpy
import signal
import time
from collections.abc import Iterator

import numpy as np
import pytest

from nasjax import methods, spaces
from nasjax.data.sources import tfds_root, tfds_version
from nasjax.genotype import Genotype
from nasjax.workdir import Workdir
from tests import searching
from tests.launching import ROOT, Ended, Launcher, launch, start, wait

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
        assert ended.err == ""
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
    config = runpy.run_path(str(ROOT / QUICK_FILE))["get_config"]().to_dict()
    config["search"]["learning_rate"] = 1e38
    workdir = Workdir(tmp_path / "run")
    workdir.open(config)
    assert launcher._search(search, workdir, config) == 1
    _, err = capsys.readouterr()
    assert re.fullmatch(r"error: [^\n]* at step \d+; [^\n]*\n", err), err
    assert "lower search.learning_rate (1e+38)" in err
    assert not workdir.finished


# --- mistakes --------------------------------------------------------------------


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Files that a mistake may name."""
    place = tmp_path_factory.mktemp("place")
    (place / "file").write_text("text")
    (place / "empty").mkdir()
    (place / "other").mkdir()
    get_config = runpy.run_path(str(ROOT / QUICK_FILE))["get_config"]
    other = get_config("smoke").to_dict() | {"seed": 7}
    (place / "other" / "config.json").write_text(json.dumps(other))
    (place / "text.npz").write_text("no arrays")
    labels = np.arange(40) % 10
    for name, size, kind in (
        ("three", 3, np.uint8),
        ("six", 6, np.uint8),
        ("float", 8, np.float32),
    ):
        images = np.zeros((40, size, size), kind)
        np.savez(place / f"{name}.npz", images=images, labels=labels)
    (place / "broken.py").write_text("def get_config(:\n")
    (place / "empty.py").write_text("")
    return place


#: What is typed after a configuration; what stderr names. {place} is the folder above.
NPZ = "--config.data.name=npz"
MISTAKES: dict[str, tuple[str, list[str]]] = {
    # flags
    "unknown flag": ("--confg=x", ["flag 'confg'", "config"]),
    "no flag": ("stray", ["'stray'", "--name=value"]),
    "flag without value": ("--compilation_cache", ["--compilation_cache", "value"]),
    # fields
    "unknown field": (
        "--config.search.epoch=1",
        ["--config.search.epoch", "'epoch'", "epochs", "batch_size"],
    ),
    "unknown block": ("--config.serach.epochs=1", ["'serach'", "search", "method"]),
    "block for value": ("--config.search=3", ["--config.search=3"]),
    "word for integer": ("--config.search.epochs=x", ["search.epochs=x", "int"]),
    "fraction for integer": ("--config.search.epochs=1.5", ["search.epochs=1.5"]),
    "word for number": ("--config.search.momentum=x", ["search.momentum=x", "float"]),
    "word for yes or no": ("--config.data.flip=maybe", ["data.flip=maybe", "bool"]),
    # ranges
    "no epochs": ("--config.search.epochs=0", ["search.epochs is 0", "at least 1"]),
    "no batch": ("--config.search.batch_size=0", ["batch_size is 0", "at least 1"]),
    "a huge batch": (
        "--config.search.batch_size=100000000",
        ["batch_size is 100000000", "at most"],
    ),
    "negative batch": ("--config.search.batch_size=-3", ["batch_size is -3"]),
    "no steps": (
        "--config.search.steps_per_dispatch=0",
        ["search.steps_per_dispatch is 0", "at least 1"],
    ),
    "never evaluated": ("--config.search.evaluate_every=0", ["at least 1"]),
    "negative rate": (
        "--config.search.learning_rate=-0.1",
        ["search.learning_rate is -0.1", "at least 0"],
    ),
    "no rate": ("--config.search.learning_rate=nan", ["learning_rate is nan"]),
    "endless rate": ("--config.search.learning_rate=inf", ["learning_rate is inf"]),
    "negative decay": ("--config.search.weight_decay=-1", ["weight_decay is -1"]),
    "negative clip": ("--config.search.clip_norm=-1", ["search.clip_norm is -1"]),
    "momentum": ("--config.search.momentum=2", ["momentum is 2", "below 1"]),
    "b1": ("--config.search.arch_b1=1.0", ["search.arch_b1 is 1.0", "below 1"]),
    "b2": ("--config.search.arch_b2=-0.1", ["search.arch_b2 is -0.1", "at least 0"]),
    "pad": ("--config.data.pad=-1", ["data.pad is -1", "at least 0"]),
    "cutout": ("--config.data.cutout=-2", ["data.cutout is -2", "at least 0"]),
    "negative seed": ("--config.seed=-1", ["seed is -1", "from 0 to"]),
    "large seed": ("--config.seed=4294967296", ["seed is 4294967296", "2**32"]),
    # method
    "method": ("--config.method.name=x", ["method.name is 'x'", "darts", "stc_nas"]),
    "another method's fields": (
        "--config.method.name=darts",
        ["method.name is 'darts'", "activation", "order", "--config"],
    ),
    "activation": (
        "--config.method.activation=tanh",
        ["method", "'tanh'", "relu", "sigmoid", "softmax"],
    ),
    "no schedule": (
        "--config.method.noise_range=1",
        ["method.noise_range is '1'", "linear(start, end)", "cosine", "steps"],
    ),
    "unknown schedule": (
        "--config.method.js_strength=sine(1,2)",
        ["method.js_strength is 'sine(1,2)'", "constant(value)"],
    ),
    "three for two": (
        "--config.method.js_strength=linear(1,2,3)",
        ["method.js_strength is 'linear(1,2,3)'", "linear(start, end)"],
    ),
    "negative noise": (
        "--config.method.noise_range=linear(-1,0)",
        ["method.noise_range is 'linear(-1,0)'", "-1, below 0"],
    ),
    "endless noise": (
        "--config.method.noise_range=linear(1e999,0)",
        ["method.noise_range is 'linear(1e999,0)'", "not finite"],
    ),
    "devices": ("--num_devices=99", ["num_devices is 99", "from 1 to"]),
    "temperature": (
        "--config={configs}/gdas_nasbench201_digits.py:smoke "
        "--config.method.temperature=linear(10,0)",
        ["method: temperature goes down to 0", "above 0"],
    ),
    "more sub-graphs than operations": (
        "--config={configs}/msg_das_nasbench201_digits.py:smoke --config.method.k=6",
        ["k=6", "5 operations"],
    ),
    "voting": (
        "--config={configs}/sd_darts_nasbench201_digits.py:smoke "
        "--config.method.voting=median",
        ["method: voting='median'", "mean, ema"],
    ),
    "window": (
        "--config={configs}/sd_darts_nasbench201_digits.py:smoke "
        "--config.method.window=0",
        ["method: window=0", "at least 1"],
    ),
    "a ring that cannot fit": (
        "--config={configs}/sd_darts_nasbench201_digits.py:smoke "
        "--config.method.window=1000000000",
        ["memory", "TB", "window", "ring_dtype"],
    ),
    "partial channels": (
        "--config={configs}/pc_darts_nasbench201_digits.py:smoke "
        "--config.supernet.channels=6",
        ["supernet: channels=6", "multiple of 4"],
    ),
    "finalists": (
        "--config={configs}/random_nasbench201_digits.py:smoke "
        "--config.method.finalists=9",
        ["method: finalists=9", "from 1 to 4"],
    ),
    "alpha": ("--config.method.alpha_start=nan", ["method.alpha_start is nan"]),
    # supernet
    "space": (
        "--config.supernet.space=x",
        ["supernet.space is 'x'", "darts, nasbench201"],
    ),
    "dtype": (
        "--config.supernet.dtype=float16",
        ["supernet.dtype is 'float16'", "float32 or bfloat16"],
    ),
    "depthwise": (
        "--config.supernet.depthwise=x",
        ["supernet", "depthwise='x'", "banded", "grouped"],
    ),
    "no channels": (
        "--config.supernet.channels=0",
        ["supernet", "channels is 0", "at least 1"],
    ),
    "no cells": ("--config.supernet.num_cells=0", ["supernet", "num_cells is 0"]),
    "image of 6": (
        NPZ + " --config.data.path={place}/six.npz --config.search.batch_size=8",
        ["supernet", "6×6", "4"],
    ),
    "image of 3": (
        NPZ
        + " --config.data.path={place}/three.npz --config.supernet.space=darts"
        + " --config.search.batch_size=8",
        ["supernet", "(3, 3)", "4×4"],
    ),
    # data
    "data": ("--config.data.name=mnist", ["data: name", "'mnist'", "digits", "npz"]),
    "no path": (NPZ, ["data: path must be given", "npz"]),
    "path for digits": ("--config.data.path=x", ["data: path is for npz", "digits"]),
    "no npz": (NPZ + " --config.data.path={place}/no.npz", ["no.npz", "no such file"]),
    "text npz": (NPZ + " --config.data.path={place}/text.npz", ["text.npz", ".npz"]),
    "float npz": (
        NPZ + " --config.data.path={place}/float.npz",
        ["float.npz", "uint8", "float32"],
    ),
    "empty folder": (
        "--config.data.name=folder --config.data.path={place}/empty",
        ["{place}/empty", "class folders"],
    ),
    "no pixels": (
        "--config.data.name=folder --config.data.path={place}/empty "
        "--config.data.image_size=0",
        ["data: image_size", "at least 1", "got 0"],
    ),
    "no cifar": (
        "--config.data.name=cifar10 --config.data.data_dir={place}/empty",
        ["cifar10 is not prepared in {place}/empty", "experiments.prepare"],
    ),
    "fewer examples than classes": (
        "--config.data.max_examples=5",
        ["data: max_examples", "10", "got 5"],
    ),
    "no examples": ("--config.data.max_examples=0", ["max_examples", "got 0"]),
    "no train half": (
        "--config.data.train_fraction=0",
        ["data: train_fraction", "both parts", "got 0"],
    ),
    "no valid half": ("--config.data.train_fraction=1", ["train_fraction", "got 1"]),
    # workdir
    "file": ("--workdir={place}/file", ["workdir {place}/file is a file"]),
    "below a file": (
        "--workdir={place}/file/run",
        ["workdir {place}/file/run", "cannot be written"],
    ),
    "of another run": (
        "--workdir={place}/other",
        ["workdir {place}/other", "seed is 7 there and 0 here", "another --workdir"],
    ),
    # configuration files
    "no file": ("--config=no.py", ["no.py", "No such file"]),
    "variant": (f"--config={CONFIGS}/darts_darts_digits.py:big", ["'big'", "smoke"]),
    "broken file": ("--config={place}/broken.py", ["broken.py, line 1"]),
    "file without configuration": ("--config={place}/empty.py", ["'get_config'"]),
}


def assert_refused(ended: Ended, named: list[str]) -> None:
    assert ended.code == 2, ended
    assert ended.out == ""
    assert re.fullmatch(r"error: [^\n]*\n", ended.err), ended.err
    assert "Traceback" not in ended.err
    for part in named:
        assert part in ended.err


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_2_and_nothing_written(
    tmp_path, launcher: Launcher, place: pathlib.Path, mistake: str
):
    typed, named = MISTAKES[mistake]
    flags = [
        f"--workdir={tmp_path}/run",
        *typed.format(place=place, configs=CONFIGS).split(),
    ]
    if not typed.startswith("--config="):
        flags.insert(0, QUICK)
    before = files(place)
    ended = launcher(*flags)
    assert_refused(ended, [part.format(place=place) for part in named])
    assert list(tmp_path.iterdir()) == []
    assert files(place) == before


def test_without_a_configuration_there_is_the_default(tmp_path, launcher: Launcher):
    ended = launcher("--config.method.activation=x", f"--workdir={tmp_path}/run")
    assert_refused(ended, ["'x'", "relu"])  # a field that STC-NAS alone has


def test_a_mistake_in_a_run_of_its_own_is_one_line_and_2(tmp_path):
    """Once without the tests' launcher."""
    folder = tmp_path / "run"
    flags = ("--config.search.batch_size=0", f"--workdir={folder}")
    assert_refused(launch(*flags), ["search.batch_size is 0"])
    assert not folder.exists()


def test_a_finished_run_is_refused_to_another_configuration(
    tmp_path, launcher: Launcher
):
    (tmp_path / "config.json").write_text('{"seed": 0}')
    (tmp_path / "genotype.json").write_text("{}")
    before = files(tmp_path)
    ended = launcher(QUICK, f"--workdir={tmp_path}")
    assert_refused(ended, [f"workdir {tmp_path} holds another run"])
    assert files(tmp_path) == before


def test_help_tells_of_the_flags(launcher: Launcher):
    ended = launcher("--help")
    assert ended.code == 0
    for name in ("--config", "--workdir", "--compilation_cache"):
        assert name in ended.out
