"""Configurations by name: what is near a name that is none, and what is listed."""

import subprocess
import sys
from typing import Any

import pytest

from experiments.configs import __main__ as printed
from experiments.configs import base, catalogue, retraining, searches
from nasjax import schedules
from nasjax.base import InputError
from nasjax.data.sources import SOURCES
from nasjax.methods import METHODS
from nasjax.spaces import SPACES
from tests.launching import ROOT, environment


def test_a_study_has_two_names_and_its_path():
    paths = ("stc_nas_table7_js", "experiments/configs/papers/stc_nas_table7_js.py")
    parts = ("stc_nas:table7", "/a/experiments/configs/papers/stc_nas.py:table7")
    wanted = catalogue.load("stc_nas:table7:proxy")
    assert "proxy" in wanted.title
    for name in (*paths, *parts):
        assert catalogue.load(f"{name}:proxy") == wanted
        assert catalogue.load(name) != wanted


@pytest.mark.parametrize(
    "text", ["", "experiments/configs/", "/b/experiments/configs/"]
)
def test_a_search_opens_by_name_and_by_path(text):
    file = f"{text}gdas_darts_digits.py" if text else "gdas_darts_digits"
    assert catalogue.load(f"{file}:smoke") == catalogue.load("gdas_darts_digits:smoke")


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("stc_nas_darts_digit", "did you mean stc_nas_darts_digits or "),
        ("retrain_cifar", "did you mean retrain_cifar10"),
        ("sd_darts_table44", "did you mean sd_darts:table4"),
        ("nothing_like_it_at_all", "python -m experiments.configs lists them all"),
    ],
)
def test_a_near_miss_suggests_names(name, near):
    with pytest.raises(InputError, match=f"'{name}' is no configuration; {near}"):
        catalogue.load(name)


def test_every_method_space_and_data_set_is_in_a_name():
    """Without an entry of its own: each is one line in its own table."""
    found = set(catalogue.entries())
    for method in METHODS:
        for space in SPACES:
            for data in {*SOURCES} - {"npz", "folder"}:
                assert f"{method}_{space}_{data}" in found


def test_a_line_in_a_table_is_all_that_configurations_need(monkeypatch):
    """Of a method, a space and a data set: the fields are its function's arguments."""

    def mine(*, strength: float = 0.5, rise: Any = schedules.linear(0.0, 2.0)):
        """A method."""

    monkeypatch.setitem(METHODS, "mine", mine)
    monkeypatch.setitem(SPACES, "own", SPACES["darts"])
    monkeypatch.setitem(SOURCES, "svhn", SOURCES["digits"])
    found = {entry.name: entry for entry in searches.entries()}
    config = found["mine_own_svhn"].get_config().to_dict()
    fields = {"strength": 0.5, "rise": "linear(0, 2)"}
    assert config["method"] == {"name": "mine", **fields}
    assert (config["supernet"]["space"], config["data"]["name"]) == ("own", "svhn")
    darts = found["darts_darts_cifar10"].get_config().to_dict()
    assert config["search"] == darts["search"]
    smoke = found["mine_own_svhn"].get_config("smoke").to_dict()
    assert smoke["search"]["epochs"] == 2


def test_all_is_listed():
    done = subprocess.run(
        [sys.executable, "-m", "experiments.configs"],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    for name, entry in catalogue.entries().items():
        (line,) = [line for line in lines if line.split(" ")[0] == name]
        assert all(f" :{variant}" in line for variant in entry.variants)
    # Every field with its default and its comment.
    shown = dict(line.split(" = ", 1) for line in lines if " = " in line)
    for fields in (base.FIELDS, retraining.FIELDS, {"data": retraining.STREAM}):
        for block, of_block in fields.items():
            for field in of_block:
                assert f"{block}.{field}" in shown
    for name, make in METHODS.items():
        start = next(n for n, line in enumerate(lines) if f"fields of {name}:" in line)
        block = base.method_block(name, make)
        for line in lines[start + 1 : start + len(block)]:
            field, _, rest = line.partition(" = ")
            default, _, about = rest.partition("  # ")
            assert default == str(block[field.removeprefix("method.")])
            assert len(about) > 5, f"{name}: {line}"


def test_one_is_told_with_its_values(capsys):
    assert printed.main(["stc_nas_darts_digits:smoke"]) == 0
    told = capsys.readouterr().out
    assert "--config=stc_nas_darts_digits" in told
    assert "\nsearch.epochs = 2\n" in told
    assert printed.main(["stc_nas_darts_digitz"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
