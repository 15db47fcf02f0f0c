"""A study as it is run: processes of its own, kept results, failures, SLURM arrays."""

import json
import os
import re
import subprocess
import sys

import pytest

from experiments.launch import jobs
from nasjax.base import InputError
from tests.conftest import CACHE
from tests.launching import ROOT, environment

STUDY = """
from experiments.configs.papers import base

DIGITS = "experiments/configs/stc_nas_nasbench201_digits.py:smoke"


def get_config(variant=None):
    return base.study(
        "Tiny",
        cells={
            "good": base.cell(
                "Good", DIGITS, "search.epochs=1", "method.arch_start=0"
            ),
            "bad": base.cell("Bad", DIGITS, "search.batch_size=0"),
        },
        seeds=(5,),
        metrics={"result/valid_accuracy": "max", "skips/cell": ""},
        baseline="bad",
    )
"""


def launch(config, folder, *flags):
    done = subprocess.run(
        [
            *(sys.executable, "-m", "experiments.study", f"--config={config}"),
            *(f"--workdir={folder}", *flags),
        ],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment(XDG_CACHE_HOME=str(CACHE / "study")),
        timeout=300,
    )
    return done.returncode, done.stdout, done.stderr


def test_a_study_from_its_start_to_its_table(tmp_path):
    config, folder = tmp_path / "tiny.py", tmp_path / "study"
    config.write_text(STUDY)
    code, out, err = launch(config, folder)
    assert (code, err) == (1, "")  # one run has no result
    assert "2 runs, 0 finished before" in out
    assert "1/2 good-seed5: done" in out
    assert "Bad, seed 5: exit code 2: search.batch_size is 0" in out
    data = json.loads((folder / "study.json").read_text())
    good, bad = data["runs"]
    accuracy = good["values"]["result/valid_accuracy"]
    logged = (folder / "good-seed5" / "metrics.jsonl").read_text()
    assert json.loads(logged.splitlines()[-1])["values"]["valid_accuracy"] == accuracy
    assert json.loads((folder / "good-seed5" / "config.json").read_text())["seed"] == 5
    assert bad["values"] == {}
    assert 'href="good-seed5/report.html"' in (folder / "study.html").read_text()
    assert (folder / "study.csv").read_text().count("\n") == 3
    genotype = folder / "good-seed5" / "genotype.json"
    before = genotype.stat().st_mtime_ns
    # Once more, the part that is finished, without its baseline: nothing is run.
    code, out, err = launch(config, folder, '--config.rows=("good",)', "--parallel=2")
    assert (code, err) == (0, "")
    assert "1 runs, 1 finished before" in out
    assert genotype.stat().st_mtime_ns == before


def job(folder, name, program):
    return jobs.Job(name, name.upper(), 0, folder / f"{name}-seed0", ("-c", program))


def test_as_many_runs_at_a_time_as_asked_for(tmp_path):
    """Each waits until the other has begun: one at a time would wait for ever."""
    meet = (
        "import pathlib, time\n"
        "pathlib.Path({mine!r}).touch()\n"
        "end = time.time() + 20\n"
        "while not pathlib.Path({other!r}).exists():\n"
        "    assert time.time() < end\n"
        "    time.sleep(0.02)\n"
    )
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    pair = [
        job(tmp_path, "one", meet.format(mine=a, other=b)),
        job(tmp_path, "two", meet.format(mine=b, other=a)),
    ]
    ended = {}
    jobs.run_here(
        pair,
        parallel=2,
        stop=lambda: False,
        tell=lambda j, f: ended.update({j.cell: f}),
    )
    assert ended == {"one": "", "two": ""}


def test_a_stop_is_passed_on_and_nothing_more_begins(tmp_path):
    answers = (
        "import pathlib, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *a: sys.exit(143))\n"
        "pathlib.Path({mine!r}).touch()\n"
        "time.sleep(60)\n"
    )
    begun = tmp_path / "begun"
    both = [
        job(tmp_path, "one", answers.format(mine=str(begun))),
        job(tmp_path, "two", "print()"),
    ]
    told = []
    jobs.run_here(both, parallel=1, stop=begun.exists, tell=lambda *a: told.append(a))
    assert told == [(both[0], "stopped after a checkpoint")]
    assert not both[1].log("out").exists()


FAKE = """#!/bin/sh
cp "$1" {folder}/script.sh
echo "Submitted batch job 77"
"""


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """SLURM's commands, as far as a submission needs them."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sbatch", "srun"):
        (folder / name).write_text(FAKE.format(folder=tmp_path))
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return tmp_path / "script.sh"


def test_slurm_gets_an_array_with_a_task_for_each_run(slurm, tmp_path):
    submitit = pytest.importorskip("submitit")
    every = [
        job(tmp_path, name, f"print({name!r})") for name in ("one", "two", "three")
    ]
    folder = tmp_path / "slurm"
    settings = {"timeout_min": 90, "slurm_partition": "gpu", "cpus_per_task": 4}
    numbers = jobs.submit(every, folder, **settings)
    assert numbers == ["77_0", "77_1", "77_2"]
    script = slurm.read_text()
    assert re.search(r"--array=0-2%", script)
    assert "--partition=gpu" in script
    assert "--time=90" in script
    assert "--cpus-per-task=4" in script
    # A task does what the run does here, and leaves the same record of it.
    task = submitit.core.utils.DelayedSubmission.load(folder / "77_1_submitted.pkl")
    assert task.result() == 0
    assert every[1].log("out").read_text() == "two\n"
    assert every[1].failure == ""
    # Taken off its machine, it is queued again as it is.
    again = every[1].checkpoint()
    assert again.function == every[1]


def test_one_run_is_an_array_of_its_own(slurm, tmp_path):
    pytest.importorskip("submitit")
    assert jobs.submit([job(tmp_path, "one", "")], tmp_path / "s") == ["77"]


def test_no_slurm_and_wrong_settings_are_told(tmp_path, slurm, monkeypatch):
    pytest.importorskip("submitit")
    every = [job(tmp_path, "one", "")]
    with pytest.raises(InputError, match=r"flag --slurm: .*'partitoin'"):
        jobs.submit(every, tmp_path / "s", partitoin="gpu")
    (slurm.parent / "bin" / "sbatch").write_text("#!/bin/sh\necho no >&2\nexit 1\n")
    with pytest.raises(InputError, match="sbatch"):
        jobs.submit(every, tmp_path / "s")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=r"--launcher=slurm: .*srun"):
        jobs.submit(every, tmp_path / "s")
