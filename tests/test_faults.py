"""Faults, real ones: a full disk, a folder in use, no memory. One line each."""

import json
import os
import pathlib
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from nasjax.runtime import checkpoint
from nasjax.runtime.workdir import Workdir
from tests import kill_test
from tests.launching import ROOT, Ended, Launcher, environment

EPOCHS = 4


@pytest.fixture(scope="module")
def launcher() -> Iterator[Launcher]:
    launcher = Launcher()
    yield launcher
    launcher.close()


@pytest.fixture(scope="module")
def flags(compilation_cache: str) -> list[str]:
    return kill_test.arguments("stc_nas", EPOCHS, compilation_cache)


@pytest.fixture(scope="module")
def alone(tmp_path_factory, launcher: Launcher, flags: list[str]) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("alone") / "run"
    ended = launcher(*flags, f"--workdir={folder}")
    assert ended.code == 0, ended.err
    return folder


def assert_failed(ended: Ended, *named: str) -> None:
    assert ended.code == 1, ended
    assert re.fullmatch(r"error: [^\n]*\n", ended.err), ended.err
    for part in named:
        assert part in ended.err


# --- a full disk -----------------------------------------------------------------


def size(folder: pathlib.Path) -> int:
    """Bytes on a disk of pages of 4 KiB."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return sum(-(-path.stat().st_size // 4096) * 4096 for path in files)


@pytest.fixture
def small_disk(tmp_path, alone: pathlib.Path) -> Iterator[pathlib.Path]:
    """A file system with room for two checkpoints and a part of the third."""
    one = size(alone / "checkpoints") // 2
    whole = size(alone) - 2 * one + 5 * one // 2
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={whole}", "tmpfs", str(disk)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
    except OSError as error:
        pytest.skip(f"no file system can be mounted here: {error}")
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk_leaves_the_last_good_checkpoint(
    small_disk, launcher: Launcher, flags: list[str], alone: pathlib.Path
):
    folder = small_disk / "run"
    ended = launcher(*flags, f"--workdir={folder}")
    assert_failed(ended, "cannot be written (No space left on device)")
    saved = checkpoint.steps(folder / "checkpoints")
    assert len(saved) == 2
    for step in saved:
        checkpoint.read(folder / "checkpoints" / str(step))
    assert f"that of step {saved[0]} is sound" in ended.err
    assert not (folder / "genotype.json").exists()
    # With room the same command goes on.
    remount = ["mount", "-o", "remount,size=64m", str(small_disk)]
    subprocess.run(remount, check=True)
    ended = launcher(*flags, f"--workdir={folder}")
    assert ended.code == 0, ended.err
    assert f"going on after step {saved[0]}" in ended.out
    assert kill_test.differences(alone, folder) == []


def test_files_that_may_not_grow_end_the_run(tmp_path, flags: list[str]):
    """The limit of the shell, in a process of its own; needs no rights."""
    folder = tmp_path / "run"
    # No cache of compiled programs: half of an entry would be written to it.
    flags = [*flags, "--compilation_cache="]
    command = [sys.executable, "-m", "experiments.search", *flags]
    done = subprocess.run(
        ["bash", "-c", 'ulimit -f 8; exec "$@"', "-", *command, f"--workdir={folder}"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=environment(),
    )
    ended = Ended(done.returncode, done.stdout, done.stderr)
    assert_failed(ended, "cannot be written (File too large)", "goes on")
    assert checkpoint.steps(folder / "checkpoints") == []


# --- a folder in use -------------------------------------------------------------


def test_a_folder_in_use_is_refused(tmp_path, launcher: Launcher, flags: list[str]):
    folder = tmp_path / "run"
    holder = Workdir(folder)
    holder.open({})
    (folder / "config.json").unlink()
    try:
        ended = launcher(*flags, f"--workdir={folder}")
        assert ended == (
            2,
            "",
            f"error: workdir {folder} is in use by process {os.getpid()} on "
            f"{os.uname().nodename}; wait for its end or give another --workdir\n",
        )
    finally:
        holder.close()


# --- damaged ---------------------------------------------------------------------


def test_a_torn_checkpoint_is_passed_over(
    tmp_path, launcher: Launcher, flags: list[str], alone: pathlib.Path
):
    folder = tmp_path / "run"
    subprocess.run(["cp", "-a", str(alone), str(folder)], check=True)
    (folder / "genotype.json").unlink()
    newest, before = checkpoint.steps(folder / "checkpoints")
    torn = folder / "checkpoints" / str(newest)
    files = [path for path in torn.rglob("*") if path.is_file()]
    largest = max(files, key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[: largest.stat().st_size // 2])
    ended = launcher(*flags, f"--workdir={folder}")
    assert ended.code == 0
    assert re.fullmatch(
        rf"warning: checkpoint {re.escape(str(torn))} cannot be [^\n]*; "
        rf"going on after step {before}",
        ended.err.splitlines()[0],
    )
    assert kill_test.differences(alone, folder) == []


def test_a_report_that_was_not_written_is_made_up_for(
    tmp_path, launcher: Launcher, flags: list[str], alone: pathlib.Path
):
    """Killed between the genotype and its report."""
    folder = tmp_path / "run"
    subprocess.run(["cp", "-a", str(alone), str(folder)], check=True)
    (folder / "report.html").unlink()
    ended = launcher(*flags, f"--workdir={folder}")
    assert ended.code == 0, ended.err
    assert (folder / "report.html").exists()
    ended = launcher(*flags, f"--workdir={folder}")
    assert ended.out == f"{folder} holds the finished run; nothing to do\n"


def test_a_checkpoint_of_another_configuration_is_refused(
    tmp_path, launcher: Launcher, flags: list[str], alone: pathlib.Path
):
    """Somebody has written the new configuration over the old."""
    folder = tmp_path / "run"
    subprocess.run(["cp", "-a", str(alone), str(folder)], check=True)
    (folder / "genotype.json").unlink()
    config = json.loads((folder / "config.json").read_text())
    config["search"]["momentum"] = 0.8
    (folder / "config.json").write_text(json.dumps(config))
    ended = launcher(*flags, "--config.search.momentum=0.8", f"--workdir={folder}")
    assert ended.code == 2
    assert re.fullmatch(r"error: checkpoint [^\n]*\n", ended.err), ended.err
    assert "search.momentum is 0.9 there and 0.8 here" in ended.err


# --- no memory -------------------------------------------------------------------

_GREEDY = """
import pathlib, resource
import jax, jax.numpy as jnp
from experiments.launch import app
from nasjax.runtime import budget

