"""A method, a space and a data set of one's own, launched without a change here."""

import json
import re

import pytest

from experiments.configs import references
from nasjax.base import InputError
from nasjax.methods import METHODS
from tests.launching import Launcher

MINE = """
import numpy as np
from nasjax import schedules, spaces
from nasjax.data import Dataset
from nasjax.methods.base import Method
from nasjax.methods.darts import darts

def decisive(*, alpha_scale: float = 1e-3, warmup: int = 9,
             pull=schedules.linear(0.0, 1.0)) -> Method:
    return darts(alpha_scale=alpha_scale)._replace(name=f"decisive{warmup}")

def needs(*, scale: float) -> Method:
    return darts(alpha_scale=scale)

def narrow():
    return spaces.nasbench201().without("nor_conv_3x3", "avg_pool_3x3")

def blobs(split):
    if split == "valid":
        return None
    rng = np.random.default_rng(len(split))
    images = rng.integers(0, 256, (80, 8, 8, 1), np.uint8)
    return Dataset("blobs", images, np.arange(80, dtype=np.int32) % 2, ("a", "b"))
"""
CONFIG = "--config=stc_nas_nasbench201_digits:smoke"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("own")
    (place / "mine.py").write_text(MINE)
    return place


@pytest.fixture(scope="module")
def launcher():
    launcher = Launcher()
    yield launcher
    launcher.close()


def test_all_three_are_launched(place, launcher, compilation_cache):
    flags = (
        CONFIG,
        "--config.method.name=mine:decisive",
        "--config.method.pull=linear(0, 2)",
        "--config.supernet.space=mine:narrow",
        "--config.data.name=mine:blobs",
        "--config.search.epochs=1",
        f"--compilation_cache={compilation_cache}",
    )
    done = launcher(*flags, cwd=place)
    assert done.code == 0, done.err
    assert "data mine:blobs: 80 images · 2 classes (a, b)" in done.out
    assert " method.name=mine:decisive method.pull=linear(0, 2) " in done.out
    folder = place / re.search(r"^folder   (\S+)$", done.out, re.M)[1]
    config = json.loads((folder / "config.json").read_text())
    # Its own arguments, the smoke variant's where it has such; the rest is the file's.
    fields = {"alpha_scale": 1e-3, "warmup": 1, "pull": "linear(0, 2)"}
    assert config["method"] == {"name": "mine:decisive", **fields}
    assert config["search"]["arch_weight_decay"] == 0
    genotype = json.loads((folder / "genotype.json").read_text())
    assert "conv_3x3" not in genotype["arch_str"]
    again = launcher(*flags, cwd=place)
    assert "holds the finished run; nothing to do" in again.out


@pytest.mark.parametrize(
    ("flag", "told"),
    [
        ("--config.method.name=mine:decisve", "mine has no function 'decisve'"),
        ("--config.method.name=mine_not:it", "No module named 'mine_not'"),
        ("--config.method.name=mine:", "it must be package.module:function"),
        ("--config.method.name=mine:needs", "argument scale: float has no default"),
        ("--config.supernet.space=mine:nothing", "mine has no function 'nothing'"),
        ("--config.data.name=mine:nothing", "mine has no function 'nothing'"),
    ],
)
def test_what_cannot_be_launched_is_one_line(place, launcher, flag, told):
    done = launcher(CONFIG, flag, cwd=place)
    assert done.code == 2
    assert told in done.err
    assert done.err.count("\n") == 1


def test_a_field_that_the_function_has_not_is_refused(place, launcher):
    name = "--config.method.name=mine:decisive"
    done = launcher(CONFIG, name, "--config.method.js_strength=constant(1)", cwd=place)
    assert done.code == 2
    known = "must be one of alpha_scale, name, pull, warmup"
    assert f"no field 'js_strength', {known}" in done.err


def test_names_of_the_library_stay_what_they_are():
    assert references.find("method.name", "gdas", METHODS) is METHODS["gdas"]
    with pytest.raises(InputError, match=r"name is 'gads'; it must be one of .*gdas"):
        references.find("method.name", "gads", METHODS)
