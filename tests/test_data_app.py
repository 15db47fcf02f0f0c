"""The start of every launcher: exit codes and what stands on stderr."""

import pathlib
import subprocess
import sys

import pytest

LAUNCHER = """
import pathlib, sys
from absl import flags
from ml_collections import config_flags
from experiments.launch import app
from nasjax.base import InputError, RunError

CONFIG = config_flags.DEFINE_config_file("config", None, lock_config=True)
ENDS = ["well", "seven", "input", "run", "disk", "bug", "int"]
END = flags.DEFINE_enum("end", "well", ENDS, "")

def main(argv):
    print(CONFIG.value.lr, len(argv))
    match END.value:
        case "seven": return 7
        case "input": raise InputError("two\\nlines")
        case "run": raise RunError("two\\nlines")
        case "disk": pathlib.Path("/dev/full").write_text("x")
        case "bug": raise RuntimeError("a bug")
        case "int": raise KeyboardInterrupt

app.run(main, defaults={"config": sys.path[0] + "/config.py"})
"""
CONFIG = """
import ml_collections
def get_config(variant=""):
    if variant not in ("", "smoke"):
        raise ValueError(f"variant must be smoke, got {variant}")
    return ml_collections.ConfigDict({"lr": 0.1, "optimizer": {"steps": 3}})
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("launch")
    (folder / "launcher.py").write_text(LAUNCHER)
    (folder / "config.py").write_text(CONFIG)
    return folder


def launch(folder: pathlib.Path, *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(folder / "launcher.py"), *flags],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(pathlib.Path(__file__).parents[1])},
    )


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--end=badly"], "--end=badly: value should be one of <well|seven|input"),
        (["--edn=well"], "Unknown command line flag 'edn'. Did you mean: end"),
        (["stray"], "only flags (--name=value) are allowed, got 'stray'"),
        (["--end=input"], "error: two lines\n"),
        (["--config.lr=fast"], "--config.lr=fast: could not convert string to float"),
        (["--config.lrr=1"], "--config.lrr: no field 'lrr', must be one of lr, opt"),
        (["--config.optimizer.step=1"], "no field 'step', must be one of steps"),
        (["--config=no.py"], "cannot be loaded: [Errno 2] No such file"),
        (["--config=no.py", "--config.lr=1"], "cannot be loaded: [Errno 2] No such"),
        (["--config={folder}/config.py:big"], "py:big: variant must be smoke, got big"),
    ],
)
def test_a_mistake_is_one_line_and_2(folder, flags: list[str], message: str):
    done = launch(folder, *(flag.format(folder=folder) for flag in flags))
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("flags", "code", "out", "err"),
    [
        ([], 0, "0.1 1\n", ""),
        (["--config.lr=0.5"], 0, "0.5 1\n", ""),
        (["--config={folder}/config.py:smoke"], 0, "0.1 1\n", ""),
        (["--end=seven"], 7, "0.1 1\n", ""),
        (["--end=int"], 130, "0.1 1\n", ""),
        (["--end=run"], 1, "0.1 1\n", "error: two lines\n"),
        (["--end=disk"], 1, "0.1 1\n", "error: [Errno 28] No space left on device\n"),
        (["--end=bug"], 1, "0.1 1\n", "RuntimeError: a bug"),
        (["--help"], 0, "--end", ""),
    ],
)
def test_other_ends(folder, flags: list[str], code: int, out: str, err: str):
    done = launch(folder, *(flag.format(folder=folder) for flag in flags))
    assert (done.returncode, out in done.stdout) == (code, True), done.stderr
    assert err in done.stderr
    assert bool(err) == bool(done.stderr)
