"""Two real processes on this machine that make one search, over Gloo."""

import pathlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from experiments.launch import processes
from nasjax.runtime import checkpoint
from tests.kill_test import arguments, differences, last_step
from tests.launching import Ended, Launcher, launch, start, wait

EPOCHS, STEPS = 10, 30
GONE = (
    " of this run is gone, and the others end with it; start all of them again, and "
    "the run goes on from its last checkpoint\n"
)


def together(*flags: str) -> list[subprocess.Popen[str]]:
    """Two processes of one run, as a user types them."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    shared = (f"--coordinator=localhost:{port}", "--num_processes=2", *flags)
    return [start(*shared, f"--process_id={i}") for i in range(2)]


def wait_both(both: list[subprocess.Popen[str]], timeout: float = 400) -> list[Ended]:
    return [wait(process, timeout) for process in both]


def flags(folder: pathlib.Path, cache: str) -> list[str]:
    """Of a tiny search with teachers, which saves after every step."""
    return [*arguments("sd_darts", EPOCHS, cache), f"--workdir={folder}"]


class Disturbance(NamedTuple):
    """What became of both after something was done to one of them."""

    ended: list[Ended]
    step: int  # the last that was logged
    seconds: float  # from the disturbance to the end of both


def disturb(
    folder: pathlib.Path, cache: str, *, index: int, number: int
) -> Disturbance:
    """Start both, and send one of them a signal some steps later."""
    both = together("--heartbeat_seconds=20", *flags(folder, cache))
    begun = last_step(folder)
    while last_step(folder) < begun + 4:
        assert both[0].poll() is None, wait_both(both)
        time.sleep(0.005)
    sent = time.monotonic()
    both[index].send_signal(number)
    ended = wait_both(both)
    return Disturbance(ended, last_step(folder), time.monotonic() - sent)


@pytest.fixture(scope="module")
def alone(tmp_path_factory, compilation_cache):
    """The same search by one process with two devices."""
    folder = tmp_path_factory.mktemp("alone")
    done = launch(*flags(folder, compilation_cache), "--num_devices=2", devices=2)
    assert done.code == 0, done.err
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Of one run, which the tests below stop, kill twice and let go to its end."""
    return tmp_path_factory.mktemp("run") / "of_two"


def test_a_signal_to_either_stops_both_at_the_same_step(folder, compilation_cache):
    found = disturb(folder, compilation_cache, index=1, number=signal.SIGTERM)
    assert [ended.code for ended in found.ended] == [143, 143], found
    assert [ended.err for ended in found.ended] == ["", ""]
    first, other = found.ended
    assert "stopped after a checkpoint" in first.out
    assert other.out == ""  # the first process speaks for both
    assert "Gloo" not in first.out
    assert 4 <= found.step < STEPS
    assert checkpoint.steps(folder / "checkpoints")[0] == found.step
    assert (folder / "report.html").exists()


@pytest.mark.parametrize("index", [1, 0])
def test_where_one_is_killed_the_other_ends_with_a_line(
    folder, compilation_cache, index
):
    found = disturb(folder, compilation_cache, index=index, number=signal.SIGKILL)
    assert found.ended[index].code == -signal.SIGKILL
    left = found.ended[1 - index]
    assert left.code not in (0, None)
    assert found.seconds < 60
    who = ("the first process", "process 1")[index]
    assert left.err == f"error: {who}{GONE}"
    assert not (folder / "genotype.json").exists()


def test_after_all_that_two_processes_find_what_one_finds_to_the_bit(
    folder, alone, compilation_cache
):
    first, other = wait_both(together(*flags(folder, compilation_cache)))
    assert (first.code, other.code) == (0, 0), (first.err, other.err)
    assert (first.err, other.err, other.out) == ("", "", "")
    assert f"genotype {folder / 'genotype.json'}" in first.out
    assert differences(alone, folder) == []
    again, other = wait_both(together(*flags(folder, compilation_cache)))
    assert (again.code, other.code) == (0, 0)
    assert "holds the finished run; nothing to do" in again.out


# --- mistakes -------------------------------------------------------------------


