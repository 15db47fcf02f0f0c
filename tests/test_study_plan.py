"""The configuration of a study: every field checked before a run starts."""

import pathlib

import pytest

from experiments import study
from experiments.configs.papers import base
from experiments.launch import jobs, plan
from nasjax import tabular
from nasjax.base import InputError

ROOT = pathlib.Path(__file__).parents[1]
DIGITS = "experiments/configs/darts_nasbench201_digits.py:smoke"


def config(**changes):
    cells = {
        "one": base.cell("One", DIGITS, "search.epochs=1"),
        "two": base.cell("Two", DIGITS),
    }
    fields = {"cells": cells, "metrics": {"seconds": ""}, "seeds": (3, 4)}
    return base.study("T", **(fields | changes)).to_dict()


def test_a_run_of_each_cell_and_seed(monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    found = plan.jobs_of(config(overrides=("data.pad=0",)), tmp_path)
    names = ["one-seed3", "two-seed3", "one-seed4", "two-seed4"]
    assert [job.name for job in found] == names
    assert found[0].command == (
        "-m",
        "experiments.search",
        f"--config={DIGITS}",
        f"--workdir={tmp_path}/one-seed3",
        "--config.data.pad=0",
        "--config.search.epochs=1",
        "--config.seed=3",
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": ()}, r"seeds is \(\)"),
        ({"seeds": (1, 1)}, r"seeds is \(1, 1\)"),
        ({"seeds": (-1,)}, r"seeds is \(-1,\)"),
        ({"cells": {}}, r"rows is \(\); .* cells \(there are none\)"),
        ({"metrics": {}}, r"columns is \(\); .* metrics"),
        ({"metrics": {"seconds": "least"}}, "metrics.seconds is 'least'"),
        ({"metrics": {"seconds@": ""}}, "metrics.seconds@: .* form METRIC@EPOCH"),
        ({"metrics": {"skips/cell@end": ""}}, "'skips/cell@end' is not of the form"),
        ({"baseline": "three"}, "baseline is 'three'.*one, two"),
        ({"overrides": ("search.epoch=1",)}, "cells.one: .*'epoch', must be one of"),
        ({"overrides": ("search.epochs",)}, "not of the form field=value"),
        ({"overrides": ("seed=1",)}, "override of seed"),
        ({"cells": {"a/b": base.cell("", DIGITS)}}, "cells.a/b: a name has"),
        ({"cells": {"a": base.cell("", "no.py")}}, "config no.py does not exist"),
        (
            {"cells": {"a": base.cell("", DIGITS, "method.name=no_such:function")}},
            "cells.a: method.name is 'no_such:function': No module named 'no_such'",
        ),
        ({"cells": {"a": base.cell("", DIGITS + "y")}}, "variant 'smokey' is not"),
    ],
)
def test_bad_studies_are_told_in_one_line(monkeypatch, tmp_path, changes, message):
    monkeypatch.chdir(ROOT)
    with pytest.raises(InputError, match=message):
        plan.jobs_of(config(**changes), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_part_of_the_table(monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    part = config() | {"rows": ("two",)}
    found = plan.jobs_of(part, tmp_path)
    assert [job.name for job in found] == ["two-seed3", "two-seed4"]
    with pytest.raises(InputError, match=r"rows is \('three',\); .* cells one, two"):
        plan.jobs_of(config() | {"rows": ("three",)}, tmp_path)


def test_random_architectures_are_those_of_the_table():
    class Table:
        columns = (tabular.Column("cifar10", "test", 200),)

        def best(self, *column):
            return tabular.Best(94.0, "|…|")

        def lookups(self, arch_str):
            return (tabular.Lookup(94.0, "cifar10", "test", 200, "v", 1, 0.0),)

        def accuracies(self, **column):
            import numpy as np

            return np.array([94.0, 90.0, 10.0])

    found = plan.references({"lookup/cifar10": "max", "seconds": ""}, Table())
    ((label, figures),) = found.items()
    assert "random" in label
    assert set(figures) == {"lookup/cifar10"}
    one = figures["lookup/cifar10"]
    assert (one.size, one.low, one.high) == (3, 10.0, 94.0)
    assert one.mean == pytest.approx(194 / 3)
    assert plan.references({"seconds": ""}, Table()) == {}


def test_slurm_settings_keep_their_types():
    assert study._setting("timeout_min=240") == ("timeout_min", 240)
    assert study._setting("slurm_partition=gpu") == ("slurm_partition", "gpu")
    with pytest.raises(InputError, match="SETTING=VALUE"):
        study._setting("240")


def test_a_failure_is_the_last_line_it_printed(tmp_path):
    job = jobs.Job("a", "A", 0, tmp_path / "a-seed0", ("-c", "raise ValueError('x y')"))
    assert job() == 1
    assert job.failure == "exit code 1: ValueError: x y"
    assert not job.kept
    killed = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    job = job._replace(command=("-c", killed))
    job()
    assert job.failure == "killed by SIGKILL"


def test_only_the_same_command_is_kept(tmp_path):
    job = jobs.Job("a", "A", 0, tmp_path / "a-seed0", ("-c", "pass"))
    job()
    assert not job.kept  # ended well, but without a genotype
    job.folder.mkdir()
    (job.folder / "genotype.json").write_text("{}")
    assert job.kept
    assert not job._replace(command=("-c", "1")).kept
