"""What a report tells of a run: by which numbers, how long it took, how it began."""

import io
import json
import re
import subprocess
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from rich.console import Console

from nasjax import genotypes, spaces
from nasjax.genotype import Genotype, read_cell
from nasjax.report import draw_cell, write_report
from nasjax.report.forms import cells_of, to_markdown
from nasjax.report.study import Outcome, tabulate
from nasjax.runtime import environment
from nasjax.runtime.progress import ConsoleProgress
from nasjax.runtime.workdir import Workdir
from nasjax.spaces import derive

SVG = "{http://www.w3.org/2000/svg}"


def report(folder) -> str:
    """The words of the report, without its drawings' own."""
    html = write_report(folder).read_text()
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


# --- numbers of states -----------------------------------------------------------


def test_a_drawing_numbers_its_states_as_the_genotype_does():
    """Inputs 0 and 1, nodes from 2 on: as ``(operation, source)`` and ``3←2``."""
    cell = genotypes.DARTS_V2.normal
    root = ET.fromstring(draw_cell(read_cell(genotypes.DARTS_V2, "normal"), title="t"))
    heads = [e for e in root.iter(SVG + "text") if e.get("class") == "head"]
    names = ["".join(e.itertext()) for e in heads]
    assert names == ["t", "0", "1", "2", "3", "4", "5", "ck"]
    described = root.find(SVG + "desc").text.split("; ")
    assert described == [
        f"{source} to {2 + place // 2}: {operation}"
        for place, (operation, source) in enumerate(cell)
    ]
    small = Genotype("nasbench201", arch_str="|a~0|+|b~0|c~1|")
    one = ET.fromstring(draw_cell(read_cell(small, "cell"), title="t"))
    heads = [e.text for e in one.iter(SVG + "text") if e.get("class") == "head"]
    assert heads == ["t", "0", "1", "2"]


# --- the closest call --------------------------------------------------------------


def searched(folder, alpha: np.ndarray) -> str:
    stored = dict.fromkeys(spaces.darts().cell_types, alpha)
    np.savez(folder / "alphas.npz", **stored)
    (folder / "config.json").write_text('{"space": "darts"}')
    return report(folder)


def test_the_closest_call_is_of_an_edge_that_the_cell_keeps(tmp_path):
    """Two of the three edges into node 3 are kept: the third's choice shows nowhere."""
    space = spaces.darts()
    alpha = np.zeros((2, space.num_edges, space.num_ops), np.float32)
    separable = space.primitives.index("sep_conv_3x3")
    dilated = space.primitives.index("dil_conv_3x3")
    alpha[1, :, separable] = 2.0
    alpha[1, :, dilated] = 1.0
    idle, kept = space.edges.index((0, 3)), space.edges.index((2, 3))
    alpha[1, idle, [separable, dilated]] = 0.5, 0.49  # the weakest, and the closest
    alpha[1, kept, dilated] = 1.75
    cell = derive(space, dict.fromkeys(space.cell_types, alpha[1])).normal
    assert ("sep_conv_3x3", 0) not in cell[2:4]
    text = searched(tmp_path, alpha)
    call = "The closest call is edge 3←2: sep_conv_3x3 over dil_conv_3x3 by 0.25."
    assert text.count(call) == 2  # of both cells
    assert "3←0: " not in text.split("Cells")[0]


def test_of_a_space_that_is_unknown_no_call_is_told(tmp_path):
    alpha = np.random.default_rng(0).normal(size=(2, 3, 4))
    np.savez(tmp_path / "alphas.npz", cell=alpha)
    text = report(tmp_path)
    assert "has the largest alpha on" in text
    assert "closest call" not in text


# --- time and place --------------------------------------------------------------