def test_a_batch_that_two_processes_cannot_share_out_is_one_line(tmp_path):
    folder = tmp_path / "run"
    odd = ("--config.search.batch_size=15", f"--workdir={folder}")
    first, other = wait_both(together(*arguments("darts", 1), *odd))
    line = "error: batch_size is 15; it must be a multiple of the 2 devices\n"
    assert (first.code, first.err) == (2, line)
    # The first one's end may be quicker than its own check.
    assert other.err in (line, f"error: the first process{GONE}")
    assert other.code != 0
    assert not folder.exists()


@pytest.fixture(scope="module")
def launcher() -> Iterator[Launcher]:
    launcher = Launcher()
    yield launcher
    launcher.close()


THREE = ("--coordinator=localhost:1234", "--num_processes=2", "--process_id=0")
MISTAKES = {
    "index alone": (("--process_id=0",), "--coordinator is missing"),
    "no index": (THREE[:2], "--process_id is missing"),
    "index too large": ((*THREE, "--process_id=2"), "--process_id is 2"),
    "index below 0": ((*THREE, "--process_id=-1"), "--process_id is -1"),
    "no process": ((*THREE, "--num_processes=0"), "--num_processes is 0"),
    "no port": ((*THREE, "--coordinator=localhost"), "--coordinator is 'localhost'"),
    "port 0": ((*THREE, "--coordinator=localhost:0"), "it must be HOST:PORT"),
    "both ways": ((*THREE, "--distributed"), "give it or them"),
    "no cluster": (("--distributed",), "no job of SLURM, Open MPI, GKE or Cloud TPU"),
    "short heartbeat": ((*THREE, "--heartbeat_seconds=0"), "--heartbeat_seconds"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_in_the_flags_is_one_line(launcher, tmp_path, name):
    given, wanted = MISTAKES[name]
    ended = launcher(*given, f"--workdir={tmp_path / 'run'}")
    assert ended.code == 2
    assert wanted in ended.err
    assert ended.err.startswith("error: ")
    assert ended.err.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("given", [THREE, ("--distributed",)])
def test_a_training_refuses_to_be_of_several(launcher, tmp_path, given):
    run = ("--genotype=DARTS_V2", f"--workdir={tmp_path / 'run'}")
    ended = launcher(*given, *run, module="experiments.retrain")
    wanted = "error: several processes: experiments.retrain runs in one\n"
    assert (ended.code, ended.err) == (2, wanted)


def test_processes_that_do_not_come_are_not_waited_for_for_ever(tmp_path):
    process = start(*THREE, "--start_seconds=2", f"--workdir={tmp_path}")
    ended = wait(process, 60)
    assert ended.code not in (0, None)
    wanted = "error: not all processes have come within 2 s (--start_seconds)\n"
    assert ended.err == wanted


# --- standard error -------------------------------------------------------------

LOG = "E1127 10:00:00.123456    12 coordination_service_agent.cc:289] Polled an error\n"
FATAL = "F1127 10:00:00.123456    12 client.h:80] Terminating process because\n"
LINES = "W1127 10:00:00.1 12 other.cc:1] of another library\nTraceback\n  no end"
SAID = {
    "lines": (LINES, LINES),
    "Gloo": ("[Gloo] Rank 0 is connected to 1 peer ranks.\nmore\n", "more\n"),
    "no death": (LINES + "\n" + LOG + "  more\n", LINES + "\n" + LOG + "  more\n"),
    "first": (LOG + FATAL + "  @ 0x7f06 stack\n", "error: the first process GONE\n"),
    "other": (
        LOG + FATAL + "unhealthy (stopped sending heartbeats):\n12\n",
        "error: process 12 GONE\n",
    ),
    "after": ("mine\n" + LOG + "Traceback\n" + FATAL, "mine\nerror: the first GONE\n"),
    "never": (FATAL + "RPC: /xla.CoordinationService/RegisterTask\n", "error: LATE\n"),
}


@pytest.mark.parametrize("name", SAID)
def test_of_an_abort_a_line_is_left_and_all_else_comes_through(name):
    given, wanted = SAID[name]
    first = "the first" if name == "after" else "the first process"
    done = subprocess.run(
        [sys.executable, "-ISc", processes._RELAY, first, "LATE", "GONE"],
        input=given.encode(),
        capture_output=True,
        check=True,
    )
    assert done.stderr.decode() == wanted
    assert done.stdout == b""