def main(argv):
    jnp.ones(3).block_until_ready()
    if {early}:
        limit()
        budget.check_fits("a step", 2**33)
    grow = jax.jit(lambda x: jnp.outer(x, x)).lower(jnp.ones(32768)).compile()
    limit()
    with budget.explain_out_of_memory(2**32):
        grow(jnp.ones(32768)).block_until_ready()

def limit():
    mapped = int(pathlib.Path("/proc/self/statm").read_text().split()[0])
    most = mapped * resource.getpagesize() + 2**31
    resource.setrlimit(resource.RLIMIT_AS, (most, most))

app.run(main, argv=["greedy"])
"""


def greedy(*, early: bool) -> Ended:
    """A process that wants 4 or 8 GiB, and may have 2 more than it has."""
    done = subprocess.run(
        [sys.executable, "-c", _GREEDY.format(early=early)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=environment(),
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def test_memory_that_runs_out_is_told_with_what_lowers_it():
    ended = greedy(early=False)
    assert_failed(ended, "out of memory: the step takes 4.29 GB", "batch_size", "lower")
    assert re.search(r"the device has \d+(\.\d+)? [MG]B", ended.err)


def test_what_cannot_fit_is_refused_before_its_first_step():
    ended = greedy(early=True)
    assert ended.code == 2
    assert re.fullmatch(
        r"error: a step takes 8\.59 GB of memory and the device has 2\.\d+ GB; "
        r"a smaller batch_size, [^\n]* lower it\n",
        ended.err,
    ), ended.err