def write(folder, *, block: str, images: int, rate: float, steps: int = 20):
    """Two epochs of ten steps, estimated at 9 seconds each."""
    config = {block: {"batch_size": 8, "epochs": 2}, "seed": 3}
    if block == "train":
        config["network"] = {}
    (folder / "config.json").write_text(json.dumps(config))
    budget = {"step_seconds": 0.9, "seconds_per_epoch": 9.0}
    lines = [{"step": 0, "epoch": 0, "phase": "budget", "values": budget}]
    for last in range(5, steps + 1, 5):
        values = {"images_per_second": rate}
        row = {"step": last, "epoch": (last - 1) // 10, "phase": "train"}
        lines.append(row | {"values": values})
        if last % 10 == 0:
            lines.append(row | {"phase": "valid", "values": {"accuracy": 0.5}})
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return images * 10 / rate


@pytest.mark.parametrize(("block", "images"), [("search", 16), ("train", 8)])
def test_an_epoch_takes_what_was_measured(tmp_path, block: str, images: int):
    """Both halves of a search's batch pass through the network."""
    seconds = write(tmp_path, block=block, images=images, rate=images * 4.0)
    assert seconds == 2.5
    text = report(tmp_path)
    assert "seconds per epoch measured 2.5 s 2.5" in text
    assert "seconds per epoch 9 s" not in text


def test_before_the_first_epoch_there_is_the_estimate(tmp_path):
    write(tmp_path, block="search", images=16, rate=64.0, steps=5)
    assert "seconds per epoch 9 s 9" in report(tmp_path)


def test_start_end_time_command_and_commit_are_told(tmp_path):
    write(tmp_path, block="search", images=16, rate=64.0)
    told = {
        "started": "2026-12-01T10:00:00+00:00",
        "ended": "2026-12-01T12:00:30+00:00",
        "seconds": 95.0,
        "command": "python -m experiments.search --config.seed=3",
        "commit": "0123abc-dirty",
    }
    (tmp_path / "environment.json").write_text(json.dumps(told))
    text = report(tmp_path)
    assert (
        "seed 3 · started 2026-12-01T10:00:00+00:00 · ended 2026-12-01T12:00:30+00:00 "
        "· ran for 1 min 35 s"
    ) in text
    assert f"command {told['command']}" in text
    assert "commit 0123abc-dirty" in text


def test_times_of_several_starts_are_added(tmp_path):
    workdir = Workdir(tmp_path)
    workdir.end()  # of what was never described: nothing
    assert not (tmp_path / "environment.json").exists()
    workdir.open()
    workdir.describe()
    for seconds in (100.0, 20.0):
        workdir.started -= seconds
        workdir.end()
    workdir.close()
    told = json.loads((tmp_path / "environment.json").read_text())
    assert 120 <= told["seconds"] < 130
    assert told["started"] <= told["ended"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["/opt/bin/python3", "-m", "a.b", "--x=1"], "python3 -m a.b --x=1"),
        (["python", "a.py", "--workdir=/home/me/runs"], "python a.py --workdir=~/runs"),
        (["python", "/home/me/a.py"], "python ~/a.py"),
        (["python", "/home/mean/a.py"], "python /home/mean/a.py"),
        (["python", "--api_key=abc", "-q"], "python '--api_key=…' -q"),
        (["python", "--Token", "abc", "x"], "python --Token '…' x"),
        (["python", "--password"], "python --password"),
        (["python", "--x=a b"], "python '--x=a b'"),
    ],
)
def test_a_command_is_told_without_secrets_and_home(monkeypatch, arguments, expected):
    monkeypatch.setenv("HOME", "/home/me")
    assert environment.command_line(arguments) == expected


def test_the_commit_is_that_of_the_checkout(tmp_path):
    def git(*words: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        done = subprocess.run(
            ["git", "-C", str(tmp_path), *who, *words],
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout.strip()

    assert environment.commit(tmp_path) is None
    git("init", "-q")
    package = tmp_path / "package"
    package.mkdir()
    (package / "a.py").write_text("1")
    git("add", ".")
    git("commit", "-qm", "one")
    head = git("rev-parse", "HEAD")
    assert environment.commit(package) == head
    (package / "a.py").write_text("2")
    assert environment.commit(package) == f"{head}-dirty"
    installed = tmp_path / "venv" / "package"
    installed.mkdir(parents=True)
    assert environment.commit(installed) is None  # it only lies in one


# --- few seeds ---------------------------------------------------------------------


def table(*values: float):
    runs = [
        Outcome(cell, cell, seed, "", {"x": value + shift})
        for cell, shift in {"a": 0.0, "b": 1.0}.items()
        for seed, value in enumerate(values)
    ]
    return tabulate(runs, title="", metrics={"x": "max"}, baseline="b")


def test_two_seeds_have_values_and_no_interval():
    found = table(92.0, 94.0)
    entry = found.lines[0].entries["x"]
    assert entry.summary.interval is None
    assert entry.versus == (-1.0, None)
    assert cells_of(entry)[3] == "of 92.00 and 94.00 none"
    assert "[" not in to_markdown(found)
    three = table(92.0, 94.0, 93.0).lines[0].entries["x"]
    assert cells_of(three)[3].startswith("[92")


# --- the bar -----------------------------------------------------------------------


def test_the_bar_shows_the_accuracy_of_the_validation_half():
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=200)
    shown = ConsoleProgress(console)
    values = {"weight_loss": 1.0, "weight_accuracy": 0.5, "images_per_second": 10.0}
    shown.start(0, 2, 2)
    shown.advance(1, values)
    shown._bar.refresh()
    assert "valid accuracy" not in text.getvalue()
    shown.advance(1, values | {"valid_accuracy": 0.875})
    shown._bar.refresh()
    shown.close()
    assert "supernet valid accuracy 87.5 %" in text.getvalue()
