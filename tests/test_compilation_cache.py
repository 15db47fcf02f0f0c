"""Compiled programs between launches: what a killed process leaves is no burden."""

import os
import subprocess
import sys
import time

import pytest

from experiments.launch import compilation_cache
from tests.launching import ROOT, environment

PROGRAM = """
import sys
from pathlib import Path
from experiments.launch import compilation_cache
compilation_cache.use_cache(Path(sys.argv[1]))
import jax
print(jax.jit(lambda x: x * 3 + 1)(2))
"""


def launch(folder):
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder)],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=environment(),
    )


def age(path, seconds=3600):
    then = time.time() - seconds
    os.utime(path, (then, then))


def test_a_torn_entry_is_compiled_and_written_again(tmp_path):
    assert launch(tmp_path).stderr == ""
    entries = sorted(tmp_path.glob("*-cache"))
    whole = {entry: entry.read_bytes() for entry in entries}
    assert whole
    for entry, data in whole.items():
        entry.write_bytes(data[: len(data) // 2])
        age(entry)
    age(tmp_path / ".checked", 7200)
    again = launch(tmp_path)
    assert (again.stdout, again.stderr) == ("7\n", "")
    assert sorted(tmp_path.glob("*-cache")) == entries
    assert compilation_cache.drop_torn(tmp_path) == 0


@pytest.mark.parametrize(("seconds", "dropped"), [(3600, 1), (7200, 0), (0, 0)])
def test_only_what_is_new_and_at_rest_is_looked_at(tmp_path, seconds, dropped):
    entry, stamp = tmp_path / "jit_f-0-cache", tmp_path / ".checked"
    entry.write_bytes(b"\x78half")
    stamp.touch()
    age(entry, seconds)
    age(stamp, 5400)
    assert compilation_cache.drop_torn(tmp_path) == dropped
    assert entry.exists() == (not dropped)
    assert time.time() - stamp.stat().st_mtime < 120


def test_no_folder_is_none_whatever_the_variable_says(tmp_path):
    nowhere = PROGRAM.replace("Path(sys.argv[1])", "None")
    done = subprocess.run(
        [sys.executable, "-c", nowhere],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=environment(JAX_COMPILATION_CACHE_DIR=str(tmp_path / "of jax")),
    )
    assert (done.stdout, done.stderr) == ("7\n", "")
    assert not (tmp_path / "of jax").exists()
