"""A search and the training of what it found, as one run of a study."""

import json
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from experiments.configs.papers import base
from experiments.launch import jobs, plan, run_sequence
from nasjax.base import InputError
from nasjax.report import study
from tests.launching import ROOT, environment

DIGITS = "experiments/configs/darts_nasbench201_digits.py:smoke"


def start(*arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "experiments.launch.run_sequence", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment(),
    )


@pytest.mark.parametrize(
    ("second", "code", "out"),
    [("print(2)", 0, "1\n2\n3\n"), ("print(2); raise SystemExit(2)", 2, "1\n2\n")],
)
def test_a_launch_begins_once_the_one_before_is_done(second, code, out):
    process = start("-uc", "print(1)", "+", "-uc", second, "+", "-uc", "print(3)")
    assert process.communicate()[0] == out
    assert process.returncode == code


def test_the_launches_are_stopped_with_it(tmp_path):
    """As a search does: it saves, and leaves with a code of its own."""
    ready = tmp_path / "ready"
    program = (
        "import pathlib, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n"
        f"pathlib.Path({str(ready)!r}).touch()\n"
        "time.sleep(60)"
    )
    process = start("-c", program, "+", "-c", "print('later')")
    while not ready.exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=30)[0] == ""
    assert process.returncode == 143


def test_arguments_go_in_and_out():
    found = jobs.chain(("-m", "a", "--x=1"), ("-m", "b"))
    assert found[:2] == ("-m", "experiments.launch.run_sequence")
    assert found[2:] == ("-m", "a", "--x=1", "+", "-m", "b")
    assert run_sequence.launches(found[2:]) == [["-m", "a", "--x=1"], ["-m", "b"]]


# --- in a study -----------------------------------------------------------------


def config(**fields):
    one = base.cell("One", DIGITS, "search.epochs=1", **fields)
    return base.study("T", cells={"one": one}, metrics={"seconds": ""}).to_dict()


def test_what_a_search_finds_is_trained_with_its_seed(monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    # Any file with a configuration will do; none of it is run here.
    job, *_ = plan.jobs_of(
        config(retrain=DIGITS, retrain_overrides=("data.pad=0",)), tmp_path
    )
    search, training = run_sequence.launches(job.command[2:])
    assert search[:2] == ["-m", "experiments.search"]
    assert training == [
        "-m",
        "experiments.retrain",
        f"--config={DIGITS}",
        f"--genotype={tmp_path}/one-seed0",
        f"--workdir={tmp_path}/one-seed0/retrain",
        "--config.data.pad=0",
        "--config.seed=0",
    ]


def test_the_cells_of_earlier_epochs_are_trained_after_the_last(monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    fields = {"retrain": DIGITS, "retrain_epochs": (5, 2)}
    cells = {"one": base.cell("One", DIGITS, "search.epochs=9", **fields)}
    study = base.study("T", cells=cells, metrics={"seconds": ""}).to_dict()
    job, *_ = plan.jobs_of(study, tmp_path)
    place = f"{tmp_path}/one-seed0"
    trained = [launch[3:5] for launch in run_sequence.launches(job.command[2:])[1:]]
    assert trained == [
        [f"--genotype={place}", f"--workdir={place}/retrain"],
        [f"--genotype={place}@5", f"--workdir={place}/retrain-epoch5"],
        [f"--genotype={place}@2", f"--workdir={place}/retrain-epoch2"],
    ]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"retrain": "no.py"}, "cells.one: config no.py does not exist"),
        (
            {"retrain": DIGITS, "retrain_overrides": ("train.x=1",)},
            "cells.one: override 'train.x=1': no field 'train'",
        ),
        ({"retrain_overrides": ("a=1",)}, "retrain_overrides without"),
        ({"retrain_epochs": (0,)}, "cells.one: retrain_epochs without"),
        (
            {"retrain": DIGITS, "retrain_epochs": (0, 1)},
            r"retrain_epochs is \(0, 1\); it lists different epochs from 0 to 0, and "
            "what the search ends with after 1 is trained anyway",
        ),
        ({"retrain": DIGITS, "retrain_epochs": (0, 0)}, r"is \(0, 0\)"),
        ({"retrain": DIGITS, "retrain_epochs": ("a",)}, r"is \('a',\)"),
    ],
)
def test_a_training_is_checked_before_anything_runs(
    monkeypatch, tmp_path, fields, message
):
    monkeypatch.chdir(ROOT)
    with pytest.raises(InputError, match=message):
        plan.jobs_of(config(**fields), tmp_path)


def test_figures_of_the_training_are_in_the_table(tmp_path: pathlib.Path):
    genotype = {"space": "nasbench201", "arch_str": "|none~0|"}
    (tmp_path / "genotype.json").write_text(json.dumps(genotype))
    wanted = ("retrain/test_accuracy", "retrain/params", "seconds")

    def values():
        found = study.outcome(tmp_path, cell="a", label="A", seed=0, metrics=wanted)
        return found.values

    assert values() == {}
    (tmp_path / "retrain").mkdir()
    result = tmp_path / "retrain" / "result.json"
    result.write_text(json.dumps({"test_accuracy": 0.97, "averaged": False}))
    assert values() == {"retrain/test_accuracy": 0.97}
    result.write_text("{")
    assert values() == {}
