"""``~`` in every flag, field and variable that names a path."""

import json
import pathlib
import subprocess
import sys

import pytest

from experiments.launch import paths
from tests.launching import ROOT, environment

#: Gives every flag of a text or a list of every launcher a path with ``~``.
PROGRAM = """
import importlib, json, os, sys
from absl import flags
from experiments.launch import app, paths
from experiments import search, retrain, study, report, cost, convert, lookup  # first
from experiments import prepare
import experiments.benchmark.__main__

F = flags.FLAGS
ours = {flag.name for module, many in F.flags_by_module_dict().items()
        for flag in many if "experiments" in module or module == sys.argv[0]}
texts = [name for name in sorted(ours) if name != "config" and
         type(F[name]) in (flags.Flag, flags.MultiFlag) and
         type(F[name].parser) in (flags.ArgumentParser, flags.ListParser)]

def main(argv):
    config = F.config.to_dict()
    print(json.dumps({
        "flags": {name: F[name].value for name in texts},
        "fields": config,
        "variables": {name: os.environ[name] for name in paths.VARIABLES},
    }))

sys.argv += [f"--{name}=~/of flag" for name in texts]
app.run(main)
"""
CONFIG = """
from experiments.configs import base
def get_config(variant=""):
    config = base.default()
    config.data.data_dir = "~/of field"
    config.method.overrides = ("data.pad=4", "~/in a sequence")
    return config
"""
PATH_FLAGS = {
    *("workdir", "genotype", "nasbench201", "compilation_cache", "weights", "output"),
    *("archive", "archive_dir", "data_dir", "save", "architecture", "markdown"),
}


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What a launch with ``~`` everywhere reads, and its home."""
    home = tmp_path_factory.mktemp("home")
    (home / "own.py").write_text(CONFIG)
    (home / "program.py").write_text(PROGRAM)
    variables = dict.fromkeys(paths.VARIABLES, "~/of variable")
    done = subprocess.run(
        [
            sys.executable,
            str(home / "program.py"),
            "--config=~/own.py",
            "--config.data.path=~/of override",
        ],
        cwd=ROOT,
        env=environment(HOME=str(home), **variables),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), home


def test_every_flag_takes_a_home(told):
    found, home = told
    assert set(found["flags"]) >= PATH_FLAGS
    for name, value in found["flags"].items():
        value = value[0] if isinstance(value, list) else value
        assert value == f"{home}/of flag", name


def test_every_field_takes_a_home(told):
    found, home = told
    fields = found["fields"]
    assert fields["data"]["path"] == f"{home}/of override"
    assert fields["data"]["data_dir"] == f"{home}/of field"
    assert fields["method"]["overrides"] == ["data.pad=4", f"{home}/in a sequence"]


def test_every_variable_takes_a_home(told):
    found, home = told
    assert {*found["variables"].values()} == {f"{home}/of variable"}


def test_what_is_no_home_stays(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    given = ["search", "--genotype=|none~0|+", "--workdir=run~", "--a", "~/b", "--x=~"]
    assert paths.in_arguments(given) == [*given[:4], "/home/me/b", "--x=/home/me"]
    assert paths.expanded("~nobody-of-this-name/x") == "~nobody-of-this-name/x"
    assert pathlib.Path(paths.expanded("~")) == pathlib.Path("/home/me")
